"""Transactions, as the engine offers them."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    Reason,
    RecordChanged,
    RecordExists,
    StoreUnavailable,
)
from keepstate_server.domain.operations import Check, Delete, Found, Get, Operation, Put, TransactionOperation, Written
from keepstate_server.domain.records import ABSENT
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.engine import Engine
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Gate, Service, Shelf
from tests.unit.server.hand import SETTINGS
from tests.unit.server.model_store import WriteFault


@pytest.mark.parametrize("stores", [("model", "model"), ("model", "second")])
async def test_all_or_nothing_where_no_store_rolls_back(stores: tuple[str, str]) -> None:
    service = Service(counts=True)
    first, second = name("a", store=stores[0]), name("b", store=stores[1])

    async def values() -> list[bytes | None]:
        records = await service.engine.snapshot([first, second], service.deadline())
        return [record.value if record else None for record in records]

    answers = await service.engine.transact(
        [Put(name=first, value=b"1"), Put(name=second, value=b"2")], None, service.deadline()
    )
    assert [type(answer) for answer in answers] == [Written, Written]
    assert await values() == [b"1", b"2"]
    with pytest.raises(RecordExists):
        await service.engine.transact(
            [Put(name=first, value=b"3"), Put(name=second, value=b"4", precondition=ABSENT)], None, service.deadline()
        )
    assert await values() == [b"1", b"2"]
    await service.engine.drain(timeout=5)
    assert all(envelope.intent is None for envelope in (service.envelope("a"), service.envelope("b", stores[1])))


async def test_a_transaction_on_a_store_that_is_not_ready_is_unavailable() -> None:
    service = Service(counts=False)
    service.store.prepare_faults.append("no probe")
    with pytest.raises(StoreUnavailable) as unavailable:
        await service.engine.transact([Put(name=name(), value=b"v")], None, service.deadline())
    assert unavailable.value.nothing_sent


async def test_a_transaction_that_was_sent_is_ended_though_its_caller_has_gone() -> None:
    service = Service(counts=False)
    gate = Gate()
    service.store.before_write.append(gate)
    operations: list[TransactionOperation] = [
        Put(name=name("a"), value=b"v"),
        Delete(name=name("b")),
        Check(name=name("c"), precondition=ABSENT),
    ]
    call = asyncio.create_task(service.engine.transact(operations, None, service.deadline()))
    await gate.reached.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    gate.open.set()
    await service.engine.drain(timeout=5)
    assert service.envelope("a").value == b"v"


async def test_who_waits_behind_a_transaction_whose_time_is_up_waits_no_longer() -> None:
    service = Service(counts=True)
    gate = Gate()
    service.store.before_write.append(gate)
    first = [Put(name=name("a"), value=b"first"), Put(name=name("b"), value=b"first")]
    with pytest.raises(OutcomeUnknown):
        await service.engine.transact(first, None, service.deadline(0.01))
    async with asyncio.timeout(5):  # of the 30 s that the writer has
        assert isinstance(await service.one(Put(name=name("a"), value=b"second")), Written)
    gate.open.set()
    await service.engine.drain(timeout=5)
    assert service.envelope("a").value == b"second"


async def test_writers_and_transactions_on_the_same_records_never_lose_a_write() -> None:
    """Each adds one, by etag, to both records or to one of them."""
    service = Service(counts=False)
    for key in ("a", "b"):
        await service.one(Put(name=name(key), value=b"0"))

    async def read(key: str) -> Found:
        found = await service.one(Get(name=name(key)))
        assert isinstance(found, Found)
        return found

    def more(found: Found, key: str) -> Put:
        value = str(int(found.record.value) + 1).encode()
        return Put(name=name(key), value=value, precondition=found.record.version)

    async def single(key: str) -> int:
        while True:
            result = await service.one(more(await read(key), key))
            if isinstance(result, Written):
                return 1
            assert isinstance(result, RecordChanged)

    async def both() -> int:
        while True:
            operations: list[TransactionOperation] = [more(await read(key), key) for key in ("a", "b")]
            try:
                await service.engine.transact(operations, service.requests.new(), service.deadline(3600))
            except RecordChanged:
                continue
            return 1

    await asyncio.gather(*(single(key) for key in "ab" * 5), *(both() for _ in range(5)))
    assert (service.envelope("a").value, service.envelope("b").value) == (b"10", b"10")


async def test_a_fault_of_the_service_is_told_as_such_and_lets_the_records_go() -> None:
    service = Service(counts=True)

    async def fails() -> None:
        raise ZeroDivisionError

    service.store.before_read.append(fails)
    with structlog.testing.capture_logs() as logs, pytest.raises(KeepstateError) as failed:
        await service.engine.transact([Put(name=name(), value=b"v")], None, service.deadline())
    assert failed.value.reason is Reason.INTERNAL
    assert "transaction broke off" in [entry["event"] for entry in logs]
    assert isinstance(await service.one(Put(name=name(), value=b"v")), Written)


async def test_a_transaction_whose_attempts_were_all_aborted_changed_nothing_when_its_time_is_up() -> None:
    service = Service(counts=True)
    gate = Gate()

    async def passes() -> None:
        return

    service.store.write_faults.append(WriteFault.REQUEST_LOST)
    service.store.before_read.extend([passes, gate])
    with pytest.raises(DeadlineExceeded):
        await service.engine.transact([Put(name=name(), value=b"v")], None, Deadline(0.1))
    assert gate.reached.is_set()
    gate.open.set()
    await service.engine.drain(timeout=5)
    assert service.store.count("write") == 1


async def test_a_transaction_that_nobody_can_resolve_holds_up_no_others_of_a_batch() -> None:
    """The store that decides it is not there."""
    service = Service(counts=True)
    gate = Gate()

    async def passes() -> None:
        return

    service.second.before_read.extend([passes, gate])
    operations: list[TransactionOperation] = [
        Check(name=name("a"), precondition=ABSENT),
        Put(name=name("b", store="second"), value=b"v"),
    ]
    dies = asyncio.create_task(service.engine.transact(operations, None, service.deadline()))
    await gate.reached.wait()
    await service.engine.drain(timeout=0)
    with pytest.raises(OutcomeUnknown):
        await dies
    alone = Engine(Shelf({"model": service.store}), settings=SETTINGS, clock=service.clock)
    batch: list[Operation] = [Get(name=name("a")), Put(name=name("c"), value=b"v")]
    unresolved, written = await alone.perform_all(batch, service.deadline())
    assert isinstance(unresolved, StoreUnavailable)
    assert isinstance(written, Written)
