"""The SQLite file: who owns it, which version it has, and how it is opened."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

from keepstate_server.embedded.errors import DataFileError

__all__ = ["APPLICATION_ID", "BUSY_TIMEOUT_SECONDS", "SCHEMA_VERSION", "connect_memory", "is_busy", "open_file"]

APPLICATION_ID: Final = int.from_bytes(b"KSTE", "big")
"""Marks a file as Keepstate's in SQLite's header."""
SCHEMA_VERSION: Final = 1
"""The version of the schema that this program writes."""
BUSY_TIMEOUT_SECONDS: Final = 10.0
"""How long a transaction waits for another process that is writing."""

_SCHEMA = (
    # Of a key and its value only the key is in the index, so that large values do not slow down the search.
    "CREATE TABLE record (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL, etag TEXT NOT NULL, expires_at INTEGER)",
    "CREATE INDEX record_by_expiry ON record (expires_at) WHERE expires_at IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
# The log is cut back to this after a checkpoint; without a limit it keeps the size of its largest day.
_LOG_BYTES_KEPT = 64 * 1024 * 1024

_creating = threading.Lock()


def open_file(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Opens the data file, creates it (0600, its folder 0700) where there is none; returns a writer and a reader.

    The connections are in autocommit and may be used from any one thread at a time.

    Raises:
        DataFileError: it cannot be opened, is not Keepstate's, or was written by a newer version.
    """
    opened: list[sqlite3.Connection] = []
    try:
        _create(path)
        opened.append(_connect(path))
        _claim(path, opened[0])
        # Whoever writes waits by itself: see Worker.
        opened[0].execute("PRAGMA busy_timeout = 0")
        opened.append(_connect(path))
    except (OSError, sqlite3.Error, DataFileError) as error:
        for connection in opened:
            connection.close()
        if isinstance(error, DataFileError):
            raise
        raise DataFileError(path=path, reason=_reason(error)) from error
    return opened[0], opened[1]


def connect_memory() -> sqlite3.Connection:
    """Makes a private database in memory, gone when the connection closes."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for statement in _SCHEMA:
        connection.execute(statement)
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection held a lock that this one needed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _create(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite would create the file with the umask's mode. The lock: closing a file drops all locks that this process
    # has on it, so nobody else may have opened it in between.
    with _creating:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            return


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # An acknowledged write survives a power cut, not only a crash of the process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _claim(path: Path, connection: sqlite3.Connection) -> None:
    # The lock comes before the look: of several processes that start on a new file one makes the schema. It also finds
    # out now, not at the first write, that the file is read-only.
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            for statement in _SCHEMA:
                connection.execute(statement)
        elif application != APPLICATION_ID:
            raise DataFileError(path=path, reason="it is a database of another program")
        elif version > SCHEMA_VERSION:
            raise DataFileError(
                path=path,
                reason=f"a newer version of Keepstate wrote it (schema {version}; this one knows {SCHEMA_VERSION})",
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if _switch_to_wal(connection) != "wal":
        raise DataFileError(path=path, reason="its file system has no shared memory, which SQLite's WAL needs")


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Returns the journal mode that the file has then.

    SQLite itself does not wait for its turn where several processes switch at once.
    """
    until = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return str(mode)


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if is_busy(error):
        return f"another program keeps it locked (waited {BUSY_TIMEOUT_SECONDS:.0f} s)"
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return "it is not a database"
        case sqlite3.SQLITE_READONLY:
            return "it is read-only"
        case _:
            return str(error)
