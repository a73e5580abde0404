"""Schedules written by hand: what chance brings together too rarely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from keepstate_server.domain.names import RecordName
from keepstate_server.engine.envelope import decode
from keepstate_server.stores.sidecar import SidecarError
from tests.simulation.applied import decision_in
from tests.simulation.asks import ask
from tests.simulation.clients import Habits
from tests.simulation.history import Attempt, Call, Spec, record
from tests.simulation.network import Network, Passing, Way
from tests.simulation.perform import Run, Script, Stage, perform
from tests.simulation.scenario import Component, Scenario

__all__ = ["LOST_REPLY", "LOST_REQUEST", "Rule", "decides", "direct", "late", "lays_intents", "send", "slow", "writes"]

_SOCKET_CLOSED = SidecarError(grpc.StatusCode.UNAVAILABLE, "Socket closed")

LOST_REPLY = Way(mishap="replies lost", error=_SOCKET_CLOSED, there=0.001, back=3.0)
"""Applied at once; the caller hears 3 s later that something went wrong."""

LOST_REQUEST = Way(mishap="requests lost", error=_SOCKET_CLOSED, there=None, back=3.0)
"""Never applied; the caller hears 3 s later that something went wrong."""


def slow(seconds: float) -> Way:
    """Returns the way of a call that arrives after ``seconds`` and is answered then."""
    return Way(there=seconds, back=0.001)


def late(seconds: float, *, heard: float = 0.01) -> Way:
    """Returns the way of a call that arrives after ``seconds``; its caller hears an error after ``heard`` seconds."""
    return Way(mishap="late deliveries", error=_SOCKET_CLOSED, there=seconds, back=heard)


@dataclass(kw_only=True, slots=True)
class Rule:
    """What happens to calls of one sort, from the ``skip``th on, ``times`` of them."""

    match: Callable[[Passing], bool]
    way: Way
    skip: int = 0
    times: int = 1

    def takes(self, passing: Passing) -> bool:
        if not self.times or not self.match(passing):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


def writes(instance: int, *keys: str) -> Callable[[Passing], bool]:
    """Matches what ``instance`` writes to records of these keys."""
    return lambda passing: passing.instance == instance and passing.writes and set(passing.keys) & set(keys) != set()


def lays_intents(instance: int, *keys: str) -> Callable[[Passing], bool]:
    """Matches the call by which ``instance`` lays a transaction's intents on records of these keys."""

    def match(passing: Passing) -> bool:
        envelopes = (decode(item.value) for item in passing.items if not keys or item.key in keys)
        return passing.instance == instance and any(each and each.intent for each in envelopes)

    return match


def decides(instance: int, *, committed: bool | None = None) -> Callable[[Passing], bool]:
    """Matches the call by which ``instance`` creates a transaction's outcome."""

    def match(passing: Passing) -> bool:
        decisions = [decision_in(item.value) for item in passing.items]
        return passing.instance == instance and any(
            each is not None and committed in (None, each) for each in decisions
        )

    return match


def direct(
    script: Script,
    *,
    kind: str = "state.redis",
    stores: Sequence[Component] = (),
    names: Sequence[RecordName] = (record("a"),),
    rules: Sequence[Rule] = (),
    instances: int = 2,
    trail_writes: int = 16,
    shared: bool = False,
    trace: bool = False,
) -> Run:
    """Runs ``script``; what happens to calls is said by the first of ``rules`` that matches, else nothing does.

    ``names`` are the records that are read when all is over. In ``shared`` stores another program may go on writing.
    """

    def rule(passing: Passing) -> Way | None:
        return next((each.way for each in rules if each.takes(passing)), None)

    async def directed(stage: Stage) -> None:
        stage.world.rule = rule
        await script(stage)

    components = stores or (Component(kind=kind),)
    habits = Habits(names=names, calls=0, thinks=(0.0,), ttls=(60_000,))
    scenario = Scenario(
        seed="directed",
        stores=components,
        network=Network(),
        habits=habits,
        instances=instances,
        trail_writes=trail_writes,
        plain_writes=int(shared),
    )
    return perform(scenario, script=directed, trace=trace)


async def send(
    stage: Stage,
    instance: int,
    *specs: Spec,
    client: int,
    again: Call | None = None,
    repeated: bool = False,
    transaction: bool = False,
    seconds: float = 10.0,
) -> Call:
    """Has an instance perform operations, or a call that was sent before ``again``; returns the call."""
    calls = stage.pool.history.calls
    call = again
    if call is None:
        call = Call(
            number=len(calls),
            client=client,
            specs=specs,
            transaction=transaction,
            request=1000 * len(calls) + 1,
            first_sent=stage.instances[instance].clock.now(),
        )
        calls.append(call)
    attempt = Attempt(start=asyncio.get_running_loop().time(), instance=instance)
    call.attempts.append(attempt)
    await ask(stage.instances[instance], call, attempt, seconds, repeated=repeated or again is not None)
    return call
