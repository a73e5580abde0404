"""A store that lacks what writes need is read, and everything else on it is refused before anything is sent."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import UnsupportedByStore
from keepstate_server.domain.operations import (
    Check,
    Delete,
    Found,
    Get,
    Increment,
    Operation,
    Put,
    Touch,
    TransactionOperation,
    Update,
    Written,
)
from keepstate_server.domain.records import ABSENT
from keepstate_server.domain.times import Instant
from keepstate_server.stores.base import Lack
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service
from tests.unit.server.hand import START

LACK = Lack(capability="compare-and-set", explanation="it can only be read")

WRITES: list[Operation] = [
    Put(name=name(), value=b"v"),
    Put(name=name(), value=b"v", precondition=ABSENT),
    Delete(name=name()),
    Touch(name=name()),
    Update(name=name(), change=Increment(delta=1)),
    Get(name=name(), slide_to=Instant(START + 1000)),
]


@pytest.fixture
def service() -> Service:
    service = Service(counts=False)
    service.store.put_raw("k", b"raw")
    service.store.lack = LACK
    return service


@pytest.mark.parametrize("operation", WRITES, ids=["put", "create", "delete", "touch", "update", "slide"])
async def test_a_write_is_refused_before_the_store_is_asked(service: Service, operation: Operation) -> None:
    refused = await service.one(operation)
    assert isinstance(refused, UnsupportedByStore)
    assert (refused.store, refused.capability) == ("model", "compare-and-set")
    assert service.store.calls == []


async def test_a_batchs_reads_are_answered_and_its_writes_refused_each_for_itself(service: Service) -> None:
    operations = [Get(name=name()), *WRITES, Get(name=name()), Put(name=name(store="second"), value=b"v")]
    results = await service.all(operations)
    assert [type(result) for result in results] == [
        Found,
        *[UnsupportedByStore] * len(WRITES),
        Found,
        Written,
    ]
    assert service.store.applied == []


@pytest.mark.parametrize(
    "operations",
    [
        [Put(name=name(), value=b"v")],
        [Check(name=name(), precondition=ABSENT)],
        [Put(name=name(store="second"), value=b"v"), Check(name=name(), precondition=ABSENT)],
    ],
)
async def test_a_transaction_is_refused_that_touches_it(
    service: Service, operations: list[TransactionOperation]
) -> None:
    with pytest.raises(UnsupportedByStore):
        await service.engine.transact(operations, None, service.deadline())
    assert (service.store.calls, service.second.calls) == ([], [])


async def test_a_snapshot_is_refused_that_reads_it(service: Service) -> None:
    with pytest.raises(UnsupportedByStore):
        await service.engine.snapshot([name(), name(store="second")], service.deadline())


@pytest.mark.parametrize("raw", [True, False])
async def test_what_shows_only_before_the_first_write_is_refused_then(service: Service, raw: bool) -> None:
    store = service.store
    store.lack = None

    async def prepare(*, timeout: float) -> Lack:
        return LACK

    store.prepare = prepare  # type: ignore[method-assign]
    key = "k" if raw else "another"
    assert isinstance(await service.one(Put(name=name(key), value=b"v")), UnsupportedByStore)
    with pytest.raises(UnsupportedByStore):
        await service.engine.transact([Put(name=name(key), value=b"v")], None, service.deadline())
    assert store.applied == []
