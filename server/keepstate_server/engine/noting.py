"""Has every record noted in a journal before it is written so that somebody will have to collect it."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import structlog

from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.death import in_last_moments, look_at
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.journal import (
    MOST_NOTES,
    NAME_BYTES,
    Journal,
    Note,
    ReadJournal,
    read_journal,
    relist,
    write_journal,
)
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.stores.base import Failure, Fate, StateStore, StoreEtag

__all__ = ["Noting"]

_log = structlog.get_logger(__name__)

_TRIES = 5


@dataclass(kw_only=True)
class _Gathered:
    """Notes that wait to be written together."""

    dues: dict[str, Instant] = field(default_factory=dict)
    written: bool = False
    journal: bytes | None = None


@dataclass(kw_only=True)
class _Current:
    """The journal that this process fills."""

    name: bytes
    journal: Journal
    etag: StoreEtag | None
    """None: not known, it must be read."""


class Noting:
    """The journals of one store, as those see them who write records."""

    def __init__(self, store: StateStore, *, settings: EngineSettings, clock: Clock, source: random.Random) -> None:
        """Works on ``store``; ``source`` makes names and pauses."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._source = source
        self._turn = asyncio.Lock()
        self._gathered = _Gathered()
        self._current: _Current | None = None

    async def ready(self, plans: Mapping[str, tuple[Sighting, Envelope]], limit: Deadline) -> dict[str, Envelope]:
        """Returns, by key, what may be written now upon what was seen there, noted where it must be.

        What is missing may not be written now: the record is being collected, or its note cannot be made.
        """
        ready: dict[str, Envelope] = {}
        dues: dict[str, Instant] = {}
        for key, (before, after) in plans.items():
            content = before.content if isinstance(before.content, Envelope) else None
            if content and not await self._kept_from_collection(key, content, limit):
                continue
            due = self._due(after)
            noted = look_at(content, self._settings) if content and content.journal else None
            if due is None:
                ready[key] = _naming(after, b"")
            elif content and noted is not None and noted <= due:
                ready[key] = _naming(after, content.journal)  # the note stands there, and is due no later
            else:
                dues[key] = due
        if dues and (journal := await self._note(dues, limit)):
            ready |= {key: _naming(plans[key][1], journal) for key in dues}
        return ready

    def _due(self, envelope: Envelope) -> Instant | None:
        """Returns when a collector is to look at the record. None: it need not."""
        if self._store.removes_dead and envelope.intent is None:
            return None
        return look_at(envelope, self._settings)

    # Records that are about to be collected

    async def _kept_from_collection(self, key: str, envelope: Envelope, limit: Deadline) -> bool:
        """Says whether a write upon ``envelope`` cannot arrive after its collection; sees to that if need be."""
        now = self._clock.now()
        if self._store.removes_dead or not envelope.journal or not in_last_moments(envelope, now, self._settings):
            return True
        for tries in range(_TRIES):
            await limit.sleep(pause(tries, self._source))
            found = await read_journal(self._store, envelope.journal, limit)
            if isinstance(found, Failure) or limit.over:
                return False
            if found is None or found.journal.closed:
                return True  # who wanted to collect it would have to write there
            note = found.journal.notes.get(key)
            if note and note.deleting is not None:
                return False
            later = Note(due=Instant(self._clock.now() + self._settings.dead_life_ms))
            journal = found.journal.with_notes({key: later}, self._clock.now())
            outcome = await write_journal(self._store, envelope.journal, found.etag, journal, limit)
            if outcome.fate is Fate.APPLIED:
                return True
        return False

    # New notes

    async def _note(self, dues: Mapping[str, Instant], limit: Deadline) -> bytes | None:
        """Writes notes, together with others that wait; returns the name of their journal, None if that failed."""
        mine = self._gathered
        mine.dues.update(dues)
        try:
            async with asyncio.timeout(limit.remaining) as waiting, self._turn:
                waiting.reschedule(None)
                if not mine.written:
                    self._gathered = _Gathered()
                    mine.written = True
                    mine.journal = await self._write(mine.dues, limit)
        except TimeoutError:
            return None
        return mine.journal

    async def _write(self, dues: Mapping[str, Instant], limit: Deadline) -> bytes | None:
        notes = {key: Note(due=due) for key, due in dues.items()}
        for tries in range(_TRIES):
            await limit.sleep(pause(tries, self._source))
            if limit.over:
                break
            current = await self._open_journal(notes, limit)
            if current is None:
                continue
            if all(current.journal.notes.get(key) == note for key, note in notes.items()):
                return current.name
            if current.etag is None:
                continue  # to be read
            journal = current.journal.with_notes(notes, self._clock.now())
            outcome = await write_journal(self._store, current.name, current.etag, journal, limit)
            current.etag = None
            if outcome.fate is Fate.APPLIED:
                current.journal, current.etag = journal, outcome.next_etag
                return current.name
        _log.warning("dead records not noted", store=self._store.name)
        return None

    async def _open_journal(self, notes: Mapping[str, Note], limit: Deadline) -> _Current | None:
        """Returns the journal to write to, as it stands: a new one where there is no other, with ``notes`` already."""
        current = self._current
        if current is not None and len({*current.journal.notes, *notes}) <= MOST_NOTES:
            if current.etag is not None:
                return current
            found = await read_journal(self._store, current.name, limit)
            if isinstance(found, Failure):
                return None
            if isinstance(found, ReadJournal) and not found.journal.closed:
                current.journal, current.etag = found
                return current
        self._current = None
        fresh = _Current(
            name=self._source.randbytes(NAME_BYTES),
            journal=Journal(notes=notes, note_time=self._clock.now()),
            etag=None,
        )
        # It must be listed before any record names it, and stand there before it is listed.
        outcome = await write_journal(self._store, fresh.name, None, fresh.journal, limit)
        if outcome.fate is Fate.APPLIED and await relist(self._store, limit, add=fresh.name):
            fresh.etag = outcome.next_etag
            self._current = fresh
        return self._current


def _naming(envelope: Envelope, journal: bytes) -> Envelope:
    """Returns ``envelope``, and what it may become, naming ``journal``."""
    intent = envelope.intent
    if intent and intent.becomes:
        intent = replace(intent, becomes=replace(intent.becomes, journal=journal))
    return replace(envelope, intent=intent, journal=journal)
