"""The rarest planted mistakes, each found by a schedule under which the engine as it is keeps the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Written
from keepstate_server.domain.records import ABSENT, Precondition
from tests.simulation.directed import LOST_REPLY, Rule, direct, late, lays_intents, send, slow, writes
from tests.simulation.history import Kind, Spec, record
from tests.simulation.mistakes import MISTAKES
from tests.simulation.network import Passing, Way
from tests.simulation.perform import Run, Stage
from tests.simulation.plain_program import delete_plainly, write_plainly
from tests.simulation.run import judge
from tests.simulation.scenario import Component

A, B = record("a"), record("b")
OTHER = record("b", "other")


def _put(value: bytes, name: RecordName = A, precondition: Precondition = None) -> Spec:
    return Spec(name=name, kind=Kind.PUT, value=value, precondition=precondition)


def _get(name: RecordName = A) -> Spec:
    return Spec(name=name, kind=Kind.GET)


async def _gap(stage: Stage) -> None:
    """A write whose reply is lost is forgotten, while what it was conditional on is kept: a repeat wrote that."""
    await send(stage, 0, _put(b"v1"), client=1, repeated=True)
    lost = asyncio.create_task(send(stage, 0, _put(b"v2"), client=2))
    await asyncio.sleep(1.0)
    await send(stage, 1, _get(), client=3)
    for value in (b"v3", b"v4"):
        await send(stage, 1, _put(value), client=3)
    await lost


async def _overwritten_intent(stage: Stage) -> None:
    """Another program writes over one intent before the other one is laid; somebody sees what that leaves."""
    await send(stage, 0, _put(b"v1"), _put(b"v2", OTHER), client=1)
    transaction = asyncio.create_task(
        send(stage, 0, _put(b"v3"), _put(b"v4", OTHER), client=1, transaction=True),
    )
    await asyncio.sleep(1.0)
    write_plainly(stage.pool, stage.world.stores["sim"], A, b"raw-5")
    snapshot = [Spec(name=name, kind=Kind.SNAPSHOT) for name in (A, OTHER)]
    await send(stage, 1, *snapshot, client=2)
    await transaction


async def _late_intents(stage: Stage) -> None:
    """A transaction's intents arrive when it was given up, and are met when its outcome is no longer kept."""
    await send(stage, 0, _put(b"v1"), _put(b"v2", B), client=1)
    await send(stage, 0, _put(b"v3"), _put(b"v4", B), client=1, transaction=True, seconds=2.0)
    await asyncio.sleep(3 * 3600)
    await send(stage, 1, _get(), _get(B), client=2)


async def _forgotten_refusal(stage: Stage) -> None:
    """A repeat is refused for its second record, which has forgotten that when the call is repeated once more."""
    await send(stage, 0, _put(b"v1"), _put(b"v2", B), client=1)
    await asyncio.sleep(20.0)
    call = await send(stage, 0, _put(b"v3"), _put(b"v4", B, ABSENT), client=2, transaction=True, repeated=True)
    await asyncio.sleep(100.0)
    for value in (b"v5", b"v6"):
        await send(stage, 1, _put(value, B), client=1)
    await send(stage, 1, Spec(name=B, kind=Kind.DELETE), client=1)
    await send(stage, 1, client=2, again=call)


async def _count_begun_again(stage: Stage) -> None:
    """Another program deletes a record and writes it anew: on Redis its count is what the service left."""
    written = await send(stage, 0, _put(b"v1"), client=1)
    (answer,) = written.attempts[0].results or ()
    assert isinstance(answer, Written)
    store = stage.world.stores["sim"]
    await asyncio.sleep(1.0)
    delete_plainly(stage.pool, store, A)
    write_plainly(stage.pool, store, A, b"raw-2")
    await asyncio.sleep(1.0)
    await send(stage, 0, _put(b"v3", A, answer.version), client=1)


async def _write_between_readings(stage: Stage) -> None:
    """A write is answered while the reply to an earlier reading is on its way; then somebody else reads."""
    await send(stage, 0, _put(b"v1"), client=1)
    early = asyncio.create_task(send(stage, 0, _get(), client=1))
    await asyncio.sleep(1.0)
    await send(stage, 1, _put(b"v2"), client=2)
    await asyncio.sleep(0.5)
    await send(stage, 0, _get(), client=3)
    await early


async def _short_of_time(stage: Stage) -> None:
    """Of two who wait for a key one has no time left when it has been read."""
    first = asyncio.create_task(send(stage, 0, _put(b"v1"), client=1))
    await asyncio.sleep(0.1)
    patient = asyncio.create_task(send(stage, 0, _put(b"v2"), client=2))
    await asyncio.sleep(0.01)
    await send(stage, 0, _put(b"v3"), client=3, seconds=1.0)
    await asyncio.gather(first, patient)


STORES = (Component(kind="state.redis"), Component(name="other", kind="state.redis"))


def _with_gap(kind: str) -> Run:
    return direct(_gap, kind=kind, rules=[Rule(match=writes(0, "a"), way=LOST_REPLY, skip=1)], trail_writes=1)


def _with_overwritten_intent() -> Run:
    rules = [Rule(match=lays_intents(0, "b"), way=slow(3.0))]
    return direct(_overwritten_intent, stores=STORES, names=(A, OTHER), rules=rules)


def _with_late_intents() -> Run:
    return direct(_late_intents, names=(A, B), rules=[Rule(match=lays_intents(0), way=late(20.0), times=99)])


def _with_forgotten_refusal(kind: str) -> Run:
    return direct(_forgotten_refusal, kind=kind, names=(A, B), trail_writes=2)


def _with_count_begun_again() -> Run:
    return direct(_count_begun_again, shared=True)


def _with_write_between_readings() -> Run:
    slow_reply = Way(there=0.001, back=3.0)
    return direct(_write_between_readings, rules=[Rule(match=_reads(0, "a"), way=slow_reply, skip=1)])


def _with_little_time() -> Run:
    rules = [
        Rule(match=writes(0, "a"), way=slow(0.3)),
        Rule(match=_reads(0, "a"), way=slow(2.0), skip=1),
    ]
    return direct(_short_of_time, kind="state.sqlite", rules=rules)


def _reads(instance: int, key: str) -> Callable[[Passing], bool]:
    return lambda passing: passing.instance == instance and not passing.writes and key in passing.keys


@pytest.mark.parametrize(
    ("mistake", "schedule"),
    [
        ("trail_counted_as_unbroken_over_a_gap", partial(_with_gap, "state.redis")),
        ("trail_counted_as_unbroken_over_a_gap", partial(_with_gap, "state.sqlite")),
        ("no_second_look_after_single_intents", _with_overwritten_intent),
        ("age_of_an_intent_ignored", _with_late_intents),
        ("refusal_of_a_transaction_in_any_record", partial(_with_forgotten_refusal, "state.redis")),
        ("refusal_of_a_transaction_in_any_record", partial(_with_forgotten_refusal, "state.sqlite")),
        ("hint_used_in_a_shared_store", _with_count_begun_again),
        ("read_joined_that_had_begun", _with_write_between_readings),
        ("who_was_told_that_nothing_was_sent_is_carried_along", _with_little_time),
    ],
)
def test_a_schedule_finds_a_planted_mistake(
    mistake: str, schedule: Callable[[], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not judge(schedule())
    MISTAKES[mistake](monkeypatch)
    assert judge(schedule())
