"""Callers who write one key at a time share a compare-and-set, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import pytest

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    RecordChanged,
    RecordExists,
    StoreUnavailable,
    UpdateNotApplicable,
)
from keepstate_server.domain.operations import Append, Delete, Get, Increment, Operation, Put, Update, Updated, Written
from keepstate_server.domain.records import ABSENT, EXISTS, Version, etag_of
from keepstate_server.engine import gathering
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.engine import Engine
from keepstate_server.stores.base import CompareAndSet, Outcome
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Gate, Service, Shelf
from tests.unit.server.hand import SETTINGS, again
from tests.unit.server.model_store import WriteFault


class _Busy:
    """A key that somebody writes, whose write the store holds."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.gate = Gate()

    async def __aenter__(self) -> Self:
        await self.service.one(Put(name=name(), value=b"0"))
        self.service.store.before_write.append(self.gate)
        self.ahead = asyncio.create_task(self.service.one(Put(name=name(), value=b"1")))
        await self.gate.reached.wait()
        self.service.store.applied.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.free()

    async def free(self) -> None:
        self.gate.open.set()
        await self.ahead

    async def ask(self, operation: Operation, deadline: Deadline | None = None) -> asyncio.Task[object]:
        """Asks, and returns when the operation waits for the key."""

        async def ask() -> object:
            try:
                return await self.service.engine.perform(operation, deadline or self.service.deadline())
            except KeepstateError as error:
                return error

        task = asyncio.create_task(ask())
        for _ in range(6):
            await asyncio.sleep(0)
        return task


def _put(value: bytes, precondition: object = None) -> Put:
    return Put(name=name(), value=value, precondition=precondition)  # type: ignore[arg-type]


ADD = Update(name=name(), change=Increment(delta=1))


async def test_each_of_many_gets_an_answer_of_its_own_in_the_order_of_arrival(service: Service) -> None:
    async with _Busy(service) as busy:
        asked = [
            await busy.ask(each)
            for each in (
                ADD,
                _put(b"refused", ABSENT),
                _put(b"refused", Version(bytes(16))),
                _put(b"no number", EXISTS),
                ADD,
                Delete(name=name()),
                _put(b"7", ABSENT),
                ADD,
            )
        ]
        await busy.free()
        added, exists, changed, put, misfit, _, again_, last = await asyncio.gather(*asked)
    assert isinstance(added, Updated)
    assert added.record is not None
    assert added.record.value == b"2"
    assert isinstance(exists, RecordExists)
    assert isinstance(changed, RecordChanged)
    assert exists.etag == changed.etag == etag_of(added.record.version)
    assert isinstance(put, Written)
    assert isinstance(misfit, UpdateNotApplicable)
    assert isinstance(again_, Written)
    assert isinstance(last, Updated)
    assert last.record is not None
    assert last.record.value == b"8"
    assert len({added.record.version, put.version, again_.version, last.record.version}) == 4
    assert len(service.store.applied) == 2, "the one that was ahead, and one for all others"
    assert service.envelope().value == b"8"


async def test_each_ones_repeat_finds_its_own_first_answer(service: Service) -> None:
    requests = [service.requests.new() for _ in range(10)]
    async with _Busy(service) as busy:
        asked = [await busy.ask(replace(ADD, request=request)) for request in requests]
        await busy.free()
        await asyncio.gather(*asked)
    assert service.envelope().value == b"11"
    for request in requests:
        repeated = await service.one(replace(ADD, request=again(request)))
        assert isinstance(repeated, Updated)
        assert repeated.repeated
    assert service.envelope().value == b"11"


@pytest.mark.parametrize("first", [0, 1])
async def test_a_request_and_its_repeat_in_one_group_are_applied_once(service: Service, first: int) -> None:
    request = service.requests.new()
    both = [replace(ADD, request=request), replace(ADD, request=again(request))]
    async with _Busy(service) as busy:
        asked = [await busy.ask(both[first]), await busy.ask(ADD), await busy.ask(both[1 - first])]
        await busy.free()
        results = await asyncio.gather(*asked)
    assert [type(each) for each in results] == [Updated] * 3
    assert service.envelope().value == b"3"
    assert [each.repeated for each in results if isinstance(each, Updated)] == [False, False, True]


async def test_who_has_no_time_left_is_left_out(service: Service) -> None:
    async with _Busy(service) as busy:
        short = service.deadline(3.0)
        asked = [await busy.ask(_put(b"patient")), await busy.ask(_put(b"short"), short), await busy.ask(ADD)]
        service.clock.advance(3_000)
        await busy.free()
        patient, late, _ = await asyncio.gather(*asked)
    assert isinstance(patient, Written)
    assert isinstance(late, DeadlineExceeded)
    assert service.envelope().value == b"patient"


async def test_who_has_gone_is_left_out(service: Service) -> None:
    async with _Busy(service) as busy:
        asked = [await busy.ask(_put(b"patient")), await busy.ask(_put(b"gone"))]
        asked[1].cancel()
        await asyncio.sleep(0)
        await busy.free()
        assert isinstance(await asked[0], Written)
    assert service.envelope().value == b"patient"


async def test_whose_time_is_up_while_all_is_under_way_is_told_so_and_the_others_wait(service: Service) -> None:
    async with _Busy(service) as busy:
        gate = Gate()
        service.store.before_write.append(gate)
        patient = await busy.ask(_put(b"patient"))
        # Real seconds: half of them is the patience with the one that is ahead.
        short = await busy.ask(_put(b"short"), Deadline(0.2))
        await busy.free()
        await gate.reached.wait()
        async with asyncio.timeout(5):
            assert isinstance(await short, OutcomeUnknown), "it was sent"
        assert not patient.done()
        gate.open.set()
        assert isinstance(await patient, Written)
    assert service.envelope().value == b"short"


async def test_whose_time_is_up_before_all_was_sent_is_told_so_and_left_out(service: Service) -> None:
    async with _Busy(service) as busy:
        gate = Gate()
        service.store.before_read.append(gate)
        patient = await busy.ask(ADD)
        short = await busy.ask(ADD, Deadline(0.2))
        await busy.free()
        await gate.reached.wait()
        async with asyncio.timeout(5):
            assert isinstance(await short, DeadlineExceeded)
        gate.open.set()
        assert isinstance(await patient, Updated)
    assert service.envelope().value == b"2", "added once"


@pytest.mark.parametrize("fault", [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.UNTOLD])
async def test_all_learn_what_became_of_a_write_whose_reply_was_lost(service: Service, fault: WriteFault) -> None:
    async with _Busy(service) as busy:
        service.store.write_faults.extend([WriteFault.NONE, fault])
        asked = [await busy.ask(ADD) for _ in range(5)]
        await busy.free()
        results = await asyncio.gather(*asked)
    values = [each.record.value for each in results if isinstance(each, Updated) and each.record]
    assert values == [b"2", b"3", b"4", b"5", b"6"]
    assert service.envelope().value == b"6"


async def test_all_are_told_of_a_store_that_cannot_be_reached(service: Service) -> None:
    async with _Busy(service) as busy:
        service.store.write_faults.extend([WriteFault.NONE, WriteFault.NOT_SENT])
        asked = [await busy.ask(_put(b"v")) for _ in range(3)]
        await busy.free()
        assert [type(each) for each in await asyncio.gather(*asked)] == [StoreUnavailable] * 3
    assert isinstance(await service.one(_put(b"next")), Written), "the key is free"


async def test_a_fault_of_ours_leaves_the_key_free(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    async with _Busy(service) as busy:
        asked = [await busy.ask(ADD) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(service.store, "read", broken)
            await busy.free()
            assert [type(each) for each in await asyncio.gather(*asked)] == [KeepstateError] * 2
    assert isinstance(await service.one(ADD), Updated)


async def test_a_batch_with_a_busy_key_does_not_wait_with_the_others(service: Service) -> None:
    async with _Busy(service) as busy:
        operations = [_put(b"behind"), Put(name=name("other"), value=b"at once")]
        batch = asyncio.create_task(service.all(operations))
        async with asyncio.timeout(5):
            while not service.store.applied:
                await asyncio.sleep(0)
        assert service.envelope("other").value == b"at once"
        assert not batch.done()
        await busy.free()
        assert [type(each) for each in await batch] == [Written, Written]
    assert service.envelope().value == b"behind"


async def test_more_than_may_go_together_go_one_group_after_the_other(service: Service) -> None:
    async with _Busy(service) as busy:
        asked = [await busy.ask(ADD) for _ in range(300)]
        await busy.free()
        await asyncio.gather(*asked)
    assert service.envelope().value == b"301"
    assert len(service.store.applied) == 1 + 3


async def test_large_values_do_not_all_go_together(service: Service) -> None:
    async with _Busy(service) as busy:
        asked = [await busy.ask(_put(bytes(400_000))) for _ in range(5)]
        await busy.free()
        assert [type(each) for each in await asyncio.gather(*asked)] == [Written] * 5
    assert len(service.store.applied) == 1 + 3


async def test_answers_of_large_records_are_not_all_made_at_once(service: Service) -> None:
    await service.one(Put(name=name(), value=b'["%s"]' % (b"x" * 1_000_000)))
    append = Update(name=name(), change=Append(items=[b"1"]))
    results = await asyncio.gather(*(service.one(append) for _ in range(21)))
    assert all(isinstance(each, Updated) for each in results)
    assert service.envelope().value.endswith(b"," + b",".join([b"1"] * 21) + b"]")
    assert len(service.store.applied) == 1 + 1 + 4, "five at a time"


async def test_transactions_take_turns_with_them(service: Service) -> None:
    async with _Busy(service) as busy:
        before = [await busy.ask(ADD) for _ in range(2)]
        operations = [Put(name=name(), value=b"50"), Put(name=name("other"), value=b"v")]
        transaction = asyncio.create_task(service.engine.transact(operations, None, service.deadline()))
        for _ in range(6):
            await asyncio.sleep(0)
        after = [await busy.ask(ADD) for _ in range(2)]
        await busy.free()
        await asyncio.gather(*before, transaction, *after)
    values = [
        each.record.value for task in (*before, *after) if isinstance(each := task.result(), Updated) and each.record
    ]
    assert values == [b"2", b"3", b"51", b"52"]


async def test_without_gathering_each_writes_for_itself(service: Service) -> None:
    shelf = Shelf({"model": service.store})
    service.engine = Engine(shelf, settings=replace(SETTINGS, gathering=False), clock=service.clock)
    async with _Busy(service) as busy:
        asked = [await busy.ask(ADD) for _ in range(5)]
        await busy.free()
        await asyncio.gather(*asked)
    assert service.envelope().value == b"6"
    assert len(service.store.applied) == 1 + 5


async def test_readers_do_not_wait(service: Service) -> None:
    async with _Busy(service) as busy:
        waiting = await busy.ask(ADD)
        async with asyncio.timeout(5):
            await service.one(Get(name=name()))
        assert not waiting.done()
        await busy.free()
        await waiting


async def test_what_was_kept_back_for_too_long_is_worked_out_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was stopped between the two: the write is not sent as it was, and its caller hears nothing of it."""
    loop = asyncio.get_running_loop()
    now, ahead, asked_at = loop.time, [0.0], []
    monkeypatch.setattr(loop, "time", lambda: now() + ahead[0])
    ask = gathering._Writes.ask

    async def stopped(self: object, writes: Sequence[CompareAndSet], timeout: float) -> Sequence[Outcome]:
        asked_at.append(loop.time())
        answer = asyncio.ensure_future(ask(self, writes, timeout))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        ahead[0] += 1.5 if len(asked_at) == 1 else 0.0
        return await answer

    monkeypatch.setattr(gathering._Writes, "ask", stopped)
    assert isinstance(await service.one(_put(b"v")), Written)
    assert len(asked_at) == 2
    assert len(service.store.applied) == 1
