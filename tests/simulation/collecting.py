"""Histories in which dead records are collected: instances sweep, and clients write around the moments that matter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keepstate_server.domain.names import RecordName, internal_key
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.journal import MOST_NOTES
from tests.simulation.applied import decision_in
from tests.simulation.asks import Instance
from tests.simulation.clients import Client, Habits
from tests.simulation.history import Call, Kind, Spec, record
from tests.simulation.left import left_over
from tests.simulation.network import Network, Passing, Way
from tests.simulation.perform import SETTINGS, Stage
from tests.simulation.scenario import FULL_TRAIL, Component, Scenario
from tests.simulation.stores import KINDS
from tests.simulation.values import Form

__all__ = ["Collecting", "collecting_clients", "collecting_scenario_of", "crash", "quiet", "sweep_all"]

_DEAD_LIFE = SETTINGS.dead_life.total_seconds()

# How often a healthy instance sweeps when all is over, and how many times at most: an intent that was left is found
# after one dead life, its record is dead for another, and a journal is closed after a third.
_QUIET_SWEEP = _DEAD_LIFE / 12
_QUIET_SWEEPS = 12 * 5

_JOURNAL = internal_key("journal/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Collecting(Scenario):
    """A scenario with instances that sweep."""

    sweeps: float
    """The longest pause between two sweeps of an instance while something is about to be collected; seconds."""
    aims: float
    """The share of calls that wait for a record's collection."""
    spreads: Sequence[tuple[float, float]]
    """How long before (negative) or after the end of a dead life such calls come; seconds."""
    dies: float = 0.0
    """The share of writing calls to a store at which the instance ends: more where it decides a transaction."""


def collecting_scenario_of(seed: int | str) -> Collecting:
    """Returns a scenario in which records die and are collected: on Redis, as a rule."""
    chance = random.Random(f"collecting scenario {seed}")
    several = chance.random() < 0.2
    kind = "state.redis" if chance.random() < 0.9 else chance.choice(KINDS)
    stores = [Component(kind=kind, encrypted=chance.random() < 0.05)]
    if several:
        stores.append(Component(name="other", kind=chance.choice(KINDS)))
    keys = chance.choice((("a",), ("a", "b")))
    names = [record(key) for key in keys] if not several else [record("a"), record("a", "other")]
    faults = chance.choice((0.0, 0.05, 0.2))
    network = Network(latency=chance.choice((0.002, 0.02, 0.2)), slow=chance.choice((0.0, 0.05)))
    habits = Habits(
        names=names,
        calls=chance.randint(4, 8),
        thinks=chance.choice(((0.02,), (0.02, 3.0), (3.0, 30.0))),
        ttls=chance.choice(((500,), (500, 20_000))),
        batches=chance.choice((0.0, 0.2)),
        transactions=chance.choice((0.3, 0.6) if several else (0.0, 0.0, 0.3, 0.6)),
        snapshots=chance.choice((0.0, 0.1)),
        updates=chance.choice((0.0, 0.0, 0.4)),
        forms=(Form.NUMBER,),
    )
    if faults:
        network = replace(
            network,
            lost=faults * chance.choice((0, 0.5)),
            unheard=faults * chance.choice((0.5, 1)),
            late=faults * chance.choice((0, 1, 2)),
        )
        habits = replace(
            habits,
            patience=chance.choice((1.0, 0.6)),
            beside=chance.choice((0.0, 0.3)),
            transit=chance.choice((0.005, 3.0, 40.0)),
            deadlines=chance.choice(((10.0,), (10.0, 1.0))),
        )
    return Collecting(
        seed=f"collecting {seed}",
        stores=stores,
        network=network,
        habits=habits,
        clients=chance.randint(2, 4),
        instances=chance.randint(1, 3),
        trail_writes=chance.choice((1, 3, FULL_TRAIL)),
        sweeps=chance.choice((2.0, 10.0, 60.0)),
        aims=chance.choice((0.3, 0.6)),
        spreads=chance.choice((((-60.0, 90.0),), ((-50.0, 15.0),), ((0.0, 20.0),), ((-70.0, -30.0), (8.0, 70.0)))),
        dies=chance.choice((0.0, 0.02, 0.1)) if faults else 0.0,
        journal_notes=chance.choice((1, 2, MOST_NOTES)),
    )


class _Ends(dict[RecordName, float]):
    """When each record is to have died, as far as clients know."""

    def due(self, now: float) -> float:
        """Returns in how many seconds the next dead life ends, if at all; negative soon after."""
        return min(
            (end + _DEAD_LIFE - now for end in self.values() if end + _DEAD_LIFE > now - 120), default=_DEAD_LIFE
        )


class _Aiming(Client):
    """A client that deletes much, and knows when a record will be collected."""

    def __init__(self, number: int, stage: Stage, scenario: Collecting, ends: _Ends) -> None:
        chance = random.Random(f"skew {number} of {scenario.seed}")
        skew = SETTINGS.clock_difference.total_seconds() / 2
        super().__init__(
            number,
            stage.pool,
            stage.instances,
            scenario.habits,
            chance.uniform(-skew, skew),
            f"client {number} of {scenario.seed}",
        )
        self._scenario = scenario
        self._ends = ends

    async def run(self) -> None:
        for _ in range(self._habits.calls):
            call = self._call()
            await asyncio.sleep(self._pause(call))
            call.number = len(self._pool.history.calls)
            await self.issue(call)
            self._take_note(call)
        while self._left:
            await asyncio.wait(self._left)

    def _pause(self, call: Call) -> float:
        chance, now = self._chance, asyncio.get_running_loop().time()
        end = self._ends.get(call.specs[0].name)
        if end is not None and chance.random() < self._scenario.aims:
            return max(end + _DEAD_LIFE + chance.uniform(*chance.choice(self._scenario.spreads)) - now, 0.0)
        return chance.random() * chance.choice(self._habits.thinks)

    def _take_note(self, call: Call) -> None:
        now = asyncio.get_running_loop().time()
        for spec in call.specs:
            if spec.kind not in (Kind.GET, Kind.SNAPSHOT, Kind.CHECK):
                self._ends[spec.name] = now + (spec.ttl or 0) / 1000

    def _spec(self, name: RecordName, *, slides: bool) -> Spec:
        if self._chance.random() < 0.3:
            return Spec(name=name, kind=Kind.DELETE, precondition=self._demand(name))
        return super()._spec(name, slides=slides)

    def _expiry(self) -> tuple[int | None, bool]:
        expiry = self._chance.choices((None, "ttl", "keep"), (4, 4, 1))[0]
        return self._chance.choice(self._habits.ttls) if expiry == "ttl" else None, expiry == "keep"


async def collecting_clients(stage: Stage) -> None:
    """The script of a collecting scenario; what is left over at its end counts as a violation."""
    scenario = stage.scenario
    assert isinstance(scenario, Collecting)
    ends = _Ends()
    stage.world.rule = _Deaths(stage, scenario)
    sweepers = [asyncio.create_task(_sweep(stage, each, scenario, ends)) for each in stage.instances]
    await asyncio.gather(*(_Aiming(number, stage, scenario, ends).run() for number in range(1, scenario.clients + 1)))
    for sweeper in sweepers:
        sweeper.cancel()
    await quiet(stage)


async def quiet(stage: Stage) -> None:
    """Has everything that was begun end, one instance sweep for as long as it takes, and notes what is left."""
    stage.world.rule = None
    stage.world.network = Network()
    await asyncio.sleep(max(stage.scenario.habits.deadlines) + stage.scenario.network.longest_delay + 1)
    stores = list(stage.world.stores.values())
    stage.world.counts["intents left to the collector"] += sum(store.intents for store in stores)
    left: Sequence[str] = ()
    cut_off = stage.world.counts["crashes"] > 0 or not stage.scenario.network.faultless
    for _ in range(_QUIET_SWEEPS):
        await asyncio.sleep(_QUIET_SWEEP)
        await sweep_all(stage, stage.instances[0])
        left = [each for store in stores for each in left_over(store, cut_off=cut_off)]
        if not left:
            break
    stage.world.counts["records collected"] += sum(store.deleted for store in stores)
    stage.pool.history.applied.violations.extend(left)


class _Deaths:
    """Ends instances just as they send something; counts what is noted."""

    def __init__(self, stage: Stage, scenario: Collecting) -> None:
        self._stage = stage
        self._dies = scenario.dies
        self._chance = random.Random(f"deaths of {scenario.seed}")

    def __call__(self, passing: Passing) -> Way | None:
        self._stage.world.counts["journals written"] += any(key.startswith(_JOURNAL) for key in passing.keys)
        # A coordinator that ends when it has decided leaves intents.
        deciding = any(decision_in(item.value) is not None for item in passing.items)
        if passing.writes and self._chance.random() < self._dies * (5 if deciding else 1):
            instance = self._stage.instances[passing.instance]
            after = self._chance.choice((0.0, 0.0, 0.01, 1.0)) * self._chance.random()
            asyncio.get_running_loop().call_later(after, crash, self._stage, instance)
        return None


def crash(stage: Stage, instance: Instance) -> None:
    """Ends an instance and all that it does, and starts it again."""
    stage.world.counts["crashes"] += 1
    stage.world.note(lambda: f"i{instance.number} crashes")
    instance.crash()


async def _sweep(stage: Stage, instance: Instance, scenario: Collecting, ends: _Ends) -> None:
    chance = random.Random(f"sweeper {instance.number} of {scenario.seed}")
    loop = asyncio.get_running_loop()
    while True:
        # Where nothing is due for long, virtual time passes without sweeps.
        idle = max(ends.due(loop.time()) - 30.0, 0.0) * chance.random()
        await asyncio.sleep(max(chance.random() * scenario.sweeps, idle))
        await sweep_all(stage, instance)


async def sweep_all(stage: Stage, instance: Instance) -> None:
    """Has ``instance`` sweep all stores, one after the other."""
    for name in stage.world.stores:
        stage.world.counts["sweeps"] += 1
        engine: Engine = instance.engine
        # Among what the engine has begun, so that a crash ends it.
        await asyncio.wait((engine._start(engine.sweep(name)),))
