from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.times import Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.journal import (
    Journal,
    Note,
    ReadJournal,
    close_journal,
    list_journals,
    read_journal,
    relist,
    write_journal,
)
from keepstate_server.stores.base import Failure, Fate
from tests.unit.server.hand import SETTINGS, START, HandClock
from tests.unit.server.model_store import ModelStore

NAME = b"\x01\x02\x03\x04\x05\x06\x07\x08"
TIMES = st.integers(1, 2**50).map(Instant)
NOTES = st.dictionaries(st.text(min_size=1), st.builds(Note, due=TIMES, deleting=st.none() | TIMES), max_size=5)


def limit() -> Deadline:
    return Deadline(60.0)


@pytest.fixture(params=[True, False], ids=["redis", "sql"])
def store(request: pytest.FixtureRequest) -> ModelStore:
    return ModelStore(clock=HandClock(), counts=request.param)


async def stands(store: ModelStore) -> ReadJournal:
    found = await read_journal(store, NAME, limit())
    assert isinstance(found, ReadJournal)
    return found


@given(NOTES, TIMES)
async def test_a_journal_is_read_as_it_was_written(notes: Mapping[str, Note], now: Instant) -> None:
    store = ModelStore(clock=HandClock(), counts=True)
    journal = Journal(notes=notes, note_time=now)
    assert (await write_journal(store, NAME, None, journal, limit())).fate is Fate.APPLIED
    assert (await stands(store)).journal == journal


async def test_a_journal_is_written_only_over_what_was_read(store: ModelStore) -> None:
    journal = Journal(note_time=START)
    await write_journal(store, NAME, None, journal, limit())
    read = await stands(store)
    noted = journal.with_notes({"k": Note(due=START)}, START)
    assert (await write_journal(store, NAME, read.etag, noted, limit())).fate is Fate.APPLIED
    assert (await write_journal(store, NAME, read.etag, journal, limit())).fate is Fate.REFUSED
    assert (await stands(store)).journal == noted


async def test_what_is_no_journal_is_a_failure_and_not_an_empty_one(store: ModelStore) -> None:
    store.put_raw(internal_key(f"journal/{NAME.hex()}"), b"something else")
    assert isinstance(await read_journal(store, NAME, limit()), Failure)


async def test_a_closed_journal_keeps_its_name_for_a_while() -> None:
    clock = HandClock()
    store = ModelStore(clock=clock)
    await write_journal(store, NAME, None, Journal(note_time=START), limit())
    await close_journal(store, NAME, await stands(store), SETTINGS.outcome_life, limit())
    assert (await stands(store)).journal.closed
    clock.advance(4 * SETTINGS.dead_life_ms)
    assert await read_journal(store, NAME, limit()) is None


async def test_the_directory_names_each_journal_once(store: ModelStore) -> None:
    assert await list_journals(store, limit()) == []
    for name in (b"one", b"two", b"one"):
        assert await relist(store, limit(), add=name)
    assert await list_journals(store, limit()) == [b"one", b"two"]
    assert await relist(store, limit(), remove=b"one")
    assert await relist(store, limit(), remove=b"three")
    assert await list_journals(store, limit()) == [b"two"]


async def test_nothing_is_said_to_be_listed_where_the_store_is_not_ready(store: ModelStore) -> None:
    store.prepare_faults.extend(["away"] * 9)
    assert not await relist(store, limit(), add=b"one")
    assert await list_journals(store, limit()) == []
