"""What reads that their callers break off do to later ones, on plain Dapr: why no call of SQLite is broken off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import grpc
import pytest
from dapr.proto.runtime.v1.state_pb2 import GetBulkStateRequest, GetStateRequest

from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.stores.address import SidecarAddress
from tests.containers.facts import LIMITS
from tests.contract.api import Api
from tests.contract.conftest import running_service
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer
from tests.unit.embedded.driver import Caller, item

pytestmark = pytest.mark.containers

KEYS = [f"key-{number}" for number in range(60)]
Read = Callable[[Caller, float], Awaitable[object]]


@pytest.fixture
def sidecar(store: str, containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaprContainer]:
    """A sidecar of the test's own, whose connections may be spoilt."""
    _ = containers.postgres
    folder = tmp_path_factory.mktemp("components")
    (folder / f"{store}.yaml").write_text((COMPONENTS / f"{store}.yaml").read_text())
    running = containers.sidecar(f"broken-off-{store}", resources_path=folder)
    yield running
    running.stop()


@pytest.fixture
async def caller(store: str, sidecar: DaprContainer) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(sidecar.grpc_target, options=LIMITS) as channel:
        caller = Caller.on(channel, store=store)
        await caller.save(*(item(key, b"v" * 20_000) for key in KEYS))
        yield caller


async def in_bulk(caller: Caller, seconds: float) -> None:
    await caller.stub.GetBulkState(GetBulkStateRequest(store_name=caller.store, keys=KEYS), timeout=seconds)


async def key_by_key(caller: Caller, seconds: float) -> None:
    await asyncio.gather(
        *(caller.stub.GetState(GetStateRequest(store_name=caller.store, key=key), timeout=seconds) for key in KEYS[:8])
    )


async def later_reads_miss_what_was_written(caller: Caller, read: Read, number: int) -> bool:
    """Breaks off 24 reads at one time, then writes, and reads what was written until every connection had its turn."""
    chance = random.Random(number)
    reads = (read(caller, chance.uniform(0, 0.006)) for _ in range(24))
    broken_off = await asyncio.gather(*reads, return_exceptions=True)
    assert any(isinstance(each, grpc.aio.AioRpcError) for each in broken_off)
    written = b"%d" % number
    try:
        await caller.save(item("counter", written))
    except grpc.aio.AioRpcError as error:
        assert "database is locked" in (error.details() or ""), error
        return True
    found = await asyncio.gather(*(caller.get("counter") for _ in range(8)))
    return any(each.data != written for each in found)


@pytest.mark.parametrize(("store", "read"), [("sqlite", in_bulk), ("sqlite", key_by_key)])
async def test_a_read_of_sqlite_that_is_broken_off_leaves_later_reads_in_the_past(
    caller: Caller, store: str, read: Read
) -> None:
    """It happens in one of ten to fifty rounds."""
    for number in range(1000):
        if await later_reads_miss_what_was_written(caller, read, number):
            return
    pytest.fail("not seen in 1000 rounds: calls of SQLite may perhaps be broken off again")


@pytest.mark.parametrize("store", ["postgresql"])
async def test_bulk_reads_of_postgresql_that_are_broken_off_do_no_harm(caller: Caller, store: str) -> None:
    assert not [n for n in range(100) if await later_reads_miss_what_was_written(caller, in_bulk, n)]


@pytest.mark.parametrize("store", ["sqlite"])
async def test_callers_who_give_up_leave_sqlite_unharmed(caller: Caller, sidecar: DaprContainer, store: str) -> None:
    """The same through the service, in batches and snapshots."""
    chance = random.Random(0)
    async with running_service(SidecarAddress(grpc=sidecar.grpc_target, http=sidecar.http_endpoint)) as backend:
        api = Api(backend.channel, store, "")
        gets = [pb.BatchOperation(get=pb.GetRequest(name=api.name(key))) for key in KEYS]
        for number in range(100):
            reads = (
                api.state.Batch(pb.BatchRequest(operations=gets), timeout=chance.uniform(0.0001, 0.02))
                for _ in range(24)
            )
            given_up = await asyncio.gather(*reads, return_exceptions=True)
            assert any(isinstance(each, grpc.aio.AioRpcError) for each in given_up)
            await api.put("counter", b"%d" % number)
            assert await api.values(*["counter"] * 8) == [b"%d" % number] * 8
