"""One writer of a key at a time within this process, in the order of arrival.

Promises do not rest on this: other instances write too, and compare-and-set judges between all. It keeps writers of one
process from refusing each other, which on a hot key would cost a number of store calls that grows with their square.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, Generic, TypeVar

__all__ = ["Held", "KeyLocks"]

_Part = TypeVar("_Part")

# How many parts are looked at for those that go together.
_MOST = 128


class KeyLocks(Generic[_Part]):
    """The keys that somebody holds, and who waits for each: parts of calls, or holders of several keys."""

    def __init__(
        self, together: Callable[[Sequence[_Part]], int], hand_over: Callable[[str, Sequence[_Part]], None]
    ) -> None:
        """Begins with none.

        Args:
            together: says how many of the parts that wait, from the first on, go together.
            hand_over: is given a key that came free and the parts that go together then; it must release the key.
        """
        self._together = together
        self._hand_over = hand_over
        self._waiting: dict[str, deque[_Part | asyncio.Future[None]]] = {}

    def take(self, key: str) -> bool:
        """Holds ``key`` if nobody does, and says whether it is so."""
        if key in self._waiting:
            return False
        self._waiting[key] = deque()
        return True

    def wait(self, key: str, part: _Part) -> None:
        """Has ``part`` wait for ``key``, which somebody holds, until it is handed over."""
        self._waiting[key].append(part)

    def leave(self, key: str, part: _Part) -> bool:
        """Has ``part`` wait no longer; says whether it did, and was not handed over before."""
        try:
            self._waiting[key].remove(part)
        except (KeyError, ValueError):
            return False
        return True

    def release(self, key: str) -> None:
        """Lets the next ones have ``key``."""
        waiting = self._waiting[key]
        while waiting and isinstance(first := waiting[0], asyncio.Future):
            waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        if not waiting:
            del self._waiting[key]
            return
        parts: list[_Part] = []
        for each in islice(waiting, _MOST):
            if isinstance(each, asyncio.Future):
                break
            parts.append(each)
        parts = parts[: self._together(parts)]
        for _ in parts:
            waiting.popleft()
        self._hand_over(key, parts)

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
        if self.take(key):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key].append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.release(key)  # it had been handed over just then
            raise


class Held:
    """The keys that one caller holds."""

    def __init__(self, locks: KeyLocks[Any]) -> None:
        self._locks = locks
        self.keys: set[str] = set()

    def release(self, key: str) -> None:
        """Lets the next one have ``key``, before the others; nothing happens if it is not held."""
        if key in self.keys:
            self.keys.discard(key)
            self._locks.release(key)

    def release_all(self) -> None:
        """Lets the next ones have all keys."""
        for key in tuple(self.keys):
            self.release(key)
