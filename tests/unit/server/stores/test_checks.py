"""Each check finds the defect that it is for, and no other check is led astray by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from keepstate_server.stores import slow_checks
from keepstate_server.stores.checks import QUICK, CouldNotTell
from keepstate_server.stores.probe import Prober
from tests.unit.server.stores.plain_store import Defect, Item, PlainSidecar

SOUND = {
    "compare-and-set": "yes",
    "compare-and-delete": "yes",
    "create-only": "first-write",
    "old etag, no key": "refused",
    "etag reuse": "no",
    "next etag": "not known",
    "empty value": "kept",
    "bytes": "kept",
    "bulk read": "complete",
    "transaction values": "kept",
    "rollback": "yes",
    "one winner": "yes",
    "expiry": "shown",
    "ttl of an earlier write": "cleared",
    "ttl -1": "cleared",
    "atomic expiry": "yes",
    "component's ttl": "none",
    "long keys": "kept",
    "largest value": "15 MiB",
    "latency": "measured",
    "eviction": "not seen",
}
"""What is seen of a store without defects."""

D = Defect

FOUND: dict[frozenset[Defect], dict[str, str]] = {
    frozenset({D.SAVES_ANY_ETAG}): {
        "compare-and-set": "no",
        "old etag, no key": "creates",
        "rollback": "no",
        "one winner": "no",
        "atomic expiry": "no",  # the stale write itself is applied
    },
    frozenset({D.REFUSES_ANY_ETAG}): {"compare-and-set": "no", "one winner": "not seen", "latency": "not seen"},
    frozenset({D.KEEPS_ETAG}): {
        "compare-and-set": "no",
        "compare-and-delete": "no",
        "rollback": "no",
        "one winner": "no",
        "atomic expiry": "no",
    },
    frozenset({D.DELETES_ANY_ETAG}): {"compare-and-delete": "no"},
    frozenset({D.REFUSES_ANY_DELETE}): {"compare-and-delete": "no"},
    frozenset({D.FIRST_WRITE_OVERWRITES}): {"create-only": "no"},
    frozenset({D.FIRST_WRITE_NEVER_CREATES}): {"create-only": "no"},
    frozenset({D.CREATES_FOR_MINUS_ONE}): {"create-only": "etag -1, first-write"},
    frozenset({D.CREATES_FOR_MINUS_ONE, D.FIRST_WRITE_OVERWRITES}): {"create-only": "etag -1"},
    frozenset({D.CREATES_FOR_ANY_ETAG}): {"old etag, no key": "creates", "create-only": "etag -1, first-write"},
    frozenset({D.COUNTS_ETAGS}): {"etag reuse": "yes", "next etag": "counted"},
    frozenset({D.COUNTS_ETAGS_FOR_GOOD}): {},
    frozenset({D.REFUSES_EMPTY_VALUES}): {"empty value": "refused"},
    frozenset({D.LOSES_EMPTY_VALUES}): {"empty value": "lost"},
    frozenset({D.CUTS_AT_NUL}): {"bytes": "changed", "transaction values": "destroyed", "largest value": "0 MiB"},
    frozenset({D.FORGETS_IN_BULK}): {"bulk read": "not complete"},
    frozenset({D.INVENTS_IN_BULK}): {"bulk read": "not complete"},
    frozenset({D.DESTROYS_IN_TRANSACTIONS}): {"transaction values": "destroyed"},
    frozenset({D.HAS_NO_TRANSACTIONS}): {
        "transaction values": "no transactions",
        "rollback": "no transactions",
        "atomic expiry": "no transactions",
    },
    frozenset({D.NEVER_ROLLS_BACK}): {"rollback": "no"},
    frozenset({D.TAKES_ALL_TRANSACTIONS}): {"rollback": "no"},
    frozenset({D.COMPARES_BEFORE_IT_WAITS}): {"one winner": "no"},
    frozenset({D.SHOWS_NO_EXPIRY}): {"expiry": "not shown", "component's ttl": "likely"},
    frozenset({D.SHOWS_NO_EXPIRY, D.KEEPS_EARLIER_TTL}): {"expiry": "not shown", "ttl of an earlier write": "stays"},
    frozenset({D.NEVER_EXPIRES}): {"expiry": "never"},
    frozenset({D.KEEPS_EARLIER_TTL}): {"ttl of an earlier write": "stays"},
    frozenset({D.TAKES_NO_TTL_MINUS_ONE}): {"ttl -1": "refused"},
    frozenset({D.EXPIRES_WHAT_IT_REFUSED_TO_WRITE}): {"atomic expiry": "no"},
    frozenset({D.HAS_A_TTL_OF_ITS_OWN}): {"component's ttl": "set"},
    frozenset({D.HAS_A_TTL_OF_ITS_OWN, D.SHOWS_NO_EXPIRY, D.KEEPS_EARLIER_TTL}): {
        "expiry": "not shown",
        "component's ttl": "likely",
    },
    frozenset({D.TAKES_NO_LONG_KEYS}): {"long keys": "refused"},
    frozenset({D.CUTS_LONG_KEYS}): {"long keys": "lost"},
    frozenset({D.TAKES_4_MIB}): {"largest value": "1 MiB"},
    frozenset({D.HAS_NO_ETAGS}): {
        "compare-and-set": "no",
        "compare-and-delete": "no",
        "etag reuse": "yes",
        "one winner": "not seen",
        "rollback": "yes",
        "latency": "not seen",
    },
}
"""What else is seen where these defects are."""


Make = Callable[..., PlainSidecar]


@pytest.fixture
def store_with(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a store with defects, whose clock moves where a check waits."""

    def make(*defects: Defect) -> PlainSidecar:
        store = PlainSidecar(defects=frozenset(defects))
        monkeypatch.setattr(slow_checks, "_sleep", store.pass_)
        return store

    return make


async def seen(store: PlainSidecar) -> dict[str, str]:
    return {each.check: each.seen for each in await Prober(store).look_closely("store", timeout=30)}


async def test_of_a_sound_store_nothing_bad_is_seen(store_with: Make) -> None:
    assert await seen(store_with()) == SOUND


@pytest.mark.parametrize("defects", FOUND, ids=lambda defects: "+".join(sorted(each.name for each in defects)))
async def test_each_defect_is_seen_for_what_it_is(store_with: Make, defects: frozenset[Defect]) -> None:
    assert await seen(store_with(*defects)) == SOUND | FOUND[defects]


def test_every_defect_is_tried() -> None:
    assert {defect for defects in FOUND for defect in defects} == set(Defect)


async def test_the_quick_look_is_the_first_part_of_the_whole_one(store_with: Make) -> None:
    quick = [each.check for each in await Prober(store_with()).look("store", timeout=30)]
    assert quick == list(QUICK) == list(SOUND)[: len(QUICK)]


async def test_a_probe_makes_as_many_calls_as_is_said(store_with: Make) -> None:
    quick, whole = store_with(), store_with()
    await Prober(quick).look("store", timeout=30)
    await Prober(whole).look_closely("store", timeout=30)
    assert len(quick.calls) < 100 < len(whole.calls) < 250


@pytest.mark.parametrize("calls", [0, 1, 10, 50, 100, 120, 150])
async def test_an_outage_is_never_taken_for_a_defect_and_leaves_nothing_behind(store_with: Make, calls: int) -> None:
    """Redis components call it a mismatch."""
    store = store_with()
    store.away_after = calls
    try:
        found = await seen(store)
    except CouldNotTell:
        assert calls < 100
    else:
        assert {found[name] for name, word in SOUND.items() if found[name] != word} == {"not seen"}
    assert store.items == {}


TROUBLE = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "EXECABORT Transaction discarded because of previous errors.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: i/o timeout",
    "EOF",
    "database is locked (5) (SQLITE_BUSY)",
    "database or disk is full (13)",
    "FATAL: the database system is shutting down (SQLSTATE 57P03)",
    "ERROR: deadlock detected (SQLSTATE 40P01)",
    "ERROR: could not extend file (SQLSTATE 53100)",
]


@pytest.mark.parametrize("words", TROUBLE)
async def test_trouble_of_a_moment_is_never_taken_for_a_defect_whichever_call_meets_it(
    store_with: Make, words: str
) -> None:
    """Each of these calls it a mismatch, as Redis components do of whatever happens to a conditional save."""
    sound = store_with()
    await Prober(sound).look("store", timeout=30)
    told = 0
    for number in range(1, len(sound.calls) + 1):
        store = store_with()
        store.busy_at, store.busy_text = number, words
        try:
            found = {each.check: each.seen for each in await Prober(store).look("store", timeout=30)}
        except CouldNotTell:
            continue
        assert found == {name: SOUND[name] for name in QUICK}, number
        told += 1
    assert 0 < told < len(sound.calls), "one that comes while keys are deleted changes nothing"


async def test_a_store_that_begins_to_refuse_everything_is_never_taken_for_one_that_lacks_something(
    store_with: Make,
) -> None:
    sound = store_with()
    await Prober(sound).look("store", timeout=30)
    for number in range(1, len(sound.calls) + 1):
        store = store_with()
        store.refuses_from = number
        try:
            found = {each.check: each.seen for each in await Prober(store).look("store", timeout=30)}
        except CouldNotTell:
            continue
        assert found == {name: SOUND[name] for name in QUICK}, number


async def test_nothing_is_left_of_a_probe_and_nothing_else_is_touched(store_with: Make) -> None:
    store = store_with()
    store.items["user:7"] = mine = Item(data=b"mine", etag="1")
    await seen(store)
    assert store.items == {"user:7": mine}


async def test_nothing_is_left_when_the_time_is_up(store_with: Make) -> None:
    store = store_with()
    with pytest.raises(CouldNotTell):
        await Prober(store).look("store", timeout=0)
    assert store.items == {}


async def test_nothing_is_left_when_whoever_asked_has_gone(store_with: Make) -> None:
    store = store_with()
    store.hang_at = 40
    prober = Prober(store)
    probing = asyncio.ensure_future(prober.look("store", timeout=30))
    await store.hanging.wait()
    assert store.items
    probing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probing
    assert store.items == {}


async def test_nothing_is_left_when_whoever_asked_goes_while_keys_are_deleted(store_with: Make) -> None:
    store = store_with()
    prober = Prober(store)
    probing = asyncio.ensure_future(prober.look("store", timeout=30))
    while len(store.items) < 10:
        await asyncio.sleep(0)
    probing.cancel()  # which begins to delete
    await asyncio.sleep(0)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    await prober.close()
    assert store.items == {}
