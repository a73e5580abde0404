"""Whatever will have to be collected is noted before it is written, and not written while it is collected."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import AsyncMock

import pytest

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.times import Instant
from keepstate_server.engine import noting
from keepstate_server.engine.death import look_at
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.journal import MOST_NOTES, Note, ReadJournal, close_journal, read_journal, write_journal
from keepstate_server.engine.sighting import NOTHING, Sighting
from keepstate_server.stores.base import CompareAndSet, Outcome
from tests.unit.server.collection.conftest import Desk, limit
from tests.unit.server.collection.test_death import staged
from tests.unit.server.drafts import envelope
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, HandDeadline
from tests.unit.server.model_store import ModelStore

DEAD_LIFE = SETTINGS.dead_life_ms


# New notes


async def test_a_record_that_will_expire_is_noted_before_it_is_written(desk: Desk) -> None:
    one = await desk.ready(desk.dying())
    assert one is not None
    assert await desk.journals() == [one.journal]
    assert (await desk.journal(one.journal)).notes == {"k": Note(due=look_at(one, SETTINGS) or Instant(0))}


async def test_a_record_that_lives_for_ever_needs_no_note(desk: Desk) -> None:
    one = await desk.ready(envelope())
    assert one is not None
    assert one.journal == b""
    assert await desk.journals() == []


async def test_an_intent_to_delete_is_noted_and_both_versions_name_the_journal(desk: Desk) -> None:
    one = await desk.ready(staged(envelope(), desk.written(envelope(died=desk.clock.now()))))
    assert one is not None
    assert one.intent is not None
    assert one.intent.becomes is not None
    assert one.journal == one.intent.becomes.journal != b""
    assert (await desk.notes()).keys() == {"k"}


async def test_what_stands_noted_and_is_due_no_later_is_not_noted_again(desk: Desk) -> None:
    first = await desk.ready(desk.dying())
    assert first is not None
    before = await desk.notes()
    desk.clock.advance(MINUTE)
    second = await desk.ready(desk.dying(), upon=desk.put("k", first))
    assert second is not None
    assert second.journal == first.journal
    assert await desk.notes() == before


async def test_what_is_due_sooner_than_its_note_is_noted_again(desk: Desk) -> None:
    late = desk.written(envelope(expire=Instant(desk.clock.now() + 60 * MINUTE)))
    first = await desk.ready(late)
    assert first is not None
    second = await desk.ready(desk.dying(), upon=desk.put("k", first))
    assert second is not None
    assert (await desk.notes())["k"].due == look_at(second, SETTINGS)


async def test_notes_that_wait_together_share_one_write(desk: Desk) -> None:
    await desk.ready(desk.dying(), key="first")
    ready = await asyncio.gather(*(desk.ready(desk.dying(), key=f"k{number}") for number in range(50)))
    (name,) = {one.journal for one in ready if one}
    # The first of them writes its own note, all others wait for that.
    assert desk.store.items[internal_key(f"journal/{name.hex()}")].etag == "3"
    assert len(await desk.notes()) == 51


async def test_one_callers_short_time_is_not_that_of_all_who_wait_with_it(desk: Desk, stalls: Stalls) -> None:
    await desk.ready(desk.dying(), key="first")
    stalls.once(2 * SECOND)
    stall = asyncio.create_task(desk.ready(desk.dying(), key="stalling"))
    await stalls.reached.wait()
    times = (1.0, 30.0)
    asking = [
        asyncio.create_task(
            desk.noting.ready({f"k{each}": (NOTHING, desk.dying())}, HandDeadline(desk.clock, seconds=each))
        )
        for each in times
    ]
    await asyncio.sleep(0)
    stalls.go_on.set()
    await stall
    assert "k30.0" in await asking[1]
    await asking[0]


async def test_a_full_journal_is_followed_by_another(desk: Desk) -> None:
    ready = [await desk.ready(desk.dying(), key=f"k{number}") for number in range(MOST_NOTES + 1)]
    journals = [one.journal for one in ready if one]
    assert await desk.journals() == [journals[0], journals[-1]]
    assert len((await desk.journal(journals[0])).notes) == MOST_NOTES
    assert (await desk.journal(journals[-1])).notes.keys() == {f"k{MOST_NOTES}"}


async def test_a_closed_journal_takes_no_notes(desk: Desk) -> None:
    first = await desk.ready(desk.dying(), key="first")
    assert first is not None
    await close(desk, first.journal)
    second = await desk.ready(desk.dying())
    assert second is not None
    assert second.journal != first.journal
    assert "k" in await desk.notes()


@pytest.mark.parametrize("gone", ["after long", "behind another connection"])
async def test_a_journal_that_is_gone_is_not_made_anew_where_no_collector_looks(desk: Desk, gone: str) -> None:
    first = await desk.ready(desk.dying(), key="first")
    assert first is not None
    desk.store.items.clear()
    if gone == "after long":
        desk.clock.advance(5 * DEAD_LIFE)
    else:
        desk.store.scope = "another connection"
    second = await desk.ready(desk.dying())
    assert second is not None
    assert await desk.journals() == [second.journal]
    assert (await desk.notes()).keys() == {"k"}


async def test_a_journal_that_could_not_be_listed_is_the_next_to_be_listed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(noting, "relist", AsyncMock(return_value=False))
        assert await desk.ready(desk.dying()) is None
    one = await desk.ready(desk.dying())
    assert one is not None
    assert [key for key in desk.store.items if "journal/" in key] == [internal_key(f"journal/{one.journal.hex()}")]
    assert await desk.journals() == [one.journal]


async def test_what_cannot_be_noted_may_not_be_written(desk: Desk) -> None:
    desk.store.prepare_faults.extend(["away"] * 99)
    assert await desk.ready(desk.dying()) is None
    assert await desk.ready(envelope()) is not None


# The last moments


async def last_moments(desk: Desk) -> Sighting:
    """A record that is dead, noted, and about to be collected."""
    dead = await desk.ready(desk.dying())
    assert dead is not None
    seen = desk.put("k", dead)
    desk.clock.advance(DEAD_LIFE)
    return seen


async def test_in_its_last_moments_a_record_is_kept_from_collection_before_it_is_written(desk: Desk) -> None:
    seen = await last_moments(desk)
    after = await desk.ready(desk.dying(), upon=seen)
    assert after is not None
    assert (await desk.notes())["k"] == Note(due=Instant(desk.clock.now() + DEAD_LIFE))


async def test_records_of_one_journal_are_kept_from_collection_together(desk: Desk) -> None:
    keys = [f"k{number}" for number in range(20)]
    dead = await asyncio.gather(*(desk.ready(desk.dying(), key=key) for key in keys))
    seen = {key: desk.put(key, one) for key, one in zip(keys, dead, strict=True) if one}
    (name,) = await desk.journals()
    before = await read(desk, name)
    desk.clock.advance(DEAD_LIFE)
    ready = await desk.noting.ready({key: (seen[key], envelope()) for key in keys}, HandDeadline(desk.clock))
    assert ready.keys() == set(keys)
    assert (await read(desk, name)).etag == str(int(before.etag) + 1)
    assert {note.due for note in (await desk.notes()).values()} == {desk.clock.now() + DEAD_LIFE}
    assert desk.store.count("read") == 1


async def test_of_several_in_their_last_moments_one_that_is_being_deleted_is_left_out_alone(desk: Desk) -> None:
    other = await desk.ready(desk.dying(), key="other")
    assert other is not None
    kept = desk.put("other", other)
    seen = await last_moments(desk)
    await mark(desk, seen, "k")
    plans = {"k": (seen, envelope()), "other": (kept, envelope())}
    assert (await desk.noting.ready(plans, HandDeadline(desk.clock))).keys() == {"other"}


async def test_before_its_last_moments_a_record_is_written_without_a_look_at_its_note(desk: Desk) -> None:
    seen = await last_moments(desk)
    before = await desk.notes()
    desk.clock.advance(-MINUTE)
    assert await desk.ready(envelope(), upon=seen) is not None
    assert await desk.notes() == before


async def test_a_record_that_is_being_deleted_is_not_written(desk: Desk) -> None:
    seen = await last_moments(desk)
    await mark(desk, seen)
    before = await desk.notes()
    assert await desk.ready(desk.dying(), upon=seen) is None
    assert await desk.notes() == before


@pytest.mark.parametrize("next_life", [False, True])
async def test_a_record_that_was_collected_is_not_written_upon_what_was_seen(desk: Desk, next_life: bool) -> None:
    seen = await last_moments(desk)
    desk.store.delete_raw("k")
    if next_life:
        # The same journal has its note, and the store's etag is the same.
        again = await desk.ready(replace(desk.dying(), trail=envelope().trail.followed_by(OTHER)))
        assert again is not None
        assert desk.put("k", again).etag == seen.etag
    assert await desk.ready(envelope(), upon=seen) is None


async def test_a_record_that_stands_though_its_journal_is_closed_is_noted_in_another(desk: Desk) -> None:
    seen = await last_moments(desk)
    content = seen.content
    assert isinstance(content, Envelope)
    await close(desk, content.journal)
    after = await desk.ready(desk.dying(), upon=seen)
    assert after is not None
    assert after.journal not in (b"", content.journal)
    assert "k" in (await desk.journal(after.journal)).notes


async def test_a_hint_of_a_record_in_its_last_moments_is_not_to_be_used(desk: Desk) -> None:
    seen = await last_moments(desk)
    assert desk.noting.collects(seen)
    desk.clock.advance(-MINUTE)
    assert not desk.noting.collects(seen)


# Stores that remove what is dead


async def test_where_the_store_removes_dead_records_intents_alone_are_noted(sql_desk: Desk) -> None:
    one = await sql_desk.ready(sql_desk.dying())
    assert one is not None
    assert one.journal == b""
    assert await sql_desk.journals() == []
    assert await sql_desk.ready(staged(sql_desk.dying(), None)) is not None
    assert (await sql_desk.notes()).keys() == {"k"}


async def test_where_the_store_removes_dead_records_each_intent_is_noted(sql_desk: Desk) -> None:
    """Its note is dropped when it was resolved, while the record goes on naming the journal."""
    one = await sql_desk.ready(staged(sql_desk.dying(), None))
    assert one is not None
    await close(sql_desk, one.journal)
    later = sql_desk.written(envelope(expire=Instant(sql_desk.clock.now() + MINUTE)))
    again = await sql_desk.ready(staged(later, None), upon=sql_desk.put("k", replace(one, intent=None)))
    assert again is not None
    assert again.journal != one.journal
    assert "k" in (await sql_desk.journal(again.journal)).notes


OTHER = replace(envelope().trail.entries[0], write=type(envelope().last_write)(b"another write."))


async def read(desk: Desk, name: bytes) -> ReadJournal:
    found = await read_journal(desk.store, name, limit())
    assert isinstance(found, ReadJournal)
    return found


async def close(desk: Desk, name: bytes) -> None:
    await close_journal(desk.store, name, await read(desk, name), SETTINGS.outcome_life, limit())


async def mark(desk: Desk, seen: Sighting, key: str = "k") -> None:
    assert isinstance(seen.content, Envelope)
    found = await read(desk, seen.content.journal)
    marked = replace(found.journal.notes[key], deleting=desk.clock.now())
    journal = replace(found.journal, notes={**found.journal.notes, key: marked})
    await write_journal(desk.store, seen.content.journal, found.etag, journal, limit())


class Stalls:
    """Holds the next write of the store, and lets time pass meanwhile."""

    def __init__(self, desk: Desk, patch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self._desk = desk
        self._patch = patch

    def once(self, milliseconds: int) -> None:
        write = ModelStore.write

        async def stalling(store: ModelStore, writes: list[CompareAndSet], *, timeout: float) -> list[Outcome]:
            self._patch.setattr(ModelStore, "write", write)
            self.reached.set()
            await self.go_on.wait()
            self._desk.clock.advance(milliseconds)
            return list(await write(store, writes, timeout=timeout))

        self._patch.setattr(ModelStore, "write", stalling)


@pytest.fixture
def stalls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Stalls:
    return Stalls(desk, monkeypatch)
