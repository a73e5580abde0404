"""Transactions as a function: what is read and written, when it runs again, and what is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, assert_type

import grpc
import pytest

import keepstate._connection
from keepstate import (
    AlreadyExists,
    Client,
    Conflict,
    DeadlineExceeded,
    OutcomeUnknown,
    Put,
    RecordName,
    Retry,
    Text,
    Transaction,
)
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal

CODE = grpc.StatusCode

Tx = Transaction[Any]


def interfering(
    interfere: Callable[[], Awaitable[object]], work: Callable[[Tx], Awaitable[Any]], times: int = 1
) -> Any:
    """The work, with something that another client does before its end in the first tries."""
    runs = 0

    async def run(tx: Tx) -> Any:
        nonlocal runs
        runs += 1
        result = await work(tx)
        if runs <= times:
            await interfere()
        return result

    return run


async def transfer(tx: Tx) -> int:
    one: int = await tx.get("one", default=0)
    other: int = await tx.get("other", default=0)
    tx.put("one", one - 10)
    tx.put("other", other + 10)
    return one


async def test_a_function_reads_and_writes_all_or_nothing(state: Client[Any], service: FakeService) -> None:
    etag = await state.put("one", 100)
    service.calls.clear()
    assert await state.transaction(transfer) == 100
    assert await state.get_many(["one", "other"]) == {"one": 90, "other": 10}
    assert service.names[:3] == ["Get", "Get", "Transact"]
    (sent,) = service.requests("Transact")
    assert [put.precondition for put in sent.puts] == [
        record_pb2.Precondition(etag=etag),
        record_pb2.Precondition(absent=True),
    ]
    assert sent.request.number == 2


async def test_what_is_only_read_becomes_a_check(state: Client[Any], service: FakeService) -> None:
    async def work(tx: Tx) -> None:
        if await tx.get("limit") is None and await tx.get("gone") is None:
            tx.put("a", 1, ttl=timedelta(hours=1))
            tx.delete("b")
            tx.increment("c", 2, maximum=5)
            tx.append("d", [1], max_length=3)
            tx.merge_patch("e", {"x": 1})

    await state.transaction(work)
    (sent,) = service.requests("Transact")
    assert [(check.name.key, check.precondition.absent) for check in sent.checks] == [("limit", True), ("gone", True)]
    assert sent.puts[0].ttl.seconds == 3600
    assert [each.name.key for each in sent.deletes] == ["b"]
    assert [each.WhichOneof("update") for each in sent.updates] == ["increment", "append", "merge_patch"]
    assert not any(each.HasField("precondition") for each in (*sent.puts, *sent.deletes, *sent.updates))


async def test_a_function_that_others_overtake_runs_again(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    await state.put("one", 100)
    assert await state.transaction(interfering(lambda: state.put("one", 500), transfer)) == 500
    assert await state.get_many(["one", "other"]) == {"one": 490, "other": 10}
    assert await state.transaction(interfering(lambda: state.delete("other"), transfer)) == 490
    assert await state.get_many(["one", "other"]) == {"one": 480, "other": 10}
    await state.delete("other")
    assert await state.transaction(interfering(lambda: state.put("other", 1), transfer)) == 480
    assert await state.get_many(["one", "other"]) == {"one": 470, "other": 11}
    assert len(pauses) == 3
    assert all(0 <= pause <= 0.05 for pause in pauses)


async def test_the_service_may_say_that_others_came_between(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    async def work(tx: Tx) -> None:
        tx.increment("a")

    service.script.append(refusal(CODE.ABORTED, "TRANSACTION_CONFLICT"))
    await state.transaction(work)
    assert [request.request.number for request in service.requests("Transact")] == [1, 2]


async def test_tries_are_limited(state: Client[Any], service: FakeService, pauses: list[float]) -> None:
    await state.put("one", 100)
    always = interfering(lambda: state.increment("one"), transfer, times=100)
    with pytest.raises(Conflict) as caught:
        await state.transaction(always, tries=3)
    assert caught.value.name == RecordName(store="", key="one")
    assert (len(service.requests("Transact")), len(pauses)) == (3, 2)
    with pytest.raises(ValueError, match="tries must be at least 1, not 0"):
        await state.transaction(transfer, tries=0)


async def test_all_tries_share_one_time(
    address: str, state: Client[Any], service: FakeService, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    await state.put("one", 100)

    async def late(tx: Tx) -> None:
        await transfer(tx)
        pauses.append(3)  # time passes

    await state.transaction(late, timeout=timedelta(seconds=3.5))
    with pytest.raises(DeadlineExceeded) as caught:
        await state.transaction(late, timeout=timedelta(seconds=2))
    assert caught.value.nothing_sent
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    service.calls.clear()
    async with Client(address, retry=Retry(initial=timedelta(seconds=10))) as slow:
        with pytest.raises(Conflict):
            await slow.transaction(interfering(lambda: state.put("one", 1), transfer), timeout=timedelta(seconds=1))
    assert len(service.requests("Transact")) == 1


async def test_a_closed_client_tries_no_more(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state: Client[Any] = Client(address)
    await state.put("one", 100)

    async def close(seconds: float) -> None:
        await state.close()

    monkeypatch.setattr(keepstate._connection, "_sleep", close)
    with pytest.raises(Conflict):
        await state.transaction(interfering(lambda: state.put("one", 1), transfer))


async def test_what_the_function_raises_passes_through_and_nothing_is_sent(
    state: Client[Any], service: FakeService
) -> None:
    async def fail(tx: Tx) -> None:
        tx.put("a", 1)
        raise LookupError("no such account")

    with pytest.raises(LookupError, match="no such account"):
        await state.transaction(fail)
    assert service.calls == []


async def test_a_lost_answer_is_found_out_and_the_function_does_not_run_again(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    runs = 0

    async def work(tx: Tx) -> None:
        nonlocal runs
        runs += 1
        tx.put("a", (await tx.get("a", default=0)) + 1)
        service.lose_replies(2)

    await state.transaction(work)
    assert await state.get("a") == 1
    assert runs == 1
    assert [(sent.request.number, sent.request.attempt) for sent in service.requests("Transact")] == [
        (1, 0),
        (1, 1),
        (1, 2),
    ]


async def test_an_unknown_outcome_is_no_reason_to_run_again(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    async def work(tx: Tx) -> None:
        tx.increment("a")

    service.script.extend([refusal(CODE.UNKNOWN, "OUTCOME_UNKNOWN")] * 200)
    with pytest.raises(OutcomeUnknown):
        await state.transaction(work)
    assert {request.request.number for request in service.requests("Transact")} == {1}


# Reading alone.


async def test_any_view_of_the_client_takes_part(state: Client[Any]) -> None:
    texts = state.namespace("notes").store("redis").using(Text())

    async def work(tx: Tx) -> str | None:
        tx.put("a", {"n": 1})
        notes = assert_type(texts.within(tx.namespace("elsewhere")), Transaction[str])
        before = await notes.get("a")
        notes.put("a", "noted")
        return before

    await texts.put("a", "before")
    assert await state.transaction(work) == "before"
    assert await state.get("a") == {"n": 1}
    assert await texts.get("a") == "noted"


async def test_a_view_of_another_client_takes_no_part(state: Client[Any], address: str) -> None:
    async with Client(address) as other:

        async def work(tx: Tx) -> None:
            other.within(tx).put("a", 1)

        with pytest.raises(ValueError, match="another client's"):
            await state.transaction(work)


async def test_reading_alone_is_verified(state: Client[Any], service: FakeService, pauses: list[float]) -> None:
    await state.put("one", 1)
    await state.put("other", 1)

    async def work(tx: Tx) -> int:
        return sum(await _both(tx, "one", "other"))

    async def move() -> None:
        await state.put("one", 0)
        await state.put("other", 2)

    service.calls.clear()
    assert await state.transaction(work) == 2
    assert service.names == ["Get", "Get", "Snapshot"]
    assert await state.transaction(interfering(move, work)) == 2
    assert len(service.requests("Snapshot")) == 3
    await state.delete("other")
    with pytest.raises(Conflict) as gone:
        await state.transaction(interfering(lambda: state.delete("one"), lambda tx: _both(tx, "one", "other")), tries=1)
    assert (gone.value.name, gone.value.etag) == (RecordName(key="one"), None)
    with pytest.raises(AlreadyExists):
        await state.transaction(interfering(lambda: state.put("one", 1), lambda tx: _both(tx, "one", "other")), tries=1)


async def _both(tx: Tx, one: str, other: str) -> tuple[Any, Any]:
    return await tx.get(one), await tx.get(other)


async def test_a_single_read_and_no_read_at_all_need_no_commit(state: Client[Any], service: FakeService) -> None:
    async def one(tx: Tx) -> Any:
        return await tx.get("a")

    async def none(tx: Tx) -> str:
        return "nothing"

    assert await state.transaction(one) is None
    assert await state.transaction(none) == "nothing"
    assert service.names == ["Get"]


async def test_a_transaction_that_is_over_takes_nothing_more(state: Client[Any]) -> None:
    async def leak(tx: Tx) -> Tx:
        return tx

    tx = await state.transaction(leak)
    with pytest.raises(RuntimeError, match="the transaction is over"):
        tx.put("a", 1)
    with pytest.raises(RuntimeError, match="the transaction is over"):
        await tx.get("a")


async def test_an_answer_of_a_transaction_that_is_none_to_it_leaves_its_outcome_unknown(
    state: Client[Any], service: FakeService
) -> None:
    async def answer(request: Any, context: Any) -> pb.TransactResponse:
        return pb.TransactResponse(puts=[pb.PutResponse(etag="e")])

    service.script.append(answer)
    with pytest.raises(OutcomeUnknown, match="the service gave 1 results for 2 puts"):
        await state.transact(puts=[Put("a", 1), Put("b", 2)])
