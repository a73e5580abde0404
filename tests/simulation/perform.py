"""One run of a scenario: its stores, instances and clients are made, and what they do is noted."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from keepstate_server.domain.times import Instant
from keepstate_server.engine import noting, sighting, trail
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.envelope import decode
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.stores.catalog import Catalog
from tests.simulation.applied import Applied, decoded
from tests.simulation.asks import Instance
from tests.simulation.clients import Client, Pool
from tests.simulation.clocks import START, OffsetClock
from tests.simulation.history import Call, History, Kind, Raw, Spec
from tests.simulation.loop import run
from tests.simulation.network import Network
from tests.simulation.plain_program import write_plainly_at_random
from tests.simulation.scenario import Component, Scenario
from tests.simulation.sidecar import SimSidecar, World
from tests.simulation.stores import SimStore, make_store

__all__ = ["SETTINGS", "Run", "Script", "Stage", "perform", "random_clients"]

SETTINGS = EngineSettings()
_SKEW = SETTINGS.clock_difference.total_seconds() / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What came of a scenario."""

    scenario: Scenario
    history: History
    world: World
    intents_left: int
    """Of transactions, when all was over and nobody had come to read yet."""
    seconds: float
    """Virtual ones."""


class _Log:
    """Takes what the engine logs; into the trace, if there is one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def warning(self, event: str, **fields: Any) -> None:
        self._world.note(lambda: f"  log: {event} {fields.get('fate', '')}")

    info = debug = warning


@cache
def _logging_modules() -> Sequence[Any]:
    ours = (module for name, module in sys.modules.items() if name.startswith("keepstate_server."))
    return [module for module in ours if hasattr(module, "_log")]


@contextmanager
def _set_up(scenario: Scenario, world: World) -> Iterator[None]:
    """Has trails forget and journals be full sooner, the log go nowhere or into the trace, and decodes once."""
    modules = _logging_modules()
    logs = [module._log for module in modules]
    limits = trail._MAX_WRITES, vars(noting)["MOST_NOTES"]
    vars(trail)["_MAX_WRITES"], vars(noting)["MOST_NOTES"] = scenario.trail_writes, scenario.journal_notes
    vars(sighting)["decode"] = decoded
    for module in modules:
        module._log = _Log(world)
    try:
        yield
    finally:
        vars(trail)["_MAX_WRITES"], vars(noting)["MOST_NOTES"] = limits
        vars(sighting)["decode"] = decode
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
    plainly = write_plainly_at_random(
        stage.pool,
        stage.world.stores,
        scenario.habits.names,
        random.Random(f"another program of {scenario.seed}"),
        times=scenario.plain_writes,
        pause=max(scenario.habits.thinks),
        deletes=scenario.plain_deletes,
    )
    await asyncio.gather(plainly, *(client.run() for client in clients))


def perform(scenario: Scenario, *, script: Script = random_clients, trace: bool = False) -> Run:
    """Runs ``scenario``, in no time."""
    return run(_perform(scenario, script, trace))


async def _perform(scenario: Scenario, script: Script, trace: bool) -> Run:
    loop = asyncio.get_running_loop()
    chance = random.Random(f"world {scenario.seed}")
    history = History()
    stores = {each.name: _store(each, scenario, chance, history.applied) for each in scenario.stores}
    world = World(network=scenario.network, chance=chance, stores=stores, trace=[] if trace else None)
    with _set_up(scenario, world):
        if scenario.raw:
            _write_raw(scenario, world, history)
        pool = Pool(history=history)
        instances = [await _instance(world, number, scenario) for number in range(scenario.instances)]
        for when, number in scenario.crashes:
            loop.call_later(when, _crash, world, instances[number % len(instances)])
        await script(Stage(scenario=scenario, world=world, pool=pool, instances=instances))
        world.network = Network()
        # What was begun ends by its deadline, and what was sent arrives by then or never.
        await asyncio.sleep(max(scenario.habits.deadlines) + scenario.network.longest_delay + 1)
        intents_left = sum(store.intents for store in stores.values())
        last = Client(0, pool, instances[:1], scenario.habits, 0.0, "last")
        for name in scenario.habits.names:
            spec = Spec(name=name, kind=Kind.GET)
            await last.issue(Call(number=len(history.calls), client=0, specs=[spec]))
    return Run(scenario=scenario, history=history, world=world, intents_left=intents_left, seconds=loop.time())


def _store(component: Component, scenario: Scenario, chance: random.Random, applied: Applied) -> SimStore:
    return make_store(
        component.kind,
        OffsetClock(asyncio.get_running_loop(), chance.uniform(-_SKEW, _SKEW)),
        random.Random(f"store {component.name} of {scenario.seed}"),
        applied=applied,
        name=component.name,
        encrypted=component.encrypted,
    )


async def _instance(world: World, number: int, scenario: Scenario) -> Instance:
    sidecar = SimSidecar(world, number)
    clock = OffsetClock(asyncio.get_running_loop(), world.chance.uniform(-_SKEW, _SKEW))
    source = random.Random(world.chance.getrandbits(64))
    shared = world.stores.keys() if scenario.plain_writes else ()

    def make() -> Engine:
        catalog = Catalog(sidecar, default_store="sim", shared_stores=shared)
        settings = replace(SETTINGS, gathering=scenario.gathering)
        return Engine(catalog, settings=settings, clock=clock, source=source)

    return Instance(number=number, make=make, clock=clock)


def _crash(world: World, instance: Instance) -> None:
    world.counts["crashes"] += 1
    world.note(lambda: f"i{instance.number} crashes")
    instance.crash()


def _write_raw(scenario: Scenario, world: World, history: History) -> None:
    for name in scenario.habits.names:
        if world.chance.random() < 0.7:
            store = world.stores[name.store]
            seconds = world.chance.choice((None, 0.05, 5, 60))
            raw = Raw(
                name=name,
                value=f"raw-{name.store}-{name.key}".encode(),
                expires=None if seconds is None else Instant(START + int(seconds * 1000)),
                told=store.kind != "state.redis",
            )
            store.put_raw(name.key, raw.value, raw.expires)
            history.raw.append(raw)
