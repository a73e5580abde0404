"""Histories of a lock, as the recipe takes it: many put it at once if it is absent, and count that; one gets it.

Meanwhile instances sweep, clocks are set, and journals are full soon. A lock is taken anew as soon as it was released,
when it has run out, and around the moment when what it left is collected.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Increment, Written
from keepstate_server.domain.records import ABSENT, Version
from keepstate_server.engine.journal import MOST_NOTES
from tests.simulation.asks import Instance
from tests.simulation.clients import Client, Habits
from tests.simulation.collecting import quiet, sweep_all
from tests.simulation.history import Call, Claim, Kind, Spec, claim_of, record
from tests.simulation.network import Network, Passing, Way
from tests.simulation.perform import SETTINGS, Stage
from tests.simulation.scenario import FULL_TRAIL, Component, Scenario
from tests.simulation.stores import KINDS

__all__ = ["Locking", "locking_clients", "locking_scenario_of"]

_DEAD_LIFE = SETTINGS.dead_life.total_seconds()
_CLOCKS = SETTINGS.clock_difference.total_seconds()

# Longer than all attempts of one turn can take, so that a lock that was taken is held to the turn's end.
_LEASE = 600.0

_JOURNAL = internal_key("journal/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Locking(Scenario):
    """A scenario of one lock, which all clients want ``habits.calls`` times, each time together."""

    spread: float
    """Within how many seconds they ask."""
    sweeps: float
    """The longest pause between two sweeps of an instance while they do; seconds."""
    released: float
    """The share of turns in which who has the lock releases it; else it runs out."""
    aims: float
    """The share of turns that begin when what the last one left is about to be collected."""
    sets: float
    """The share of turns in which an instance's clock is set, within the difference that clocks may have."""
    dying: int
    """How many other records die in each turn, so that there is something to be collected in the next."""


def locking_scenario_of(seed: int | str) -> Locking:
    """Returns a scenario of a lock: on Redis, as a rule."""
    chance = random.Random(f"locking scenario {seed}")
    kind = "state.redis" if chance.random() < 0.85 else chance.choice(KINDS)
    stores = [Component(kind=kind, encrypted=chance.random() < 0.05)]
    if chance.random() < 0.1:
        stores.append(Component(name="other", kind=chance.choice(KINDS)))
    faults = chance.choice((0.0, 0.0, 0.05, 0.2))
    network = Network(latency=chance.choice((0.002, 0.01, 0.05)), slow=chance.choice((0.0, 0.0, 0.02)))
    habits = Habits(
        names=(record("a"), record("b", stores[-1].name)), calls=chance.randint(1, 4), thinks=(0.02,), ttls=(500,)
    )
    if faults:
        network = replace(
            network,
            lost=faults * chance.choice((0, 0.5)),
            unheard=faults * chance.choice((0.5, 1)),
            late=faults * chance.choice((0, 1)),
        )
        habits = replace(
            habits,
            patience=chance.choice((1.0, 0.7)),
            beside=chance.choice((0.0, 0.2)),
            transit=chance.choice((0.005, 3.0)),
            deadlines=chance.choice(((10.0,), (10.0, 1.0))),
        )
    return Locking(
        seed=f"locking {seed}",
        stores=stores,
        network=network,
        habits=habits,
        clients=chance.choice((3, 6, 12)),
        instances=chance.randint(2, 3),
        trail_writes=chance.choice((2, FULL_TRAIL, FULL_TRAIL)),
        journal_notes=chance.choice((1, 2, 3, MOST_NOTES)),
        spread=chance.choice((0.0, 0.01, 0.1)),
        sweeps=chance.choice((0.005, 0.05, 1.0)),
        released=chance.choice((1.0, 0.7)),
        aims=chance.choice((0.2, 0.6)),
        sets=chance.choice((0.0, 0.5)),
        dying=chance.choice((0, 0, 1, 4)),
    )


class _Taker(Client):
    """A client that wants the lock."""

    def __init__(self, number: int, stage: Stage) -> None:
        self._stage = stage
        seed = f"taker {number} of {stage.scenario.seed}"
        skew = random.Random(f"skew of {seed}").uniform(-_CLOCKS / 2, _CLOCKS / 2)
        super().__init__(number, stage.pool, stage.instances, stage.scenario.habits, skew, seed)

    async def take(self, within: float) -> Call:
        """Asks for the lock, within so many seconds, until it is told or gives up."""
        lock, token = self._habits.names
        await asyncio.sleep(self._chance.random() * within)
        value = b"v%d" % next(self._pool.values)
        put = Spec(name=lock, kind=Kind.PUT, value=value, precondition=ABSENT, ttl=int(_LEASE * 1000))
        return await self._ask([put, Spec(name=token, kind=Kind.INCREMENT, change=Increment(delta=1))])

    async def release(self, version: Version) -> Call:
        """Releases the lock that was taken under this version."""
        return await self._ask([Spec(name=self._habits.names[0], kind=Kind.DELETE, precondition=version)])

    async def leave(self, key: str) -> Call:
        """Leaves a record that is dead soon."""
        value = b"v%d" % next(self._pool.values)
        return await self._ask([Spec(name=record(key), kind=Kind.PUT, value=value, ttl=500)])

    async def _ask(self, specs: Sequence[Spec]) -> Call:
        request = next(self._requests)
        for _ in specs[1:]:
            next(self._requests)
        number = len(self._pool.history.calls)
        call = Call(number=number, client=self._number, specs=specs, transaction=len(specs) > 1, request=request)
        await self.issue(call)
        while self._left:
            await asyncio.wait(self._left)
        return call


async def locking_clients(stage: Stage) -> None:
    """The script of a locking scenario; that two have the lock, or without need nobody, counts as a violation."""
    scenario = stage.scenario
    assert isinstance(scenario, Locking)
    chance = random.Random(f"turns of {scenario.seed}")
    stage.world.rule = journals = _Journals()
    takers = [_Taker(number, stage) for number in range(1, scenario.clients + 1)]
    for turn in range(scenario.habits.calls):
        sweepers = [asyncio.create_task(_sweep(stage, each, scenario)) for each in stage.instances]
        if chance.random() < scenario.sets:
            asyncio.get_running_loop().call_later(chance.random() * 0.1, _set, stage, chance)
        leaving = (takers[0].leave(f"d{turn}-{number}") for number in range(scenario.dying))
        calls = await asyncio.gather(*(taker.take(scenario.spread) for taker in takers))
        await asyncio.gather(*leaving)
        stage.pool.history.applied.violations.extend(_wrong(scenario, calls))
        stage.world.counts["turns at a lock"] += 1
        held = [(taker, version) for taker, call in zip(takers, calls, strict=True) if (version := _held(call))]
        releases = held and chance.random() < scenario.released
        if releases:
            taker, version = held[0]
            await taker.release(version)
        for sweeper in sweepers:
            sweeper.cancel()
        if not releases:
            await asyncio.sleep(_LEASE + _CLOCKS)
        if chance.random() < scenario.aims:
            await asyncio.sleep(_DEAD_LIFE + chance.uniform(-60.0, 40.0))
    stage.world.counts["journals of turns"] += len(journals.seen)
    await quiet(stage)


class _Journals:
    """Notes which journals there are; leaves to chance what happens to calls."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, passing: Passing) -> Way | None:
        self.seen.update(key for key in passing.keys if key.startswith(_JOURNAL))
        return None


def _wrong(scenario: Locking, calls: Sequence[Call]) -> Iterator[str]:
    holders = [call.number for call in calls if _held(call)]
    if len(holders) > 1:
        yield f"calls {holders} of one turn all got the lock"
    if not holders and scenario.network.faultless:
        yield f"none of the calls {[call.number for call in calls]} got the lock"


def _held(call: Call) -> Version | None:
    """Returns the version under which the call took the lock; None: as far as anybody was told it did not."""
    for attempt in call.attempts:
        if attempt.results and all(claim_of(each) is Claim.YES for each in attempt.results):
            taken = attempt.results[0]
            assert isinstance(taken, Written)
            return taken.version
    return None


def _set(stage: Stage, chance: random.Random) -> None:
    """Sets an instance's clock."""
    instance = chance.choice(stage.instances)
    instance.clock.offset = chance.uniform(-_CLOCKS / 2, _CLOCKS / 2)
    stage.world.counts["clocks set"] += 1
    stage.world.note(lambda: f"i{instance.number} has another time")


async def _sweep(stage: Stage, instance: Instance, scenario: Locking) -> None:
    chance = random.Random(f"sweeper {instance.number} of {scenario.seed}")
    while True:
        await asyncio.sleep(chance.random() * scenario.sweeps)
        await sweep_all(stage, instance)
