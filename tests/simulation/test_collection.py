"""Records are collected without harm to later lives and without leaving anything; mistakes in that are found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Written
from keepstate_server.domain.records import ABSENT, EXISTS, Precondition, Version
from tests.simulation import collection_mistakes as planted
from tests.simulation.collecting import collecting_scenario_of, crash
from tests.simulation.collection_mistakes import COLLECTION_MISTAKES
from tests.simulation.directed import Rule, decides, direct, late, send, writes
from tests.simulation.history import Call, Kind, Spec, record
from tests.simulation.left import left_over
from tests.simulation.network import Passing, Way
from tests.simulation.perform import Run, Stage
from tests.simulation.run import judge
from tests.simulation.sorts import perform_any

# Which of the schedules below finds each mistake; the others are found by chance.
_SCHEDULES: dict[str, Callable[[], Run]] = {}

_BOUND = 60


def _finds(mistake: Callable[[pytest.MonkeyPatch], None]) -> Callable[[Callable[[], Run]], Callable[[], Run]]:
    def note(schedule: Callable[[], Run]) -> Callable[[], Run]:
        _SCHEDULES[mistake.__name__] = schedule
        return schedule

    return note


# A record that expires after half a second may be collected 910 s after that, by clocks that differ by up to 5 s; the
# last moments, in which it must be noted before it is written, begin 45 s before its dead life ends.


def _put(value: bytes, *, ttl: int | None = None, demand: Precondition = None, key: str = "a") -> Spec:
    return Spec(name=record(key), kind=Kind.PUT, value=value, precondition=demand, ttl=ttl)


_GET = Spec(name=record("a"), kind=Kind.GET)
_DELETE = Spec(name=record("a"), kind=Kind.DELETE)


async def _until(second: float) -> None:
    await asyncio.sleep(second - asyncio.get_running_loop().time())


async def _sweep(stage: Stage, instance: int) -> None:
    await stage.instances[instance].engine.sweep("sim")


def _deletes(*instances: int) -> Callable[[Passing], bool]:
    return lambda passing: passing.what == "delete" and passing.instance in instances


def _writes_own(instance: int, key: str) -> Callable[[Passing], bool]:
    """Matches what an instance writes to records of the service's own."""
    its = internal_key(key)
    return lambda passing: passing.instance == instance and passing.writes and passing.keys[0].startswith(its)


def _slow(seconds: float, *, there: float = 0.001) -> Way:
    return Way(there=there, back=seconds)


def _version(call: Call) -> Version:
    results = call.attempts[0].results
    assert results is not None
    assert isinstance(results[0], Written)
    return results[0].version


@_finds(planted.old_hints)
def _a_hint_from_an_earlier_life() -> Run:
    async def script(stage: Stage) -> None:
        first = await send(stage, 0, _put(b"v1"), client=1)
        await send(stage, 1, _DELETE, client=2)
        await _until(930)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v2"), client=2)
        await send(stage, 0, _put(b"v3", demand=_version(first)), client=1)

    return direct(script)


@_finds(planted.last_moments_without_taking_the_note)
def _a_write_that_arrives_after_the_collection() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await _until(905)
        writing = asyncio.create_task(send(stage, 0, _put(b"v2", demand=ABSENT), client=1, seconds=60.0))
        await _until(920)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v3", demand=ABSENT), client=2)
        await writing

    return direct(script, rules=[Rule(match=writes(0, "a"), way=late(25.0, heard=28.0), skip=1)])


@_finds(planted.not_read_again_in_last_moments)
def _a_record_seen_before_its_collection() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 1, _put(b"v1", ttl=500), client=2)
        await _until(880)
        await send(stage, 0, _GET, client=1)
        await _until(920)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v2", demand=ABSENT), client=2)
        await send(stage, 0, _put(b"v3", demand=ABSENT), client=1)

    return direct(script)


@_finds(planted.second_delete_too_early)
def _a_delete_that_arrives_late() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await _until(920)
        await _sweep(stage, 0)
        await _until(930)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v2"), client=1)
        await _until(950)

    return direct(script, rules=[Rule(match=_deletes(0, 1), way=late(25.0))])


@_finds(planted.two_collectors_of_one_record)
def _two_look_into_a_journal() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await _until(920)
        slower = asyncio.create_task(_sweep(stage, 0))
        await _until(920.5)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v2"), client=1)
        await slower

    marks = Rule(match=_writes_own(0, "journal/"), way=_slow(0.001, there=1.0), skip=1)
    return direct(script, rules=[marks, Rule(match=_deletes(0), way=late(25.0))])


@_finds(planted.records_of_other_journals_collected)
def _a_record_in_two_journals() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await send(stage, 1, _put(b"v2"), client=1)
        await send(stage, 1, _put(b"v3", ttl=500), client=1)
        await _until(920)
        await _sweep(stage, 0)
        for value in (b"v4", b"v5", b"v6"):
            await send(stage, 1, _put(value), client=1)

    return direct(script, rules=[Rule(match=_deletes(0), way=late(25.0))])


@_finds(planted.collected_when_its_note_says_so)
def _a_record_that_was_touched() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await send(stage, 0, Spec(name=record("a"), kind=Kind.TOUCH, ttl=2_000_000), client=1)
        await _until(920)
        await _sweep(stage, 1)
        await send(stage, 0, _GET, client=1)

    return direct(script)


@_finds(planted.committed_intent_collected)
def _a_transaction_that_nobody_met() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await _until(800)
        asyncio.get_running_loop().call_later(5.0, crash, stage, stage.instances[0])
        specs = (_put(b"v2"), _put(b"v3", key="b"))
        await asyncio.wait((asyncio.ensure_future(send(stage, 0, *specs, client=1, transaction=True)),), timeout=60)
        await _until(1720)
        await _sweep(stage, 1)

    return direct(script, names=(record("a"), record("b")), rules=[Rule(match=decides(0), way=_slow(30.0))])


@_finds(planted.dead_life_counted_from_death_alone)
def _a_refusal_that_is_remembered_by_a_dead_record() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        await _until(840)
        refused = await send(stage, 0, _put(b"v2", demand=EXISTS), client=1, repeated=True)
        await _until(920)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v3"), client=2)
        await send(stage, 1, *refused.specs, client=1, again=refused)

    return direct(script)


@_finds(planted.plan_sent_however_old)
def _a_plan_that_waits_for_its_notes() -> Run:
    async def script(stage: Stage) -> None:
        await send(stage, 1, _put(b"v1", ttl=500), client=2)
        await _until(850)
        specs = (_put(b"v2", demand=ABSENT), _put(b"v3", ttl=500, key="b"))
        waiting = asyncio.create_task(send(stage, 0, *specs, client=1, seconds=60.0))
        await _until(920)
        await _sweep(stage, 1)
        await send(stage, 1, _put(b"v4", demand=ABSENT), client=2)
        await waiting

    slow = [Rule(match=_writes_own(0, each), way=_slow(28.0)) for each in ("journal/", "journals")]
    return direct(
        script, names=(record("a"), record("b")), rules=[*slow, Rule(match=writes(0, "a"), way=late(25.0, heard=28.0))]
    )


@pytest.mark.parametrize("name", _SCHEDULES)
def test_a_planted_mistake_is_found_by_a_schedule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not judge(_SCHEDULES[name]())
    COLLECTION_MISTAKES[name](monkeypatch)
    assert judge(_SCHEDULES[name]())


@pytest.mark.parametrize("name", sorted(COLLECTION_MISTAKES.keys() - _SCHEDULES.keys()))
def test_a_planted_mistake_is_found_by_chance(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    COLLECTION_MISTAKES[name](monkeypatch)
    assert any(judge(perform_any(collecting_scenario_of(seed))) for seed in range(_BOUND))


def test_intents_that_nobody_met_are_resolved_by_the_collector() -> None:
    assert _a_transaction_that_nobody_met().intents_left == 0


def test_what_is_left_over_is_told_until_it_is_collected() -> None:
    told: list[list[str]] = []

    async def script(stage: Stage) -> None:
        store = stage.world.stores["sim"]
        await send(stage, 0, _put(b"v1", ttl=500), client=1)
        for second in (600, 920, 2000):
            await _until(second)
            await _sweep(stage, 0)
            told.append([each.split(" ", 2)[-1] for each in left_over(store, cut_off=False)])

    direct(script)
    before, collected, closed = told
    assert "sim a, dead" in before
    assert any(each.endswith("with 1 notes") for each in before)
    assert any(each.endswith("with 0 notes") for each in collected)
    assert not any(each.endswith("dead") for each in collected)
    assert closed == []


def test_a_collecting_seed_replays_exactly() -> None:
    for seed in range(5):
        first, second = (perform_any(collecting_scenario_of(seed), trace=True) for _ in range(2))
        assert first.world.trace == second.world.trace
