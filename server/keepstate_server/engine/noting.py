"""Has every record noted in a journal before it is written so that somebody will have to collect it."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.death import in_last_moments, look_at
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.journal import (
    MOST_NOTES,
    NAME_BYTES,
    Journal,
    Note,
    read_journal,
    relist,
    write_journal,
)
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting, seen
from keepstate_server.stores.base import Failure, Fate, ReadResult, StateStore, StoreEtag

__all__ = ["Noting"]

_log = structlog.get_logger(__name__)

_TRIES = 5


@dataclass(kw_only=True)
class _Gathered:
    """Notes that wait to be written together."""

    limit: Deadline
    """The latest of those who wait."""
    dues: dict[str, Instant] = field(default_factory=dict)
    written: bool = False
    journal: bytes | None = None

    def add(self, dues: Mapping[str, Instant], limit: Deadline) -> None:
        self.dues.update(dues)
        if limit.remaining > self.limit.remaining:
            self.limit = limit


@dataclass(kw_only=True)
class _Current:
    """The journal that this process fills."""

    name: bytes
    scope: str
    journal: Journal
    known_at: Instant
    etag: StoreEtag | None = None
    """None: not known, it must be read."""
    begun: bool = False
    """Its creation was sent."""
    listed: bool = False

    def take(self, journal: Journal, etag: StoreEtag | None, now: Instant) -> None:
        """Takes what stands there."""
        self.journal, self.etag, self.known_at = journal, etag, now


class Noting:
    """The journals of one store, as those see them who write records."""

    def __init__(self, store: StateStore, *, settings: EngineSettings, clock: Clock, source: random.Random) -> None:
        """Works on ``store``; ``source`` makes names and pauses."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._source = source
        self._turn = asyncio.Lock()
        self._gathered: _Gathered | None = None
        self._current: _Current | None = None

    def collects(self, sighting: Sighting) -> bool:
        """Says whether the record may be collected about now: then nothing may rest on a hint of it."""
        content = sighting.content
        return (
            isinstance(content, Envelope)
            and content.journal != b""
            and not self._store.removes_dead
            and in_last_moments(content, self._clock.now(), self._settings)
        )

    async def ready(self, plans: Mapping[str, tuple[Sighting, Envelope]], limit: Deadline) -> dict[str, Envelope]:
        """Returns, by key, what may be written now upon what was seen there, noted where it must be.

        What is missing may not be written now: the record is being collected, or its note cannot be made.
        """
        ready: dict[str, Envelope] = {}
        dues: dict[str, Instant] = {}
        dying = {key: before for key, (before, _) in plans.items() if self.collects(before)}
        kept = await self._keep(dying, limit) if dying else {}
        for key, (before, after) in plans.items():
            if key in dying and key not in kept:
                continue
            journal = kept[key] if key in dying else self._journal_of(before)
            due = self._due(after)
            noted = (
                look_at(before.content, self._settings) if journal and isinstance(before.content, Envelope) else None
            )
            if due is None:
                ready[key] = _naming(after, b"")
            elif noted is not None and noted <= due:
                ready[key] = _naming(after, journal)  # the note stands there, and is due no later
            else:
                dues[key] = due
        if dues and (noted_in := await self._note(dues, limit)):
            ready |= {key: _naming(plans[key][1], noted_in) for key in dues}
        return ready

    def _journal_of(self, sighting: Sighting) -> bytes:
        """Returns the journal that has the record's note. Empty: none may have it."""
        if self._store.removes_dead or not isinstance(sighting.content, Envelope):
            return b""  # there a note goes with the intent that it is of, while the record still names its journal
        return sighting.content.journal

    def _due(self, envelope: Envelope) -> Instant | None:
        """Returns when a collector is to look at the record. None: it need not."""
        if self._store.removes_dead and envelope.intent is None:
            return None
        return look_at(envelope, self._settings)

    # Records that are about to be collected

    async def _keep(self, dying: Mapping[str, Sighting], limit: Deadline) -> dict[str, bytes]:
        """Has nobody collect the records that were seen. Returns the journals with their notes; empty: none has it.

        What is missing is being collected, or was, and may not be written now.
        """
        by_journal: dict[bytes, list[str]] = {}
        for key, sighting in dying.items():
            by_journal.setdefault(self._journal_of(sighting), []).append(key)
        done = await asyncio.gather(*(self._put_off(name, keys, limit) for name, keys in by_journal.items()))
        kept = {key: name for its in done for key, name in its.items()}
        # They may have been collected before their notes were looked for, and other lives have begun: with notes, and
        # the store's etags, like those of the ones that were seen.
        found = await self._store.read(tuple(kept), consistency=Consistency.STRONG, sure=True, timeout=limit.remaining)
        return {key: name for key, name in kept.items() if _stands(dying[key], found[key], shared=self._store.shared)}

    async def _put_off(self, name: bytes, keys: Sequence[str], limit: Deadline) -> dict[str, bytes]:
        """Has a journal's notes of records looked at a dead life from now. Returns the journals as ``_keep`` does."""
        for tries in range(_TRIES):
            await limit.sleep(pause(tries, self._source))
            found = await read_journal(self._store, name, limit)
            if isinstance(found, Failure) or limit.over:
                break
            if found is None or found.journal.closed:
                return dict.fromkeys(keys, b"")  # who wanted to collect them would have to write there
            journal, now = found.journal, self._clock.now()
            free = [key for key in keys if key not in journal.notes or journal.notes[key].deleting is None]
            later = Note(due=Instant(now + self._settings.dead_life_ms))
            put_off = journal.with_notes(dict.fromkeys(free, later), now)
            if not free or (await write_journal(self._store, name, found.etag, put_off, limit)).fate is Fate.APPLIED:
                return dict.fromkeys(free, name)
        return {}

    # New notes

    async def _note(self, dues: Mapping[str, Instant], limit: Deadline) -> bytes | None:
        """Writes notes, together with others that wait; returns the name of their journal, None if that failed."""
        mine = self._gathered = self._gathered or _Gathered(limit=limit)
        mine.add(dues, limit)
        try:
            async with asyncio.timeout(limit.remaining) as waiting, self._turn:
                waiting.reschedule(None)
                if not mine.written:
                    self._gathered = None
                    mine.written = True
                    mine.journal = await self._write(mine.dues, mine.limit)
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
                current.take(journal, outcome.next_etag, self._clock.now())
                return current.name
        _log.warning("dead records not noted", store=self._store.name)
        return None

    async def _open_journal(self, notes: Mapping[str, Note], limit: Deadline) -> _Current | None:
        """Returns the journal to write to, as it stands: a new one where there is no other, with ``notes`` already."""
        current = self._current
        if current is None or len({*current.journal.notes, *notes}) > MOST_NOTES:
            current = self._current = _Current(
                name=self._source.randbytes(NAME_BYTES),
                scope=self._store.scope,
                journal=Journal(note_time=self._clock.now()),
                known_at=self._clock.now(),
            )
        stands = await self._look(current, limit) if current.begun else await self._create(current, notes, limit)
        if stands and not current.listed:
            # It must be listed before any record names it, and stand there before it is listed.
            current.listed = await relist(self._store, limit, add=current.name)
        return current if stands and current.listed else None

    async def _create(self, current: _Current, notes: Mapping[str, Note], limit: Deadline) -> bool:
        journal = Journal(notes=notes, note_time=self._clock.now())
        current.begun = True
        outcome = await write_journal(self._store, current.name, None, journal, limit)
        if outcome.fate is Fate.APPLIED:
            current.take(journal, outcome.next_etag, self._clock.now())
        return outcome.fate is Fate.APPLIED

    async def _look(self, current: _Current, limit: Deadline) -> bool:
        """Reads the journal unless it is known; says whether it takes notes."""
        now = self._clock.now()
        # Others close a journal, later the store removes it: a compare-and-set upon what was known would make it anew.
        fresh = now - current.known_at <= self._settings.dead_life_ms // 2 and current.scope == self._store.scope
        if current.etag is not None and fresh:
            return True
        found = await read_journal(self._store, current.name, limit)
        if isinstance(found, Failure):
            return False
        if found is None and not current.listed:
            current.begun = False  # its creation did not arrive: the same again, lest it arrive later unlisted
        elif found is None or found.journal.closed:
            self._current = None
        else:
            current.take(*found, now)
            current.scope = self._store.scope
            return True
        return False


def _stands(before: Sighting, found: ReadResult, *, shared: bool) -> bool:
    """Says whether what was seen before was found again."""
    if isinstance(found, Failure):
        return False
    there = seen(found, shared=shared)
    return (there.etag, there.base) == (before.etag, before.base)


def _naming(envelope: Envelope, journal: bytes) -> Envelope:
    """Returns ``envelope``, and what it may become, naming ``journal``."""
    if envelope.intent is None and envelope.journal == journal:
        return envelope
    intent = envelope.intent
    if intent and intent.becomes:
        intent = replace(intent, becomes=replace(intent.becomes, journal=journal))
    return replace(envelope, intent=intent, journal=journal)
