"""Schedules written by hand: what chance brings together too rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc

from keepstate_server.stores.sidecar import SidecarError
from tests.simulation.clients import Habits, ask
from tests.simulation.history import Attempt, Call, Spec
from tests.simulation.scenario import Run, Scenario, Script, Stage, perform
from tests.simulation.sidecar import Network, Way

__all__ = ["LOST_REPLY", "direct", "send"]

LOST_REPLY = Way(
    mishap="replies lost",
    error=SidecarError(grpc.StatusCode.UNAVAILABLE, "Socket closed"),
    there=0.001,
    back=3.0,
)
"""Applied at once; the caller hears 3 s later that something went wrong."""


def direct(script: Script, *, kind: str, ways: Mapping[int, Way], trail_writes: int = 16, trace: bool = False) -> Run:
    """Runs ``script`` with two instances; what happens to writes is said by ``ways``, by their place among all writes.

    The first write of each instance is its probe of the store.
    """

    async def directed(stage: Stage) -> None:
        stage.world.ways.update(ways)
        await script(stage)

    habits = Habits(keys=("a",), calls=0, thinks=(0.0,), ttls=(60_000,))
    scenario = Scenario(seed="directed", kind=kind, network=Network(), habits=habits, trail_writes=trail_writes)
    return perform(scenario, script=directed, trace=trace)


async def send(
    stage: Stage, instance: int, *specs: Spec, client: int, again: Call | None = None, repeated: bool = False
) -> Call:
    """Has an instance perform operations, or a call that was sent before ``again``; returns the call."""
    clock = stage.instances[instance].clock
    calls = stage.pool.history.calls
    call = again or Call(number=len(calls), client=client, specs=specs, request=len(calls) + 1)
    if again is None:
        calls.append(call)
    attempt = Attempt(start=asyncio.get_running_loop().time(), instance=instance)
    call.attempts.append(attempt)
    await ask(stage.instances[instance], call, attempt, clock.now(), 10.0, repeated=repeated)
    return call
