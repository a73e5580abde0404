"""A thread that owns one SQLite connection and commits the requests that wait together in one transaction."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import queue
import random
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

import structlog

from keepstate_server.embedded.datafile import BUSY_TIMEOUT_SECONDS, is_busy
from keepstate_server.embedded.errors import StorageError
from keepstate_server.embedded.operations import StoredValue, Unit, WriteFailure, apply_unit, purge, read

__all__ = ["PurgeJob", "ReadJob", "Worker", "WriteJob"]

MAX_REQUESTS_A_COMMIT: Final = 256
"""So many requests share a commit at most; what waits beyond them goes into the next one."""
MAX_OPERATIONS_A_COMMIT: Final = 1024
"""A commit takes no further request once it holds so many operations: it bounds how long the first one waits."""

_POLL_SECONDS: Final = (0.0003, 0.002)
_FIXED_TEXTS: Final = {
    sqlite3.SQLITE_BUSY: "database is locked",
    sqlite3.SQLITE_LOCKED: "database is locked",
    sqlite3.SQLITE_FULL: "database or disk is full",
    sqlite3.SQLITE_IOERR: "disk I/O error",
    sqlite3.SQLITE_CORRUPT: "database disk image is malformed",
    sqlite3.SQLITE_NOTADB: "database disk image is malformed",
    sqlite3.SQLITE_READONLY: "attempt to write a readonly database",
    sqlite3.SQLITE_TOOBIG: "string or blob too big",
}

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Job(abc.ABC, Generic[_Result]):
    """One request, and the future of the event loop that waits for its result."""

    future: asyncio.Future[_Result]
    writes: ClassVar[bool]

    @property
    def size(self) -> int:
        """How many operations it brings."""
        return 1

    @abc.abstractmethod
    def run(self, connection: sqlite3.Connection, *, now: int) -> _Result:
        """Does the work inside the open transaction, at the second ``now`` since the epoch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WriteJob(Job[list[WriteFailure | None]]):
    """Applies units, each by itself; the result has one entry a unit, None where it was applied."""

    units: Sequence[Unit]
    writes: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """How many operations it brings."""
        return sum(len(unit) for unit in self.units)

    def run(self, connection: sqlite3.Connection, *, now: int) -> list[WriteFailure | None]:
        """Applies the units in order."""
        return [apply_unit(connection, unit, now=now) for unit in self.units]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadJob(Job[dict[str, StoredValue]]):
    """Reads records as of one moment; the result has those that are present, by key."""

    keys: Sequence[str]
    writes: ClassVar[bool] = False

    def run(self, connection: sqlite3.Connection, *, now: int) -> dict[str, StoredValue]:
        """Reads the records."""
        return read(connection, self.keys, now=now)


@dataclass(frozen=True, kw_only=True, eq=False)
class PurgeJob(Job[int]):
    """Removes at most ``limit`` expired rows; the result is their number."""

    limit: int
    writes: ClassVar[bool] = True

    def run(self, connection: sqlite3.Connection, *, now: int) -> int:
        """Removes the rows."""
        return purge(connection, limit=self.limit, now=now)


class Worker:
    """Runs jobs on one connection, in a thread of its own.

    Jobs that wait together share a transaction, and so one flush to the disk. Each keeps its own result: a job that
    makes the shared transaction fail is run again by itself, as are the others. When the commit fails, all fail.
    A job whose caller has gone before its turn is dropped.

    ``submit`` and ``close`` belong to the event loop's thread.
    """

    def __init__(self, connection: sqlite3.Connection, *, name: str, clock: Callable[[], float]) -> None:
        """Takes over ``connection``; ``clock`` tells the seconds since the epoch."""
        self._connection = connection
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job[Any]) -> None:
        """Queues a job; its future gets the result, or StorageError.

        Raises:
            StorageError: the worker was closed.
        """
        if self._closed:
            raise StorageError("the store is closed")
        self._waiting.put(job)

    async def close(self) -> None:
        """Finishes what is queued, closes the connection and ends the thread."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                writing = [job for job in batch if job.writes and not job.future.cancelled()]
                reading = [job for job in batch if not job.writes and not job.future.cancelled()]
                results = self._run_together(writing) if writing else []
                if reading:
                    results += self._run_together(reading)
                # The loop is gone only when nobody waits any more.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(_deliver, results)
        finally:
            self._connection.close()

    def _next_batch(self) -> list[Job[Any]] | None:
        first = self._waiting.get()
        if first is None:
            return None
        batch, operations = [first], first.size
        while len(batch) < MAX_REQUESTS_A_COMMIT and operations < MAX_OPERATIONS_A_COMMIT:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)
                break
            batch.append(job)
            operations += job.size
        return batch

    def _run_together(self, jobs: list[Job[Any]]) -> list[tuple[Job[Any], Any]]:
        """Runs jobs in one transaction and returns each with its result, or with the StorageError that it met."""
        one_of_many = False
        try:
            self._begin(writing=jobs[0].writes)
            now = int(self._clock())
            one_of_many = len(jobs) > 1
            results = [(job, job.run(self._connection, now=now)) for job in jobs]
            one_of_many = False
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - the thread must go on, and every caller get an answer
            self._roll_back()
            if one_of_many:
                return [pair for job in jobs for pair in self._run_together([job])]
            failure = _storage_error(error)
            return [(job, failure) for job in jobs]
        return results

    def _begin(self, *, writing: bool) -> None:
        if not writing:
            self._connection.execute("BEGIN")
            return
        # SQLite's own waiting looks again every 100 ms after a while, and a process that commits without pause then
        # starves the others for seconds.
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - no secret

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.error("rollback failed", error=type(error).__name__)


def _deliver(results: list[tuple[Job[Any], Any]]) -> None:
    for job, result in results:
        if job.future.done():
            continue
        if isinstance(result, StorageError):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)


def _storage_error(error: Exception) -> StorageError:
    code = getattr(error, "sqlite_errorcode", None)
    text = "storage failure" if code is None else _FIXED_TEXTS.get(code & 0xFF, "storage failure")
    # The error's own text may hold a key or a value; where it arose is enough to find it.
    where = traceback.extract_tb(error.__traceback__)[-1]
    _log.error(
        "storage failure",
        error=type(error).__name__,
        code=getattr(error, "sqlite_errorname", None),
        where=f"{where.name}:{where.lineno}",
    )
    return StorageError(text)
