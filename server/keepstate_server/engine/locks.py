"""One writer of a key at a time within this process, in the order of arrival.

Promises do not rest on this: other instances write too, and compare-and-set judges between all. It keeps writers of one
process from refusing each other, which on a hot key would cost a number of store calls that grows with their square.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

__all__ = ["Held", "KeyLocks"]


class KeyLocks:
    """A lock for each key that somebody holds or waits for."""

    def __init__(self) -> None:
        """Begins with none."""
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, keys: Iterable[str], *, patience: float) -> AsyncIterator["Held"]:
        """Holds all of ``keys``, taken in sorted order so that two callers never wait for each other.

        What is not to be had within ``patience`` seconds is not waited for any longer: who has it may be waiting for a
        store that hangs.
        """
        held = Held(self)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for key in sorted(set(keys)):
                        await self._acquire(key)
                        held.keys.add(key)
            yield held
        finally:
            held.release_all()

    async def _acquire(self, key: str) -> None:
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave(key)
            raise

    def _release(self, key: str) -> None:
        self._locks[key][0].release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = (lock, users - 1)


class Held:
    """The keys that one caller holds."""

    def __init__(self, locks: KeyLocks) -> None:
        self._locks = locks
        self.keys: set[str] = set()

    def release(self, key: str) -> None:
        """Lets the next one have ``key``, before the others; nothing happens if it is not held."""
        if key in self.keys:
            self.keys.discard(key)
            self._locks._release(key)  # noqa: SLF001 - the two are one

    def release_all(self) -> None:
        """Lets the next ones have all keys."""
        for key in tuple(self.keys):
            self.release(key)
