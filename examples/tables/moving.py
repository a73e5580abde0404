"""Rows become records: checked first, then written, then read back and compared."""

from __future__ import annotations

__all__ = ["Item", "Moved", "Tally", "Verified", "check", "move", "verify"]

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

from examples.tables.sources import Row, SourceError
from keepstate import AlreadyExists, Bytes, Conflict, PartialFailure, key
from keepstate.sync import State

CODEC = Bytes(content_type="application/json")

MAX_ROWS = 1_000
MAX_BYTES = 4 * 1024 * 1024
"""The most that is held of the source at a time: rows, and bytes of their values."""

NAMED = 10
"""How many differences are named; all are counted."""

Progress = Callable[[int], None]
"""Is told, after each batch, how many rows it had."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row as the record that it becomes."""

    place: str
    key: str
    value: bytes


@dataclass(kw_only=True)
class Tally:
    """A count of records and a checksum over their keys and values, in whatever order they are added."""

    count: int = 0
    total: int = 0

    def add(self, name: str, value: bytes) -> None:
        """Count one record. Its key has no zero byte, so no two records look the same."""
        digest = hashlib.sha256(name.encode() + b"\0" + value).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(digest)) % (1 << 256)

    @property
    def checksum(self) -> str:
        """64 hexadecimal digits."""
        return f"{self.total:064x}"


@dataclass(kw_only=True)
class Moved:
    """What became of the rows."""

    written: int = 0
    present: int = 0
    """Whose record was there before, whatever its value."""
    overwritten: int = 0
    """Of these, whose value was another and was written over."""


@dataclass(kw_only=True)
class Verified:
    """What was read back."""

    tally: Tally = field(default_factory=Tally)
    differences: int = 0
    named: list[str] = field(default_factory=list)
    """The first of them, each as a line."""


def items(rows: Iterable[Row], prefix: str) -> Iterator[Item]:
    """Give each row its record's key: the prefix and the values of the key columns.

    Raises:
        SourceError: a value of a key column is NULL or empty, or the key is too long.
    """
    for row in rows:
        if None in row.key:
            raise SourceError(f"{row.place}: a column of the key is NULL")
        try:
            name = key(prefix, *(part or "" for part in row.key))
        except ValueError as error:
            raise SourceError(f"{row.place}: {error} (part 1 is the prefix)") from None
        yield Item(place=row.place, key=name, value=row.value)


def check(found: Iterable[Item], progress: Progress) -> Tally:
    """Read the whole source, before anything is written.

    Raises:
        SourceError: two rows have the same key; names both.
    """
    tally = Tally()
    # SQLite's own temporary file holds the keys, so that memory does not.
    with closing(sqlite3.connect("", isolation_level=None)) as seen:
        seen.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID")
        seen.execute("BEGIN")
        for item in found:
            try:
                seen.execute("INSERT INTO seen VALUES (?, ?)", (item.key, item.place))
            except sqlite3.IntegrityError:
                (other,) = seen.execute("SELECT place FROM seen WHERE key = ?", (item.key,)).fetchone()
                raise SourceError(f"{item.place}: the same key as {other}, {item.key!r}") from None
            tally.add(item.key, item.value)
            if tally.count % MAX_ROWS == 0:
                progress(MAX_ROWS)
    progress(tally.count % MAX_ROWS)
    return tally


def move(found: Iterable[Item], state: State[bytes], *, overwrite: bool, progress: Progress) -> Moved:
    """Write each row as a record, if there is none under its key.

    So it may be broken off anywhere and begun anew, and takes nothing from anybody: what is there is left alone,
    unless ``overwrite`` is given and it is not the row.

    Raises:
        KeepstateError: a record could not be written. Earlier ones are, and later ones may be.
    """
    moved = Moved()
    for batch in _batches(found):
        there = _create(batch, state)
        moved.written += len(batch) - len(there)
        moved.present += len(there)
        if overwrite:
            moved.overwritten += _write_over(there, state)
        progress(len(batch))
    return moved


def verify(found: Iterable[Item], state: State[bytes], *, progress: Progress) -> Verified:
    """Read the record of each row back and compare it with the row.

    Raises:
        KeepstateError: a record could not be read.
    """
    verified = Verified()
    for batch in _batches(found):
        values = state.get_many([item.key for item in batch])
        for item in batch:
            value = values.get(item.key)
            if value is not None:
                verified.tally.add(item.key, value)
            if value != item.value:
                verified.differences += 1
                what = "there is no record" if value is None else "the record is not the row"
                if verified.differences <= NAMED:
                    verified.named.append(f"{item.place}, {item.key!r}: {what}")
        progress(len(batch))
    return verified


def _create(batch: list[Item], state: State[bytes]) -> list[Item]:
    """Write those that have no record; return the others."""
    try:
        state.put_many({item.key: item.value for item in batch}, if_absent=True)
    except PartialFailure as failure:
        for item in batch:
            error = failure.errors.get(item.key)
            if error is not None and not isinstance(error, AlreadyExists):
                error.add_note(f"{item.place}, {item.key!r}")
                raise error from failure
        return [item for item in batch if item.key in failure.errors]
    return []


def _write_over(there: list[Item], state: State[bytes]) -> int:
    """Write each over the record that was read, if it is another; a record that changes meanwhile is left alone."""
    values = state.get_many([item.key for item in there])
    overwritten = 0
    for item in there:
        if values.get(item.key) == item.value:
            continue
        record = state.get_record(item.key)
        if record is not None and record.value != item.value:
            with suppress(Conflict):
                state.put(item.key, item.value, if_etag=record.etag)
                overwritten += 1
    return overwritten


def _batches(found: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in found:
        if batch and (len(batch) == MAX_ROWS or size + len(item.value) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.value)
    if batch:
        yield batch
