"""One run from one seed: which store, what network, how many of whom, and what they did."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from keepstate_server.domain.times import Instant
from keepstate_server.engine import trail, transactions, writer
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.stores.catalog import Catalog
from tests.simulation.clients import Client, Habits, Instance, Pool
from tests.simulation.clocks import START, OffsetClock
from tests.simulation.history import Call, History, Kind, Raw, Spec
from tests.simulation.loop import run
from tests.simulation.sidecar import Network, Outage, SimSidecar, World
from tests.simulation.stores import KINDS, SimStore, make_store

__all__ = [
    "FULL_TRAIL",
    "SETTINGS",
    "Run",
    "Scenario",
    "Script",
    "Stage",
    "hot_scenario_of",
    "perform",
    "random_clients",
    "scenario_of",
]

SETTINGS = EngineSettings()
FULL_TRAIL = trail._MAX_WRITES
_SKEW = SETTINGS.clock_difference.total_seconds() / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """What a seed comes to."""

    seed: str
    kind: str
    network: Network
    habits: Habits
    clients: int = 3
    instances: int = 2
    trail_writes: int = FULL_TRAIL
    raw: bool = False
    """Another program had written some of the keys."""
    encrypted: bool = False
    crashes: tuple[tuple[float, int], ...] = ()
    """When which instance ends without a word and is started again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What came of a scenario."""

    scenario: Scenario
    history: History
    world: World
    seconds: float
    """Virtual ones."""


def scenario_of(seed: int | str, *, kind: str | None = None) -> Scenario:
    """Returns the scenario of ``seed``, on a store of ``kind`` if that is given."""
    chance = random.Random(f"scenario {seed}")
    chosen = chance.choice(KINDS) if chance.random() < 0.6 else "state.redis"
    chosen = kind or chosen
    if chance.random() < 0.2:
        return hot_scenario_of(seed, kind=chosen)
    clients = chance.randint(2, 4)
    keys = ("a", "b", "c")[: chance.choice((1, 1, 2, 3))]
    thinks = chance.choice(((0.002,), (0.02,), (0.02, 0.02, 2.0), (0.02, 1.0, 12.0), (0.02, 0.5, 30.0, 1200.0)))
    transactions_share = 0.0 if chosen == "state.redis" else chance.choice((0.0, 0.3, 0.8))
    faults = chance.choice((0.0, 0.03, 0.1, 0.25))
    each = chance.randint(3, 12 // clients + 3)
    network = Network(latency=chance.choice((0.002, 0.01, 0.05)), slow=chance.choice((0.0, 0.0, 0.05)))
    habits = Habits(
        keys=keys,
        calls=each,
        thinks=thinks,
        ttls=chance.choice(((60_000,), (500, 4_000), (1_000, 15_000, 1_000_000))),
        batches=chance.choice((0.0, 0.2, 0.5)),
        transactions=transactions_share,
    )
    if faults:
        # Not every run has every fault: where one hides another, both go unseen.
        network = replace(
            network,
            lost=faults * chance.choice((0, 0.5)),
            unheard=faults * chance.choice((0.5, 1)),
            late=faults * chance.choice((0, 1)),
            full=chance.choice((0.0, 0.0, 0.05)),
            broken_off=chance.choice((0.0, 0.2)),
            outages=_outages(chance, clients),
        )
        habits = replace(
            habits,
            patience=chance.choice((1.0, 0.9, 0.6)),
            beside=chance.choice((0.0, 0.1, 0.4)),
            transit=chance.choice((0.005, 0.005, 3.0, 40.0)),
            deadlines=chance.choice(((10.0,), (10.0, 1.0), (10.0, 0.05, 3.5))),
        )
    encrypted = chance.random() < 0.1
    # Where Dapr encrypts Redis, another program's value is adopted by writing it again, which changes its etag.
    raw = chance.random() < 0.2 and not (encrypted and chosen == "state.redis")
    return Scenario(
        seed=str(seed),
        kind=chosen,
        network=network,
        habits=habits,
        clients=clients,
        instances=chance.randint(1, 3),
        trail_writes=chance.choice((1, 2, 3, 5, FULL_TRAIL)),
        raw=raw,
        encrypted=encrypted,
        crashes=_crashes(chance, clients) if faults else (),
    )


def _crashes(chance: random.Random, instances: int) -> tuple[tuple[float, int], ...]:
    count = chance.choice((0, 0, 1, 4))
    return tuple((chance.random() * chance.choice((0.1, 3.0, 20.0)), chance.randrange(instances)) for _ in range(count))


def hot_scenario_of(seed: int | str, *, kind: str = "state.redis") -> Scenario:
    """Returns a scenario in which many write one key, repeat beside first attempts, and trails are short.

    What needs several rare things at the same time is found in these.
    """
    chance = random.Random(f"hot scenario {seed}")
    share = chance.choice((0.0, 0.5)) if kind != "state.redis" else 0.0
    return Scenario(
        seed=f"hot {seed}",
        kind=kind,
        network=Network(
            latency=chance.choice((0.01, 0.1)),
            unheard=chance.choice((0.1, 0.3)),
            late=chance.choice((0.0, 0.1, 0.3)),
            slow=chance.choice((0.0, 0.1)),
        ),
        habits=Habits(
            keys=("a",) if not share else ("a", "b"),
            calls=chance.randint(3, 6),
            thinks=(chance.choice((0.01, 0.3, 2.0)),),
            ttls=(60_000,),
            batches=chance.choice((0.0, 0.3)),
            transactions=share,
            patience=chance.choice((0.8, 0.4)),
            beside=chance.choice((0.2, 0.6)),
            transit=chance.choice((0.01, 0.5, 3.0)),
            deadlines=(10.0, 1.0),
        ),
        clients=chance.randint(2, 4),
        instances=chance.randint(1, 3),
        trail_writes=chance.choice((1, 1, 2)),
    )


def _outages(chance: random.Random, sidecars: int) -> tuple[Outage, ...]:
    outages = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        begin = chance.random() * chance.choice((0.1, 3.0, 20.0))
        outages.append(
            Outage(
                begin=begin,
                end=begin + chance.choice((0.02, 1.0, 20.0)) * chance.random(),
                paused=chance.random() < 0.6,
                sidecar=chance.choice((None, None, chance.randrange(sidecars))),
            )
        )
    return tuple(outages)


class _Log:
    """Takes what the engine logs; into the trace, if there is one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def warning(self, event: str, **fields: Any) -> None:
        self._world.note(lambda: f"  log: {event} {fields.get('fate', '')}")

    info = debug = warning


@contextmanager
def _set_up(scenario: Scenario, world: World) -> Iterator[None]:
    """Has trails forget sooner, and the log go nowhere or into the trace."""
    modules: Any = (writer, transactions)
    logs = [module._log for module in modules]
    limit = trail._MAX_WRITES
    vars(trail)["_MAX_WRITES"] = scenario.trail_writes
    for module in modules:
        module._log = _Log(world)
    try:
        yield
    finally:
        vars(trail)["_MAX_WRITES"] = limit
        for module, log in zip(modules, logs, strict=True):
            module._log = log


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Where a run takes place."""

    scenario: Scenario
    world: World
    pool: Pool
    instances: Sequence[Instance]


Script = Callable[[Stage], Awaitable[None]]


async def random_clients(stage: Stage) -> None:
    """The script that follows the scenario's habits."""
    scenario = stage.scenario
    chance = random.Random(f"clients {scenario.seed}")
    clients = [
        Client(
            number,
            stage.pool,
            stage.instances,
            scenario.habits,
            chance.uniform(-_SKEW, _SKEW),
            f"client {number} of {scenario.seed}",
        )
        for number in range(1, scenario.clients + 1)
    ]
    await asyncio.gather(*(client.run() for client in clients))


def perform(scenario: Scenario, *, script: Script = random_clients, trace: bool = False) -> Run:
    """Runs ``scenario``, in no time."""
    return run(_perform(scenario, script, trace))


async def _perform(scenario: Scenario, script: Script, trace: bool) -> Run:
    loop = asyncio.get_running_loop()
    chance = random.Random(f"world {scenario.seed}")
    store = make_store(
        scenario.kind,
        OffsetClock(loop, chance.uniform(-_SKEW, _SKEW)),
        random.Random(f"store {scenario.seed}"),
        encrypted=scenario.encrypted,
    )
    world = World(network=scenario.network, chance=chance, store=store, trace=[] if trace else None)
    with _set_up(scenario, world):
        history = History(redis=scenario.kind == "state.redis", landed=store.landed)
        if scenario.raw:
            _write_raw(scenario, store, history, chance)
        pool = Pool(history=history)
        instances = [await _instance(world, number, chance) for number in range(scenario.instances)]
        for when, number in scenario.crashes:
            loop.call_later(when, _crash, world, instances[number % len(instances)])
        await script(Stage(scenario=scenario, world=world, pool=pool, instances=instances))
        world.network = Network()
        # What was begun ends by its deadline, and what was sent arrives by then or never.
        await asyncio.sleep(max(scenario.habits.deadlines) + scenario.network.longest_delay + 1)
        last = Client(0, pool, instances[:1], scenario.habits, 0.0, "last")
        for key in scenario.habits.keys:
            spec = Spec(key=key, kind=Kind.GET)
            await last.issue(Call(number=len(history.calls), client=0, specs=[spec]))
    return Run(scenario=scenario, history=history, world=world, seconds=loop.time())


async def _instance(world: World, number: int, chance: random.Random) -> Instance:
    sidecar = SimSidecar(world, number)
    clock = OffsetClock(asyncio.get_running_loop(), chance.uniform(-_SKEW, _SKEW))
    source = random.Random(chance.getrandbits(64))

    def make() -> Engine:
        catalog = Catalog(sidecar, default_store="sim")
        return Engine(catalog, settings=SETTINGS, clock=clock, source=source)

    return Instance(number=number, make=make, clock=clock)


def _crash(world: World, instance: Instance) -> None:
    world.counts["crashes"] += 1
    world.note(lambda: f"i{instance.number} crashes")
    instance.crash()


def _write_raw(scenario: Scenario, store: SimStore, history: History, chance: random.Random) -> None:
    for key in scenario.habits.keys:
        if chance.random() < 0.7:
            seconds = chance.choice((None, 0.05, 5, 60))
            raw = Raw(
                key=key,
                value=b"raw-" + key.encode(),
                expires=None if seconds is None else Instant(START + int(seconds * 1000)),
            )
            store.put_raw(key, raw.value, raw.expires)
            history.raw.append(raw)
