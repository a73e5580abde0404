"""One of many gets a lock, whatever is collected meanwhile; and what that rests on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from keepstate_server.domain.operations import Increment
from keepstate_server.domain.records import ABSENT
from keepstate_server.engine.engine import Engine
from keepstate_server.stores.catalog import Catalog
from tests.simulation.clocks import OffsetClock
from tests.simulation.directed import direct, send
from tests.simulation.history import Kind, Spec, record
from tests.simulation.locking import locking_scenario_of
from tests.simulation.mistakes import MISTAKES
from tests.simulation.perform import SETTINGS, Run, Stage
from tests.simulation.run import judge
from tests.simulation.sidecar import SimSidecar
from tests.simulation.sorts import perform_any

LOCK, TOKEN = record("a"), record("b")
LEASE = 30.0


def test_one_of_many_gets_the_lock() -> None:
    counts: Counter[str] = Counter()
    for seed in range(60):
        run = perform_any(locking_scenario_of(seed))
        assert judge(run) == [], seed
        counts.update(run.world.counts)
        counts["conflicts"] += sum(store.refusals for store in run.world.stores.values())
    for what in (
        "turns at a lock",
        "conflicts",
        "clocks set",
        "records collected",
        "journals of turns",
        "replies lost",
    ):
        assert counts[what] > 10, what


@pytest.mark.parametrize(
    "name", ["no_second_look_after_single_intents", "intents_ignored_by_readers", "first_attempt_runs_on_too_long"]
)
def test_a_mistake_by_which_two_get_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MISTAKES[name](monkeypatch)
    wrong = (each for seed in range(40) for each in judge(perform_any(locking_scenario_of(seed))))
    assert any("all got the lock" in each for each in wrong)


def test_a_locking_seed_replays_exactly() -> None:
    for seed in range(5):
        first, second = (perform_any(locking_scenario_of(seed), trace=True) for _ in range(2))
        assert first.world.trace == second.world.trace


def _while_an_instance_is_ahead(seconds: float) -> Run:
    """Two take a lock, one after the other; in between an instance sweeps whose clock is so much ahead."""

    async def script(stage: Stage) -> None:
        clock = OffsetClock(asyncio.get_running_loop(), seconds)
        catalog = Catalog(SimSidecar(stage.world, len(stage.instances)), default_store="sim")
        ahead = Engine(catalog, settings=SETTINGS, clock=clock, source=random.Random(1))
        for instance in (0, 1):
            put = Spec(name=LOCK, kind=Kind.PUT, value=b"v%d" % instance, precondition=ABSENT, ttl=int(LEASE * 1000))
            count = Spec(name=TOKEN, kind=Kind.INCREMENT, change=Increment(delta=1))
            await send(stage, instance, put, count, client=instance + 1, transaction=True)
            await asyncio.sleep(1.0)  # what the coordinator does after its answer
            await ahead.sweep("sim")

    return direct(script, names=(LOCK, TOKEN))


def test_a_lock_needs_clocks_that_hardly_differ() -> None:
    """Whose clock is ahead by more than a lease and a dead life collects the lock that another holds."""
    assert judge(_while_an_instance_is_ahead(SETTINGS.clock_difference.total_seconds())) == []
    far = LEASE + SETTINGS.dead_life.total_seconds() + 4 * SETTINGS.clock_difference.total_seconds()
    (wrong,) = judge(_while_an_instance_is_ahead(far))
    assert wrong.startswith("no order explains what was answered of sim/a, sim/b")
