"""10,000 records on a real Redis, with and without expiry, written in all orders through several instances.

None without an expiry is lost, none that has expired is returned, and what is dead leaves the store.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import grpc
import pytest

from keepstate.v1 import state_service_pb2_grpc
from keepstate_server.domain.errors import RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Deleted, Found, Touched, Updated, Written
from tests.expiry.clients import STEPS, Clients
from tests.expiry.judging import faults
from tests.support.servers import RedisContainer
from tests.support.service import ServiceProcess

pytestmark = [pytest.mark.containers, pytest.mark.promise(7)]

RECORDS = 10_000
OPERATIONS = 20_000
CLIENTS = 6

LONGEST_TTL = 3.0

ANSWERS = (Written, Found, Touched, Updated, Deleted, RecordMissing, RecordExists, RecordChanged)
GONE_WITHIN = 60.0
"""How long after the last write's death anything dead may be left; seconds."""

PATIENCE = 180.0
"""How long the clients may take after the half; seconds."""

OWN = {f"redis||{internal_key(name)}" for name in ("journals", "probe")}
"""The service's own records that stay."""


@pytest.mark.parametrize("killed", [False, True], ids=["all live", "those that noted are killed"])
async def test_expiry_takes_what_it_should_and_nothing_else(
    killed: bool, redis: RedisContainer, instance: Callable[[str], ServiceProcess]
) -> None:
    first, second = instance("first"), instance("second")
    async with AsyncExitStack() as stack:

        async def stub(service: ServiceProcess) -> state_service_pb2_grpc.StateServiceAsyncStub:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(service.address))
            return state_service_pb2_grpc.StateServiceStub(channel)

        clients = Clients(records=RECORDS, instances=[await stub(first), await stub(second)])
        working = asyncio.create_task(clients.work(clients=CLIENTS, operations=OPERATIONS))
        if killed:
            half = asyncio.create_task(clients.half_done.wait())
            await asyncio.wait((half, working), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(first.end, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await working
        if killed:
            # Whoever collects has noted nothing itself.
            await asyncio.to_thread(second.end, signal.SIGKILL)
            clients.instances = [await stub(await asyncio.to_thread(instance, "third"))]
        last_death = time.monotonic() + LONGEST_TTL
        await asyncio.sleep(LONGEST_TTL)  # that is what an expiry is: from then on nothing changes but by collection
        living = await clients.read_all()
        judging = asyncio.create_task(asyncio.to_thread(_wrong, clients))  # meanwhile: it takes seconds
        left = await _left(redis, living, until=last_death + GONE_WITHIN)
    gone_after = time.monotonic() - last_death
    sys.stdout.write(f"{clients.summary()}, the last gone {gone_after:.0f} s after the last death\n")

    assert left == set()
    wrong = await judging
    assert not wrong, "\n".join(wrong)
    # Else nothing was shown.
    assert len(clients.written - living) > RECORDS / 10, "too few records have died"
    assert len(clients.orders) == len(STEPS) ** 2, "not every step came after every other"
    assert all(clients.happened[each.__name__] > 100 for each in ANSWERS), clients.happened
    assert (clients.happened["unanswered"] > 0) == killed


def _wrong(clients: Clients) -> Sequence[str]:
    return list(itertools.islice(faults(clients.sent, clients.era), 3))


async def _left(redis: RedisContainer, living: set[str], *, until: float) -> set[str]:
    """Waits until what is dead is gone. Returns what is left in Redis beside the records that live."""
    live = {f"redis||{key}" for key in living}
    while True:
        left = set((await asyncio.to_thread(redis.cli, "KEYS", "*")).splitlines()) - live - OWN
        if not left or time.monotonic() > until:
            return left
        await asyncio.sleep(0.5)
