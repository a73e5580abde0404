"""Transactions, as the engine offers them."""

from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.errors import RecordChanged, StoreUnavailable, UnsupportedByStore
from keepstate_server.domain.operations import Check, Delete, Found, Get, Put, TransactionOperation, Written
from keepstate_server.domain.records import ABSENT
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Gate, Service


async def test_a_transaction_is_refused_where_the_store_does_not_roll_back() -> None:
    service = Service(counts=True)
    with pytest.raises(UnsupportedByStore) as refused:
        await service.engine.transact([Put(name=name(), value=b"v")], None, service.deadline())
    assert refused.value.capability == "rollback"
    assert service.store.applied == []


async def test_a_transaction_over_several_stores_is_refused_before_anything_is_written() -> None:
    service = Service(counts=False)
    operations: list[TransactionOperation] = [
        Put(name=name(), value=b"v"),
        Put(name=name(store="second"), value=b"v"),
    ]
    with pytest.raises(UnsupportedByStore):
        await service.engine.transact(operations, None, service.deadline())
    assert service.store.calls == service.second.calls == []


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
