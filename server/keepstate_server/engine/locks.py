"""One writer of a key at a time within this process, in the order of arrival.

Promises do not rest on this: other instances write too, and compare-and-set judges between all. It keeps writers of one
process from refusing each other, which on a hot key would cost a number of store calls that grows with their square.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

__all__ = ["KeyLocks"]


class KeyLocks:
    """A lock for each key that somebody holds or waits for."""

    def __init__(self) -> None:
        """Begins with none."""
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Holds all of ``keys``, taken in sorted order so that two callers never wait for each other."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._one(key))
            yield

    @asynccontextmanager
    async def _one(self, key: str) -> AsyncIterator[None]:
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
