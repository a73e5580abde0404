"""The data file as the event loop sees it: nothing here blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from keepstate_server.embedded.datafile import connect_memory, open_file
from keepstate_server.embedded.operations import StoredValue, Unit, WriteFailure
from keepstate_server.embedded.worker import PurgeJob, ReadJob, Worker, WriteJob

__all__ = ["Database"]

# Small enough that waiting writes are hardly delayed.
_ROWS_A_PURGE = 500


class Database:
    """Records in one SQLite database. Make it with ``open``."""

    def __init__(self, *, writer: Worker, reader: Worker) -> None:
        self._writer = writer
        self._reader = reader
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, path: Path | None, *, clock: Callable[[], float] = time.time) -> Database:
        """Opens the data file, or a private database in memory when ``path`` is None.

        Args:
            path: the data file; it is created where there is none.
            clock: tells the seconds since the epoch; expiry is judged by it.

        Raises:
            DataFileError: the file cannot be opened, is not Keepstate's, or was written by a newer version.
        """
        if path is None:
            # Nobody else can see a private database in memory, not even a second connection.
            both = Worker(connect_memory(), name="keepstate-embedded", clock=clock)
            return cls(writer=both, reader=both)
        writing, reading = await asyncio.to_thread(open_file, path)
        return cls(
            writer=Worker(writing, name="keepstate-embedded-writer", clock=clock),
            reader=Worker(reading, name="keepstate-embedded-reader", clock=clock),
        )

    async def read(self, keys: Sequence[str]) -> dict[str, StoredValue]:
        """Returns the records of these keys that are present, by key, all as of one moment.

        Raises:
            StorageError: the storage failed.
        """
        job = ReadJob(future=self._loop.create_future(), keys=keys)
        self._reader.submit(job)
        return await job.future

    async def write(self, units: Sequence[Unit]) -> list[WriteFailure | None]:
        """Applies units, each all or nothing and independent of the others, and returns once they are durable.

        Returns:
            One entry a unit, in order: None where it was applied.

        Raises:
            StorageError: the storage failed; none of the units is known to be applied.
        """
        job = WriteJob(future=self._loop.create_future(), units=units)
        self._writer.submit(job)
        return await job.future

    async def purge(self) -> int:
        """Removes all rows that have expired, in bounded batches between other writes, and says how many.

        Raises:
            StorageError: the storage failed.
        """
        removed = 0
        while True:
            job = PurgeJob(future=self._loop.create_future(), limit=_ROWS_A_PURGE)
            self._writer.submit(job)
            rows = await job.future
            removed += rows
            if rows < _ROWS_A_PURGE:
                return removed

    async def close(self) -> None:
        """Finishes what was begun and closes the file."""
        # The writer last: the last connection to close folds the log into the file.
        await self._reader.close()
        await self._writer.close()
