"""Deletes dead records from stores that remove nothing by themselves, and resolves intents that nobody met.

Every instance may collect from every journal. What keeps two of them, and late requests, from harming a later life of
a record is in docs/records.md; in short: it is written down that a record will be deleted before it is, nobody writes
it then, and nobody deletes it again before the first delete has arrived or never will.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.times import Clock, Instant, in_milliseconds
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.death import STALE, collectable_at
from keepstate_server.engine.envelope import Envelope, Location
from keepstate_server.engine.journal import (
    Note,
    ReadJournal,
    close_journal,
    list_journals,
    read_journal,
    relist,
    write_journal,
)
from keepstate_server.engine.reads import FIRST_KEYS, next_keys
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.stores.base import Failure, Fate, StateStore, StoreEtag, Stores

__all__ = ["Collector"]

_log = structlog.get_logger(__name__)

# How long the calls for one journal may take; seconds.
_PATIENCE = 30.0


class Collector:
    """Looks into the journals of stores, again and again."""

    def __init__(
        self, stores: Stores, resolver: Resolver, *, settings: EngineSettings, clock: Clock, source: random.Random
    ) -> None:
        """Works on ``stores``; ``source`` makes the order in which journals are looked into."""
        self._stores = stores
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._source = source
        self._next: dict[tuple[str, bytes], Instant] = {}  # when each journal has something due, as last seen

    @property
    def interval(self) -> timedelta:
        """How often to sweep."""
        return min(timedelta(seconds=60), self._settings.dead_life / 10)

    async def sweep(self, name: str) -> None:
        """Looks into all journals of one store that have something due. Raises nothing for what a store does."""
        try:
            store = await self._stores.find(name, timeout=_PATIENCE)
        except KeepstateError:
            return
        journals = await list_journals(store, Deadline(_PATIENCE))
        if isinstance(journals, Failure):
            _log.warning("journals not read", store=name, detail=journals.detail)
            return
        for gone in [key for key in self._next if key[0] == store.scope and key[1] not in journals]:
            del self._next[gone]
        self._source.shuffle(journals)  # so that instances do not get into each other's way
        collected = 0
        for journal in journals:
            if self._next.get((store.scope, journal), Instant(0)) <= self._clock.now():
                collected += await self._look_into(store, journal, Deadline(_PATIENCE))
        if collected:
            _log.info("dead records collected", store=store.name, count=collected)

    async def _look_into(self, store: StateStore, name: bytes, limit: Deadline) -> int:
        """Does what is due in one journal; returns how many records were deleted for certain."""
        found = await read_journal(store, name, limit)
        if isinstance(found, Failure):
            return 0
        if found is None or found.journal.closed:
            await relist(store, limit, remove=name)
            return 0
        now = self._clock.now()
        if not found.journal.notes and now - found.journal.note_time > self._settings.dead_life_ms:
            closing = await close_journal(store, name, found, self._settings.outcome_life, limit)
            if closing.fate is Fate.APPLIED:
                await relist(store, limit, remove=name)
            return 0
        due = [key for key, note in found.journal.notes.items() if self._when(note) <= now]
        notes: dict[str, Note] = dict(found.journal.notes)
        doomed: dict[str, StoreEtag] = {}
        keys = FIRST_KEYS
        while due:
            some, due = due[:keys], due[keys:]
            read = await self._judge(store, name, some, notes, doomed, limit)
            keys = next_keys(len(some), read)
        # Marked only now: reading may have taken long, and others wait from the mark on.
        now = self._clock.now()
        notes |= {key: replace(notes[key], deleting=now) for key in doomed}
        collected = 0
        if notes != found.journal.notes:
            collected = await self._collect(store, name, found, notes, doomed, limit)
        # Notes that others make from now on are due no sooner than after a dead life.
        times = [self._when(note) for note in notes.values()]
        self._next[store.scope, name] = min([*times, Instant(now + self._settings.dead_life_ms)])
        return collected

    def _when(self, note: Note) -> Instant:
        """Returns when to look at the record: if it was to be deleted, when that has happened or never will."""
        if note.deleting is None:
            return note.due
        delay = in_milliseconds(self._settings.longest_delay) + 2 * self._settings.clock_difference_ms + STALE
        return Instant(note.deleting + delay)

    async def _judge(
        self,
        store: StateStore,
        journal: bytes,
        keys: Sequence[str],
        notes: dict[str, Note],
        doomed: dict[str, StoreEtag],
        limit: Deadline,
    ) -> int:
        """Reads records that are due, and puts down what is to become of each: in ``notes``, and in ``doomed``.

        Returns how many bytes of values were read.
        """
        locations = [Location(store.name, key) for key in keys]
        found = await self._resolver.look(locations, limit)
        if found is None:
            return 0
        intents = {at: each for at, each in found.items() if each.intent}
        if intents:
            await self._resolve(intents, limit)
        now = self._clock.now()
        for at, sighting in found.items():
            if sighting.intent:
                # Its dead life begins when the intent is replaced.
                notes[at.key] = Note(due=Instant(now + self._settings.dead_life_ms))
                continue
            ends = self._end(store, journal, sighting)
            if ends is None:
                del notes[at.key]
            elif ends > now:
                notes[at.key] = Note(due=ends)
            elif sighting.etag is not None:
                doomed[at.key] = sighting.etag
        return sum(len(each.content.value) for each in found.values() if each.content)

    async def _resolve(self, intents: Mapping[Location, Sighting], limit: Deadline) -> None:
        settled = await self._resolver.settle(intents, limit)
        await self._resolver.replace({at: each for at, each in settled.items() if each.intent is None}, limit)

    def _end(self, store: StateStore, journal: bytes, sighting: Sighting) -> Instant | None:
        """Returns from when on the record may be deleted. None: never because of this note."""
        envelope = sighting.content
        # What names another journal is noted there: two would delete it.
        if not isinstance(envelope, Envelope) or envelope.journal != journal or store.removes_dead:
            return None
        at = collectable_at(envelope, self._settings)
        return None if at is None else Instant(at + 2 * self._settings.clock_difference_ms)

    async def _collect(
        self,
        store: StateStore,
        name: bytes,
        found: ReadJournal,
        notes: Mapping[str, Note],
        doomed: Mapping[str, StoreEtag],
        limit: Deadline,
    ) -> int:
        """Writes down what was judged, and then deletes; returns how many records were deleted for certain."""
        journal = replace(found.journal, notes=notes)
        outcome = await write_journal(store, name, found.etag, journal, limit)
        if outcome.fate is not Fate.APPLIED:
            return 0  # others wrote there, or nobody knows: look again later
        marks = [note.deleting for key in doomed if (note := notes[key]).deleting is not None]
        if not doomed or self._clock.now() - min(marks) > STALE:
            return 0  # what is sent now might arrive later than ``_when`` allows for
        if not await store.delete(doomed, timeout=limit.remaining):
            return 0  # the marks stay, and each is looked at again when it is certain what became of it
        if outcome.next_etag is not None:
            left = {key: note for key, note in notes.items() if key not in doomed}
            await write_journal(store, name, outcome.next_etag, replace(journal, notes=left), limit)
        return len(doomed)
