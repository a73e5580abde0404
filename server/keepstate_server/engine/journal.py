"""Journals: which records will have to be collected, and when. Records of the service's own in the same store.

A store that removes nothing by itself cannot be asked for its dead records either: whoever makes one notes it before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.times import Instant
from keepstate_server.engine import frames
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.reads import read_one
from keepstate_server.stored.v1 import envelope_pb2
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Outcome, StateStore, Stored, StoreEtag

__all__ = [
    "MOST_NOTES",
    "NAME_BYTES",
    "Journal",
    "Note",
    "ReadJournal",
    "close_journal",
    "list_journals",
    "read_journal",
    "relist",
    "write_journal",
]

NAME_BYTES = 8

MOST_NOTES = 128
"""How many notes one journal takes: each new one writes all of them again."""

_DIRECTORY = internal_key("journals")

# How often a change of the directory is tried that others change, too.
_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """That a record will have to be collected."""

    due: Instant
    """When to look."""
    deleting: Instant | None = None
    """When it was decided to delete the record; that may take effect for a longest delay after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """Notes by the store's keys."""

    notes: Mapping[str, Note] = field(default_factory=dict)
    closed: bool = False
    """No more notes are taken, and nothing is written any more: the journal is about to go."""
    note_time: Instant
    """When the last note was made."""

    def with_notes(self, notes: Mapping[str, Note], now: Instant) -> "Journal":
        """Returns this with more notes, made ``now``."""
        return replace(self, notes={**self.notes, **notes}, note_time=now)


class ReadJournal(NamedTuple):
    """A journal as it stands."""

    journal: Journal
    etag: StoreEtag


async def read_journal(store: StateStore, name: bytes, limit: Deadline) -> ReadJournal | Failure | None:
    """Reads a journal; None: there is none of this name, or no more."""
    stored = await read_one(store, _key(name), timeout=limit.remaining)
    if not isinstance(stored, Stored):
        return stored
    body = frames.opened(frames.JOURNAL, stored.data)
    if body is None:
        return Failure(detail="not a journal")
    message = envelope_pb2.Journal.FromString(body)
    notes = {
        each.key: Note(due=Instant(each.due), deleting=Instant(each.deleting) if each.deleting else None)
        for each in message.notes
    }
    return ReadJournal(Journal(notes=notes, closed=message.closed, note_time=Instant(message.note_time)), stored.etag)


async def write_journal(
    store: StateStore, name: bytes, etag: StoreEtag | None, journal: Journal, limit: Deadline
) -> Outcome:
    """Writes a journal if ``etag`` still stands there; None: if there is none."""
    data = frames.sealed(frames.JOURNAL, _message(journal).SerializeToString())
    return await _write(store, CompareAndSet(key=_key(name), etag=etag, data=data, keep_for=None), limit)


async def close_journal(
    store: StateStore, name: bytes, found: ReadJournal, life: timedelta, limit: Deadline
) -> Outcome:
    """Closes a journal, for good. The store removes it after ``life``: until then nobody takes it for a new one."""
    data = frames.sealed(frames.JOURNAL, _message(replace(found.journal, closed=True)).SerializeToString())
    write = CompareAndSet(key=_key(name), etag=found.etag, data=data, keep_for=life)
    return await store.write_alone(write, timeout=limit.remaining)


async def list_journals(store: StateStore, limit: Deadline) -> list[bytes] | Failure:
    """Returns the names of all journals."""
    stored = await read_one(store, _DIRECTORY, timeout=limit.remaining)
    if isinstance(stored, Failure):
        return stored
    return _names(stored)


async def relist(store: StateStore, limit: Deadline, *, add: bytes | None = None, remove: bytes | None = None) -> bool:
    """Changes the directory of journals; says whether it is as wanted now."""
    for _ in range(_TRIES):
        stored = await read_one(store, _DIRECTORY, timeout=limit.remaining)
        if isinstance(stored, Failure) or limit.over:
            return False
        names = _names(stored)
        wanted = [name for name in names if name != remove]
        if add is not None and add not in wanted:
            wanted.append(add)
        if wanted == names:
            return True
        message = envelope_pb2.Directory(journals=wanted)
        data = frames.sealed(frames.DIRECTORY, message.SerializeToString())
        etag = stored.etag if stored else None
        write = CompareAndSet(key=_DIRECTORY, etag=etag, data=data, keep_for=None)
        if (await _write(store, write, limit)).fate is Fate.APPLIED:
            return True
    return False


def _key(name: bytes) -> str:
    return internal_key(f"journal/{name.hex()}")


def _message(journal: Journal) -> envelope_pb2.Journal:
    return envelope_pb2.Journal(
        notes=[
            envelope_pb2.Note(key=key, due=note.due, deleting=note.deleting or 0) for key, note in journal.notes.items()
        ],
        closed=journal.closed,
        note_time=journal.note_time,
    )


def _names(stored: Stored | None) -> list[bytes]:
    body = frames.opened(frames.DIRECTORY, stored.data) if stored else None
    return [] if body is None else list(envelope_pb2.Directory.FromString(body).journals)


async def _write(store: StateStore, write: CompareAndSet, limit: Deadline) -> Outcome:
    if await store.prepare(timeout=limit.remaining) is not None or limit.over:
        return Outcome(fate=Fate.FAILED, detail="the store is not ready")
    return (await store.write([write], timeout=limit.remaining))[0]
