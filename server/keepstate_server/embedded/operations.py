"""What can be done to the records of the data file, as SQL statements on an open transaction.

The rules are those of daprd's ``state.sqlite``: an expired row is as good as absent, every write gives a new etag and
sets or clears the expiry in the same statement.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "Deletion",
    "Impossible",
    "Operation",
    "StoredValue",
    "Unit",
    "Upsert",
    "WriteFailure",
    "apply_unit",
    "purge",
    "read",
]

# SQLite before 3.32 takes no more than 999 variables a statement.
_KEYS_PER_QUERY = 900


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteFailure:
    """Why a write was not applied."""

    text: str
    """The cause in daprd's words."""
    etag_mismatch: bool = False
    """Whether the condition of the write was not met: the only failure that proves another writer."""


ETAG_MISMATCH = WriteFailure(text="possible etag mismatch. error from state store", etag_mismatch=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredValue:
    """A record that is present and has not expired."""

    value: bytes
    etag: str
    expires_at: int | None
    """Seconds since the epoch; None for a record that does not expire."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upsert:
    """Writes a value.

    With an etag the record must be present with exactly that one. Without one, a first write demands that the record
    is absent; any other write goes through.
    """

    key: str
    value: bytes
    etag: str = ""
    first_write: bool = False
    ttl_seconds: int | None = None
    """None for a record that does not expire; it clears the expiry that the record had."""

    def apply(self, connection: sqlite3.Connection, *, now: int) -> WriteFailure | None:
        """Applies the write at the second ``now`` since the epoch; None if it was applied."""
        etag = str(uuid.uuid4())
        expires_at = None if self.ttl_seconds is None else now + self.ttl_seconds
        if self.etag:
            changed = connection.execute(
                "UPDATE record SET value = ?, etag = ?, expires_at = ?"
                " WHERE key = ? AND etag = ? AND (expires_at IS NULL OR expires_at > ?)",
                (self.value, etag, expires_at, self.key, self.etag, now),
            ).rowcount
        else:
            # A row that has expired and was not purged yet gives way to a first write.
            changed = connection.execute(
                "INSERT INTO record (key, value, etag, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
                " SET value = excluded.value, etag = excluded.etag, expires_at = excluded.expires_at"
                " WHERE ? OR record.expires_at <= ?",
                (self.key, self.value, etag, expires_at, not self.first_write, now),
            ).rowcount
        return None if changed else ETAG_MISMATCH


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """Deletes a record; with an etag it must be present with exactly that one, without one it may be absent."""

    key: str
    etag: str = ""

    def apply(self, connection: sqlite3.Connection, *, now: int) -> WriteFailure | None:
        """Applies the deletion at the second ``now`` since the epoch; None if it was applied."""
        if not self.etag:
            connection.execute("DELETE FROM record WHERE key = ?", (self.key,))
            return None
        changed = connection.execute(
            "DELETE FROM record WHERE key = ? AND etag = ? AND (expires_at IS NULL OR expires_at > ?)",
            (self.key, self.etag, now),
        ).rowcount
        return None if changed else ETAG_MISMATCH


@dataclass(frozen=True, kw_only=True, slots=True)
class Impossible:
    """Stands for a write that was asked for in a way that cannot be done; in its turn it fails."""

    failure: WriteFailure

    def apply(self, _connection: sqlite3.Connection, *, now: int) -> WriteFailure:
        """Fails."""
        return self.failure


Operation = Upsert | Deletion | Impossible

Unit = Sequence[Operation]
"""Operations that are applied in order, all or none."""


def apply_unit(connection: sqlite3.Connection, unit: Unit, *, now: int) -> WriteFailure | None:
    """Applies a unit inside the open transaction; where it is refused the transaction stays as it was before it."""
    if len(unit) == 1:
        # A single statement undoes itself: no savepoint is needed.
        return unit[0].apply(connection, now=now)
    connection.execute("SAVEPOINT unit")
    for operation in unit:
        failure = operation.apply(connection, now=now)
        if failure is not None:
            connection.execute("ROLLBACK TO unit")
            connection.execute("RELEASE unit")
            return failure
    connection.execute("RELEASE unit")
    return None


def read(connection: sqlite3.Connection, keys: Iterable[str], *, now: int) -> dict[str, StoredValue]:
    """Reads the records of these keys that are present at the second ``now``, by key; absent ones are left out."""
    wanted = list(dict.fromkeys(keys))
    found = {}
    for start in range(0, len(wanted), _KEYS_PER_QUERY):
        chunk = wanted[start : start + _KEYS_PER_QUERY]
        marks = ",".join("?" * len(chunk))
        query = (
            "SELECT key, value, etag, expires_at FROM record"  # noqa: S608 - only question marks are put in
            f" WHERE key IN ({marks}) AND (expires_at IS NULL OR expires_at > ?)"
        )
        for key, value, etag, expires_at in connection.execute(query, (*chunk, now)):
            found[key] = StoredValue(value=value, etag=etag, expires_at=expires_at)
    return found


def purge(connection: sqlite3.Connection, *, limit: int, now: int) -> int:
    """Removes at most ``limit`` rows that have expired by the second ``now``, and says how many it removed."""
    return connection.execute(
        "DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE expires_at <= ? LIMIT ?)", (now, limit)
    ).rowcount
