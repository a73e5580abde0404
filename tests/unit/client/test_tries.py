"""What one try of a transaction reads and writes, and what its conditions become."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from keepstate import (
    AlreadyExists,
    Append,
    Bytes,
    Client,
    Conflict,
    Increment,
    NotFound,
    RecordName,
    Text,
    Transaction,
)
from keepstate.v1 import record_pb2
from tests.unit.client.fake_service import FakeService, refusal

CODE = grpc.StatusCode

Tx = Transaction[Any]


async def both(tx: Tx, one: str, other: str) -> tuple[Any, Any]:
    return await tx.get(one), await tx.get(other)


async def test_a_record_is_read_once_and_read_again_as_it_was(state: Client[Any], service: FakeService) -> None:
    await state.put("a", 1)

    async def work(tx: Tx) -> None:
        first = await tx.get_record("a")
        await state.put("a", 2)
        assert await tx.get_record("a") == first
        assert await tx.get("a", codec=Bytes()) == b"1"
        assert await tx.get("none") is None
        await state.put("none", 1)
        assert await tx.get("none", default=7) == 7

    with pytest.raises(Conflict):
        await state.transaction(work, tries=1)
    assert service.names.count("Get") == 2


async def test_reads_at_the_same_time_agree(state: Client[Any], service: FakeService) -> None:
    """The one that is answered first counts, though the other, asked before it, sees a newer record."""
    await state.put("a", 1)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def wait(request: Any, context: Any) -> None:
        arrived.set()
        await go_on.wait()

    async def work(tx: Tx) -> None:
        service.script.append(wait)
        slow = asyncio.create_task(tx.get("a"))
        await arrived.wait()
        assert await tx.get("a") == 1
        await state.put("a", 2)
        go_on.set()
        assert await slow == 1
        tx.put("b", 1)

    with pytest.raises(Conflict):
        await state.transaction(work, tries=1)


async def test_own_writes_are_read(state: Client[Any], service: FakeService) -> None:
    await state.put("gone", 1)

    async def work(tx: Tx) -> None:
        value = {"list": [1]}
        tx.put("a", value)
        value["list"].append(2)  # too late
        assert await tx.get("a") == {"list": [1]}
        record = await tx.get_record("a")
        assert record is not None
        assert (record.etag, record.create_time, record.content_type) == ("", None, "application/json")
        tx.delete("gone")
        assert await tx.get("gone") is None
        tx.increment("count")
        with pytest.raises(RuntimeError, match="updates 'count'"):
            await tx.get("count")

    await state.transaction(work)
    assert await state.get("a") == {"list": [1]}
    assert service.names.count("Get") == 1  # this test's own


# Conditions.


async def test_a_condition_of_ones_own_that_fails_is_told(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    etag = await state.put("a", 1)

    def writing(write: Callable[[Tx], None], *, read: bool) -> Callable[[Tx], Awaitable[None]]:
        async def work(tx: Tx) -> None:
            if read:
                await both(tx, "a", "none")
            write(tx)

        return work

    for read in (False, True):
        with pytest.raises(AlreadyExists) as exists:
            await state.transaction(writing(lambda tx: tx.put("a", 2, if_absent=True), read=read))
        assert (exists.value.etag, exists.value.name) == (etag, RecordName(key="a"))
        with pytest.raises(NotFound):
            await state.transaction(writing(lambda tx: tx.delete("none", if_exists=True), read=read))
        with pytest.raises(Conflict) as other:
            await state.transaction(writing(lambda tx: tx.update(Increment("a", if_etag="old")), read=read))
        assert other.value.etag == etag
        with pytest.raises(Conflict) as gone:
            await state.transaction(writing(lambda tx: tx.put("none", 1, if_etag="old"), read=read))
        assert gone.value.etag is None
    assert pauses == []


async def test_a_condition_that_holds_gives_way_to_what_was_read(state: Client[Any], service: FakeService) -> None:
    """Which says more: had somebody else written since, the function would run again."""
    etag = await state.put("a", 1)

    async def work(tx: Tx) -> None:
        tx.put("a", (await tx.get("a", default=0)) + 1, if_exists=True)

    await state.transaction(work)
    (sent,) = service.requests("Transact")
    assert sent.puts[0].precondition == record_pb2.Precondition(etag=etag)


async def test_a_delete_of_what_was_not_there_is_a_check(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    async def work(tx: Tx) -> None:
        if await tx.get("a") is None:
            tx.delete("a")
        tx.put("b", 1)

    await state.transaction(work)
    (sent,) = service.requests("Transact")
    assert [check.precondition for check in sent.checks] == [record_pb2.Precondition(absent=True)]
    assert len(sent.deletes) == 0


async def test_the_name_of_a_failed_condition_may_have_the_store_filled_in(
    state: Client[Any], service: FakeService, pauses: list[float]
) -> None:
    def failed(key: str) -> Any:
        about = {"store": "memory", "namespace": "", "key": key, "etag": "e"}
        return refusal(CODE.ALREADY_EXISTS, "RECORD_ALREADY_EXISTS", metadata=about)

    async def work(tx: Tx) -> None:
        await tx.get("read")
        service.script.append(failures.pop())
        tx.put("own", 1, if_absent=True)
        tx.put("read", 1)

    failures = [failed("own"), failed("read")]
    with pytest.raises(AlreadyExists, match="'own'"):
        await state.transaction(work)
    assert len(service.requests("Transact")) == 2


# Several writes to one record, and records elsewhere.


async def test_the_last_of_two_writes_counts_on_the_conditions_of_the_first(
    state: Client[Any], service: FakeService
) -> None:
    async def work(tx: Tx) -> None:
        tx.put("a", 1, if_absent=True, ttl=timedelta(hours=1))
        tx.put("a", 2, keep_expiry=True)
        tx.put("b", 1)
        tx.delete("b")
        tx.delete("c", if_exists=True)
        tx.put("c", 3, keep_expiry=True)

    await state.put("c", 1, ttl=timedelta(hours=1))
    await state.transaction(work)
    (sent,) = service.requests("Transact")
    a, c = sent.puts
    assert (a.value, a.precondition, a.ttl.seconds) == (b"2", record_pb2.Precondition(absent=True), 3600)
    assert (c.value, c.precondition.exists, c.WhichOneof("expiry")) == (b"3", True, None)
    assert [delete.name.key for delete in sent.deletes] == ["b"]


async def test_a_record_that_must_be_absent_and_stays_so_is_checked(state: Client[Any], service: FakeService) -> None:
    async def work(tx: Tx) -> None:
        tx.put("a", 1, if_absent=True)
        tx.delete("a")

    await state.transaction(work)
    await state.put("a", 1)
    with pytest.raises(AlreadyExists):
        await state.transaction(work)


@pytest.mark.parametrize("first", ["put", "update"])
async def test_what_cannot_be_one_write_is_refused(state: Client[Any], service: FakeService, first: str) -> None:
    async def work(tx: Tx) -> None:
        if first == "put":
            tx.put("a", 1)
            with pytest.raises(ValueError, match="writes 'a' already: the second write cannot have a condition"):
                tx.put("a", 2, if_exists=True)
        else:
            tx.update(Append("a", [1]))
            with pytest.raises(ValueError, match="writes 'a' already: an update must be the only write"):
                tx.put("a", 2)
        with pytest.raises(ValueError, match="writes 'a' already: an update must be the only write"):
            tx.increment("a")

    await state.transaction(work)
    assert len(service.requests("Transact")) == 1


async def test_a_transaction_reaches_other_stores_and_namespaces(state: Client[Any], service: FakeService) -> None:
    view = state.namespace("chat")
    await view.store("redis").using(Text()).put("a", "x")

    async def work(tx: Tx) -> None:
        redis = tx.store("redis").using(Text())
        assert await redis.get("a") == "x"
        assert await tx.get("a") is None
        redis.put("a", "y")
        tx.namespace("other").put("a", 1)

    await view.transaction(work)
    assert set(service.records) == {("redis", "chat", "a"), ("memory", "other", "a")}
    assert await view.store("redis").get("a", codec=Text()) == "y"
