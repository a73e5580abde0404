"""Calls that run at the same time go together, and no caller can tell."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import keepstate._gathering
from keepstate import (
    Bytes,
    Cancelled,
    Client,
    Conflict,
    DeadlineExceeded,
    Increment,
    Internal,
    InvalidArgument,
    OutcomeUnknown,
    Unavailable,
    sync,
)
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService, refusal
from tests.unit.client.refusals import DOWN, UNKNOWN

CODE = grpc.StatusCode


class Gate:
    """Where calls stop that have arrived."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, request: Any, context: Any) -> None:
        self.arrived.set()
        await self.open.wait()


def stop_next(service: FakeService) -> Gate:
    """Stops the next call."""
    gate = Gate()
    service.script.append(gate)
    return gate


@asynccontextmanager
async def call_under_way(state: Client[Any], service: FakeService) -> AsyncIterator[Gate]:
    """A call waits at the gate, until the end or until it is opened."""
    await state.get("first")  # so that the service's time is known
    gate = stop_next(service)
    task = asyncio.create_task(state.get("busy"))
    await gate.arrived.wait()
    service.calls.clear()
    service.metadata.clear()
    yield gate
    gate.open.set()
    await asyncio.gather(task, return_exceptions=True)  # some close the client before


@pytest.fixture
async def busy(state: Client[Any], service: FakeService) -> AsyncIterator[Gate]:
    async with call_under_way(state, service) as gate:
        yield gate


@asynccontextmanager
async def started(*calls: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """The calls as tasks that have begun and wait for answers."""
    tasks = [asyncio.create_task(call) for call in calls]
    await rounds()
    yield tasks
    await asyncio.gather(*tasks, return_exceptions=True)


async def rounds() -> None:
    """The loop does what it can do without waiting for anything."""
    for _ in range(10):
        await asyncio.sleep(0)


def operations(batch: pb.BatchRequest) -> list[tuple[str, str]]:
    kinds = [each.WhichOneof("operation") or "" for each in batch.operations]
    return [(kind, getattr(each, kind).name.key) for kind, each in zip(kinds, batch.operations, strict=True)]


async def test_calls_one_after_the_other_go_each_by_itself(state: Client[Any], service: FakeService) -> None:
    await state.put("a", 1)
    assert await state.get("a") == 1
    assert await state.increment("a") == 2
    await state.touch("a", never=True)
    await state.delete("a")
    assert service.names == ["Put", "Get", "Update", "Touch", "Delete"]


async def test_calls_that_come_while_one_is_under_way_go_together(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    answers = await asyncio.gather(
        state.put("a", 1),
        state.get("b", default="nothing"),
        state.increment("c", 5),
        state.delete("d"),
        state.update(Increment("e")),
    )
    assert answers[1:4] == ["nothing", 5, False]
    assert answers[0] == (await state.get_record("a")).etag  # type: ignore[union-attr]
    assert answers[4].record.value == 1
    [batch] = service.requests("Batch")
    assert operations(batch) == [("put", "a"), ("get", "b"), ("update", "c"), ("delete", "d"), ("update", "e")]
    assert not busy.open.is_set()


async def test_a_single_call_beside_another_goes_by_itself(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    await state.put("a", 1)
    assert service.names == ["Put"]


async def test_all_that_begins_in_one_round_goes_together_after_a_crowd(
    state: Client[Any], service: FakeService
) -> None:
    async with call_under_way(state, service):
        await asyncio.gather(state.get("a"), state.get("b"))
    service.calls.clear()
    await asyncio.gather(state.get("a"), state.get("b"), state.get("c"))
    assert [operations(batch) for batch in service.requests("Batch")] == [[("get", "a"), ("get", "b"), ("get", "c")]]


async def test_without_gathering_every_call_goes_by_itself(address: str, service: FakeService) -> None:
    async with Client(address, gather=False) as state, call_under_way(state, service):
        await asyncio.gather(*(state.get(name) for name in "abc"))
    assert service.names == ["Get"] * 3


async def test_few_wait_for_others_but_not_for_long(
    state: Client[Any], service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepstate._gathering, "HOLD_SECONDS", 1000.0)
    await state.get("first")
    service.calls.clear()
    gates = [stop_next(service), stop_next(service)]
    async with started(*(state.get(name) for name in "abcdef")):
        for gate in gates:
            await gate.arrived.wait()
        assert service.names == ["Get", "Batch"]
        async with started(state.get("g")) as [waiting]:  # one beside six
            assert not waiting.done()
            assert service.names == ["Get", "Batch"]
            gates[1].open.set()  # they have gone
            await waiting
        assert service.names == ["Get", "Batch", "Get"]
        gates[0].open.set()
        monkeypatch.setattr(keepstate._gathering, "HOLD_SECONDS", 0.001)
        hanging = stop_next(service)
        async with started(*(state.get(name) for name in "abcdef")):
            await hanging.arrived.wait()
            assert await asyncio.wait_for(state.get("g", default="none"), 10) == "none"
            hanging.open.set()


async def test_a_batch_has_bounds(
    state: Client[Any], busy: Gate, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepstate._gathering, "MAX_OPERATIONS", 3)
    await asyncio.gather(*(state.get(str(number)) for number in range(7)))
    assert [len(batch.operations) for batch in service.requests("Batch")] == [3, 3]
    assert service.names.count("Get") == 1
    monkeypatch.setattr(keepstate._gathering, "MAX_OPERATIONS", 100)
    service.calls.clear()
    raw = state.using(Bytes())
    await asyncio.gather(*(raw.put(str(number), bytes(60_000)) for number in range(40)))
    batches = service.requests("Batch")
    assert sum(len(batch.operations) for batch in batches) == 40
    assert max(batch.ByteSize() for batch in batches) <= 1024 * 1024 + 1000


async def test_what_is_large_goes_by_itself(state: Client[Any], busy: Gate, service: FakeService) -> None:
    raw = state.using(Bytes())
    await asyncio.gather(raw.put("a", b"small"), raw.put("b", bytes(64 * 1024)), raw.put("c", b"small"))
    assert sorted(service.names) == ["Batch", "Put"]
    [large] = service.requests("Put")
    assert large.name.key == "b"


async def test_no_more_is_asked_for_than_can_be_answered(state: Client[Any], busy: Gate, service: FakeService) -> None:
    raw = state.using(Bytes())
    for number in range(40):
        await raw.put(f"large{number}", bytes(500_000))
    await raw.get("large0")
    service.calls.clear()
    found = await asyncio.gather(*(raw.get(f"large{number}") for number in range(40)))
    assert found == [bytes(500_000)] * 40
    assert max(len(batch.operations) for batch in service.requests("Batch")) <= 8


async def test_what_had_no_room_in_an_answer_is_asked_for_by_itself(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    full = refusal(
        CODE.RESOURCE_EXHAUSTED, "OVERLOADED", metadata={"limit": "bytes in one answer"}, retry_after=timedelta()
    )

    async def fill(request: pb.BatchRequest, context: Any) -> pb.BatchResponse:
        answer = service.batch(request)
        answer.results[1].error.CopyFrom(full)
        return answer

    await asyncio.gather(state.put("a", 1), state.put("b", 2))
    service.calls.clear()
    service.script.append(fill)
    assert list(await asyncio.gather(state.get("a"), state.get("b"))) == [1, 2]
    assert service.names == ["Batch", "Get"]


async def test_an_answer_that_is_too_large_is_asked_for_in_parts(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    raw = state.using(Bytes())
    await raw.put("a", bytes(600))
    await raw.put("b", bytes(600))
    service.calls.clear()
    service.answer_limit = 1000
    one, other, _ = await asyncio.gather(raw.get("a"), raw.get("b"), raw.put("c", b"c"))
    assert (one, other) == (bytes(600), bytes(600))
    assert service.names[0] == "Batch"
    assert sorted(service.names[1:]) == ["Get", "Get", "Put"]
    [put] = service.requests("Put")  # it had been applied, and is the same request again
    assert put.request.attempt == 1


async def test_each_caller_is_told_its_own_failure_in_the_words_of_a_call_of_its_own(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    violations = {"operations[2].put.name.key": "is wrong"}
    wrong = refusal(
        CODE.INVALID_ARGUMENT,
        "INVALID_FIELDS",
        message="operations[2].put.name.key is wrong",
        violations=violations,
    )

    async def refuse(request: pb.BatchRequest, context: Any) -> pb.BatchResponse:
        answer = service.batch(request)
        answer.results[2].error.CopyFrom(wrong)
        return answer

    service.script.append(refuse)
    missing, conflict, invalid, done = await asyncio.gather(
        state.get("a"),
        state.put("b", 1, if_etag="other"),
        state.put("c", 1),
        state.put("d", 1),
        return_exceptions=True,
    )
    assert missing is None
    assert type(conflict) is Conflict
    assert type(invalid) is InvalidArgument
    assert invalid.message == "name.key is wrong"
    assert [each.field for each in invalid.violations] == ["name.key"]
    assert isinstance(done, str)


async def test_the_failure_of_a_batch_is_each_callers_own(address: str, service: FakeService) -> None:
    async with Client(address, retry=None) as state, call_under_way(state, service):
        service.script.append(refusal(CODE.UNAVAILABLE, message="Socket closed"))
        read, one, other = await asyncio.gather(
            state.get("a"), state.put("b", 1), state.put("c", 1), return_exceptions=True
        )
    assert type(read) is Unavailable
    assert type(one) is type(other) is OutcomeUnknown
    assert one is not other


async def test_answers_that_do_not_fit_the_questions_are_no_answers(address: str, service: FakeService) -> None:
    async def one_too_few(request: pb.BatchRequest, context: Any) -> pb.BatchResponse:
        return pb.BatchResponse(results=service.batch(request).results[1:])

    async def of_another_kind(request: pb.BatchRequest, context: Any) -> pb.BatchResponse:
        return pb.BatchResponse(results=[pb.BatchResult(touch=pb.TouchResponse()) for _ in request.operations])

    async with Client(address, retry=None) as state, call_under_way(state, service):
        for mistake in (one_too_few, of_another_kind):
            service.script.append(mistake)
            read, write = await asyncio.gather(state.get("a"), state.put("b", 1), return_exceptions=True)
            assert type(read) is Internal
            assert type(write) is OutcomeUnknown


async def test_each_caller_repeats_for_itself(
    state: Client[Any], busy: Gate, service: FakeService, pauses: list[float]
) -> None:
    async def lose_one(request: pb.BatchRequest, context: Any) -> pb.BatchResponse:
        answer = service.batch(request)
        answer.results[0].error.CopyFrom(UNKNOWN)
        answer.results[2].error.CopyFrom(DOWN)
        return answer

    service.script.append(lose_one)
    first, second, third = await asyncio.gather(state.increment("a"), state.increment("b"), state.get("c"))
    assert (first, second, third) == (1, 1, None)
    assert service.requests("Batch")[0].operations[0].update.request.attempt == 0
    again = [call for call in service.requests("Update") if call.name.key == "a"]
    again += [each.update for batch in service.requests("Batch")[1:] for each in batch.operations if each.update]
    assert [each.request.attempt for each in again if each.name.key == "a"] == [1]


async def test_writes_of_one_record_keep_their_order(state: Client[Any], busy: Gate, service: FakeService) -> None:
    hold = stop_next(service)
    async with started(state.put("a", 1), state.put("b", 1)):
        await hold.arrived.wait()
        async with started(state.increment("a"), state.get("a"), state.put("a", 7), state.get("b")) as later:
            await asyncio.wait_for(state.get("c"), 10)
            assert not any(task.done() for task in later)
            hold.open.set()
            assert [await later[0], await later[1], await later[3]] == [2, 2, 1]
    assert await state.get("a") == 7
    together = [kind for kind, name in operations(service.requests("Batch")[1]) if name == "a"]
    assert together == ["update", "get", "put"]


async def test_reads_of_one_record_do_not_wait_for_each_other(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    assert list(await asyncio.gather(state.get("busy"), state.get("busy"))) == [None, None]


async def test_a_caller_whose_time_is_up_is_told_though_others_wait_longer(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    hang = stop_next(service)
    async with started(state.put("held", 1)) as [slow]:
        await hang.arrived.wait()
        # Held back by the write, and never sent.
        with pytest.raises(DeadlineExceeded) as told:
            await state.put("held", 2, timeout=timedelta(milliseconds=30))
        assert told.value.nothing_sent
        assert not slow.done()
        hang.open.set()
    await slow
    assert await state.get("held") == 1


async def test_a_write_that_was_sent_in_a_batch_and_has_no_time_left_may_have_been_applied(
    address: str, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client(address, retry=None) as state, call_under_way(state, service):
        hang = stop_next(service)
        async with started(state.put("a", 1), state.get("b")) as tasks:
            await hang.arrived.wait()
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + 60)
            monkeypatch.setattr(keepstate._gathering, "time", later)
            assert state._connection._gathering is not None
            state._connection._gathering._tell_whose_time_is_up(asyncio.get_running_loop())
        assert [type(task.exception()) for task in tasks] == [OutcomeUnknown, DeadlineExceeded]
        hang.open.set()


async def test_unlike_deadlines_do_not_share_a_call(state: Client[Any], busy: Gate, service: FakeService) -> None:
    left: list[float] = []

    async def note(request: Any, context: Any) -> None:
        left.append(context.time_remaining())

    service.script.extend([note, note])
    long, short = timedelta(seconds=60), timedelta(seconds=2)
    await asyncio.gather(*(state.get(name, timeout=given) for name in "ab" for given in (long, short)))
    assert [len(batch.operations) for batch in service.requests("Batch")] == [2, 2]
    assert max(left) > 20
    assert min(left) < 3


async def test_calls_for_another_store_do_not_wait_for_one_that_hangs(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    other = state.store("redis")
    hang = stop_next(service)
    async with started(other.put("a", 1), other.put("b", 1), state.put("a", 2), state.put("b", 2)) as tasks:
        await hang.arrived.wait()
        async with asyncio.timeout(10):
            await asyncio.gather(*tasks[2:])
            assert [await state.get("a"), await state.get("b")] == [2, 2]
        assert not tasks[0].done()
        hang.open.set()
    assert await other.get("a") == 1


async def test_a_caller_that_goes_leaves_the_others_theirs(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    hold = stop_next(service)
    async with started(state.get("a"), state.get("b", default="none")) as [gone, stays]:
        await hold.arrived.wait()
        gone.cancel()
        await asyncio.wait([gone])
        hold.open.set()
        assert await stays == "none"
    assert gone.cancelled()


async def test_a_batch_without_callers_is_cancelled(state: Client[Any], busy: Gate, service: FakeService) -> None:
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    service.script.append(hang)
    async with started(state.get("a"), state.get("b")) as tasks:
        await arrived.wait()
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(10):
            await cancelled.wait()


async def test_a_caller_that_goes_while_it_waits_sends_nothing(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    hold = stop_next(service)
    async with started(state.put("a", 1)) as [first]:
        await hold.arrived.wait()
        async with started(state.put("a", 2), state.put("a", 3)) as [gone, stays]:
            gone.cancel()
            hold.open.set()
            await asyncio.gather(first, stays)
    assert [request.value for request in service.requests("Put")] == [b"1", b"3"]


async def test_who_goes_holds_up_nobody(state: Client[Any], busy: Gate, service: FakeService) -> None:
    hang = stop_next(service)
    async with started(state.put("a", 1), state.put("b", 1)) as [gone, _]:
        await hang.arrived.wait()
        gone.cancel()
        await asyncio.wait([gone])
        assert await asyncio.wait_for(state.get("a", default="none"), 10) == "none"  # the batch still hangs
        hang.open.set()


async def test_closing_cuts_short_what_is_under_way_and_what_waits(address: str, service: FakeService) -> None:
    state: Client[Any] = Client(address, retry=None)
    async with call_under_way(state, service):
        hang = stop_next(service)
        async with started(state.put("a", 1), state.get("b")) as under_way:
            await hang.arrived.wait()
            async with started(state.put("a", 2)) as [held]:
                await state.close()
        hang.open.set()
        assert [type(task.exception()) for task in under_way] == [OutcomeUnknown, Cancelled]
        failure = held.exception()
        assert isinstance(failure, Cancelled)
        assert failure.nothing_sent
        with pytest.raises(RuntimeError, match="closed"):
            await state.get("a")


async def test_calls_that_were_about_to_go_when_the_client_was_closed_are_cut_short(
    state: Client[Any], busy: Gate, service: FakeService
) -> None:
    gathering = state._connection._gathering
    assert gathering is not None
    tasks = [asyncio.create_task(state.put(name, 1)) for name in "abc"]
    while not gathering._batches:
        await asyncio.sleep(0)
    await state.close()
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(failure) for failure in failures] == [Cancelled] * 3
    assert all(isinstance(failure, Cancelled) and failure.nothing_sent for failure in failures)
    assert service.names == []


async def test_calls_with_other_tokens_do_not_share_a_call(address: str, service: FakeService) -> None:
    given = iter(["first", "busy", "two", "three", "two", "three"])
    async with Client(address, token=lambda: next(given)) as state, call_under_way(state, service):
        await asyncio.gather(*(state.get(name) for name in "abcd"))
        assert [operations(batch) for batch in service.requests("Batch")] == [
            [("get", "a"), ("get", "c")],
            [("get", "b"), ("get", "d")],
        ]
        assert sorted(str(each["authorization"]) for each in service.metadata) == ["Bearer three", "Bearer two"]


def call_from_threads(address: str, *, threads: int, calls: int, gather: bool) -> list[int]:
    """Counts the threads' calls by a counter each."""
    together = threading.Barrier(threads)

    def count(number: int) -> int:
        together.wait(10)
        return max(state.increment(f"counter{number}") for _ in range(calls))

    with sync.Client(address, gather=gather) as state, ThreadPoolExecutor(threads) as pool:
        return list(pool.map(count, range(threads)))


async def test_threads_that_call_at_once_go_together(address: str, service: FakeService) -> None:
    counted = await asyncio.to_thread(call_from_threads, address, threads=8, calls=20, gather=True)
    assert counted == [20] * 8
    assert service.requests("Batch")


async def test_the_synchronous_client_can_do_without(address: str, service: FakeService) -> None:
    counted = await asyncio.to_thread(call_from_threads, address, threads=8, calls=5, gather=False)
    assert counted == [5] * 8
    assert service.names == ["Update"] * 40
