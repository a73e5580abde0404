from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Envelope, decode, tombstone
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.locks import KeyLocks
from keepstate_server.engine.sighting import NOTHING, Sighting, seen
from keepstate_server.engine.trail import WriteId
from keepstate_server.stores.base import Absence, Stored, StoreEtag
from tests.unit.server.hand import SECOND, START, HandClock

ENVELOPE = Sighting(etag=StoreEtag("1"), content=decode(tombstone(WriteId(b"w" * 14), START)))
LIFE = 60 * SECOND


def test_a_hint_is_what_was_seen_without_the_value() -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    hint = hints.get("redis", "k", START)
    assert hint is not None
    assert (hint.etag, hint.base, hint.hinted) == (ENVELOPE.etag, ENVELOPE.base, True)


def test_a_hint_of_one_store_is_none_of_another() -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    assert hints.get("postgresql", "k", START) is None


def test_a_hint_ends_with_its_life() -> None:
    clock = HandClock()
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, clock.now())
    clock.advance(LIFE)
    assert hints.get("redis", "k", clock.now()) is not None
    clock.advance(1)
    assert hints.get("redis", "k", clock.now()) is None


def test_reading_a_hint_does_not_lengthen_its_life() -> None:
    clock = HandClock()
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, clock.now())
    for _ in range(4):
        clock.advance(LIFE // 4)
        hints.get("redis", "k", clock.now())
    clock.advance(1)
    assert hints.get("redis", "k", clock.now()) is None


def test_what_is_read_again_is_remembered_once_and_as_long_as_the_last_reading() -> None:
    clock = HandClock()
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, clock.now())
    first = hints.get("redis", "k", clock.now())
    clock.advance(LIFE)
    hints.note("redis", "k", ENVELOPE, clock.now())
    clock.advance(LIFE)
    assert hints.get("redis", "k", clock.now()) is first


@pytest.mark.parametrize(
    "now_there",
    [
        Sighting(etag=StoreEtag("2"), content=ENVELOPE.content),
        Sighting(etag=ENVELOPE.etag, content=decode(tombstone(WriteId(b"v" * 14), START))),
        Sighting(etag=ENVELOPE.etag, content=decode(tombstone(WriteId(b"w" * 14), Instant(START + 1)))),
    ],
    ids=["another etag", "another version", "another time"],
)
def test_what_was_written_since_takes_the_place_of_a_hint(now_there: Sighting) -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    hints.note("redis", "k", now_there, START)
    hint = hints.get("redis", "k", START)
    assert hint is not None
    assert hint == now_there.as_hint()


def test_the_least_recently_used_hint_goes_first() -> None:
    hints = Hints(size=2, life_ms=LIFE)
    for key in ("a", "b"):
        hints.note("redis", key, ENVELOPE, START)
    hints.get("redis", "a", START)
    hints.note("redis", "c", ENVELOPE, START)
    assert [hints.get("redis", key, START) is not None for key in ("a", "b", "c")] == [True, False, True]


def test_no_hints_at_all_is_a_size_too() -> None:
    hints = Hints(size=0, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    assert hints.get("redis", "k", START) is None


@pytest.mark.parametrize("sighting", [NOTHING, seen(Absence.LIKELY), seen(Stored(data=b"raw", etag=StoreEtag("1")))])
def test_what_is_no_envelope_ends_a_hint(sighting: Sighting) -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    hints.note("redis", "k", sighting, START)
    assert hints.get("redis", "k", START) is None


def test_a_forgotten_hint_is_gone() -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    hints.forget("redis", "k")
    hints.forget("redis", "never noted")
    assert hints.get("redis", "k", START) is None


def test_what_is_remembered_takes_no_values_memory() -> None:
    hints = Hints(size=2, life_ms=LIFE)
    hints.note("redis", "k", ENVELOPE, START)
    hint = hints.get("redis", "k", START)
    assert hint is not None
    assert isinstance(hint.content, Envelope)
    assert hint.content.value == b""


# Locks


def _locks() -> KeyLocks[str]:
    return KeyLocks(len, lambda key, parts: pytest.fail(f"{parts} wait for {key}"))


async def test_writers_of_one_key_take_turns_in_the_order_of_arrival() -> None:
    locks, turns = _locks(), []

    async def write(number: int) -> None:
        async with locks.hold(["k"], patience=5):
            turns.append((number, "in"))
            await asyncio.sleep(0)
            turns.append((number, "out"))

    await asyncio.gather(*map(write, range(5)))
    assert turns == [(number, step) for number in range(5) for step in ("in", "out")]


async def test_writers_of_different_keys_do_not_wait_for_each_other() -> None:
    locks, inside = _locks(), asyncio.Barrier(2)

    async def write(key: str) -> None:
        async with locks.hold([key], patience=5):
            await inside.wait()

    async with asyncio.timeout(5):
        await asyncio.gather(write("a"), write("b"))


async def test_holders_of_several_keys_never_wait_for_each_other_in_a_circle() -> None:
    locks = _locks()

    async def write(*keys: str) -> None:
        async with locks.hold(keys, patience=5):
            await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(*(write(*keys) for keys in ("ab", "ba", "bc", "cb", "ca", "aab", "c") * 5))


async def test_a_cancelled_writer_leaves_no_lock_behind() -> None:
    locks = _locks()
    async with locks.hold(["b"], patience=5):

        async def write() -> None:
            async with locks.hold(["a", "b"], patience=5):
                pytest.fail("it was to be cancelled")

        waiting = asyncio.create_task(write())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(5), locks.hold(["a"], patience=5):
            pass
    async with asyncio.timeout(5), locks.hold(["a", "b"], patience=5):
        pass
    assert not locks._waiting


async def test_a_key_that_is_let_go_early_is_the_next_ones_at_once() -> None:
    locks = _locks()
    async with locks.hold(["a", "b"], patience=5) as held:
        waiting = asyncio.ensure_future(locks.hold(["a"], patience=5).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done()
        held.release("a")
        held.release("a")
        (await waiting).release("a")
    assert not locks._waiting


async def test_who_waits_too_long_goes_on_with_what_it_has() -> None:
    locks = _locks()
    async with locks.hold(["b"], patience=5):
        async with locks.hold(["a", "b", "c"], patience=0.01) as held:
            assert held.keys == {"a"}
        async with locks.hold(["a"], patience=0.01) as again:
            assert again.keys == {"a"}, "given back"
