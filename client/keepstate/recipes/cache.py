"""Cache-aside: values that are filled once, however many ask, and invalidated where their source changes."""

from __future__ import annotations

__all__ = ["AnalyticsCache", "Cache", "TaskCache", "UserCache"]

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, TypeVar

from keepstate import (
    AlreadyExists,
    Bytes,
    Conflict,
    DeadlineExceeded,
    DecodeError,
    KeepstateError,
    OutcomeUnknown,
    Record,
    ResourceExhausted,
    State,
    Transaction,
    Unavailable,
)
from keepstate.recipes.lengths import must_be_positive
from keepstate.recipes.records import Id, Records

V = TypeVar("V")

_FIVE_MINUTES = timedelta(minutes=5)
_HALF_A_MINUTE = timedelta(seconds=30)

_FILLING = "application/vnd.keepstate.filling"
"""The content type of a marker. No value has it, and no codec but ``Bytes`` reads it."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two looks at a marker."""

_GIVING_UP = timedelta(seconds=1)
"""How long the removal of a marker may take: it expires by itself."""


class Cache(Generic[V]):
    """Values of one kind from a source that is slow, under ``<prefix>:<identifier>``.

    ::

        prices = Cache(state, "cache", "price", ttl=timedelta(minutes=1))
        price = await prices.get_or_fill("tea", lambda: shop.price_of("tea"))

    Any value is one: None, 0 and the empty list are hits. Who misses puts a marker in the value's place, and others
    wait for the value; an invalidation removes the marker, so that what was read before it is not kept. A value that is
    filled should be one that the codec reads as it was: JSON makes a list of a tuple.
    """

    def __init__(
        self,
        state: State[V],
        *prefix: Id,
        ttl: timedelta = _FIVE_MINUTES,
        fill_within: timedelta = _HALF_A_MINUTE,
        older: Sequence[Id] = (),
    ) -> None:
        """Keep them in this view.

        Args:
            prefix: the parts of a key before the identifier, at least one.
            ttl: how long a value lives.
            fill_within: how long a fill may take. After that it counts as dead, and another's turn comes.
            older: an earlier prefix. Its values are read where there are none under the prefix, and every change
                removes them.

        Raises:
            ValueError: there is no prefix, a part of one is empty, or ``ttl`` or ``fill_within`` is not positive.
            TypeError: ``older`` is a text instead of parts, or ``ttl`` or ``fill_within`` is no timedelta.
        """
        must_be_positive(ttl=ttl, fill_within=fill_within)
        if isinstance(older, str):  # each letter would be a part
            raise TypeError("older must be the parts of a prefix, not a text")
        self._state = state
        self._markers = state.using(Bytes(content_type=_FILLING))
        self._records = Records(state, *prefix, ttl=ttl)
        self._older = Records(state, *older) if older else None
        self._ttl = ttl
        self._fill_within = fill_within

    def key(self, identifier: Id) -> str:
        """The key of a value.

        Raises:
            TypeError, ValueError: the identifier is none, see ``keepstate.key``.
        """
        return self._records.key(identifier)

    async def find(self, identifier: Id) -> Record[V] | None:
        """Read a value, as a record, so that a value that is None is told from a miss. None: a miss.

        Raises:
            DecodeError: there is something that the codec cannot decode.
        """
        found = await self._read(self.key(identifier))
        if found is None and self._older is not None:
            return await self._state.get_record(self._older.key(identifier))
        return found

    async def get_or_fill(self, identifier: Id, fill: Callable[[], Awaitable[V]]) -> V:
        """Read a value; where there is none fill it, or wait for whoever fills it.

        Args:
            fill: gets the value from its source. Of all callers at a time, through any instance, one fills. Where it
                fails the error is raised here alone; another fills for those who wait.

        Returns:
            The value, also where it was filled and could not be kept: it was invalidated meanwhile, the fill took
            longer than ``fill_within``, or the store does not answer any more or has too much to do.

        Raises:
            DecodeError: there is something that the codec cannot decode. It is not overwritten.
        """
        name = self.key(identifier)
        while (found := await self.find(identifier)) is None:
            try:
                marker = await self._markers.put(name, b"", if_absent=True, ttl=self._fill_within)
            except AlreadyExists:
                await self._wait_for_fill(name)
            else:
                return await self._fill(name, marker, fill)
        return found.value

    async def put(self, identifier: Id, value: V) -> None:
        """Keep a value, whatever there was. A fill that is under way is not kept."""
        if self._older is not None:  # before the put: what a failure leaves must not come back when the value expires
            await self._older.delete(identifier)
        await self._records.put(identifier, value)

    async def invalidate(self, identifier: Id) -> None:
        """Remove a value, after its source has changed. A fill that is under way is not kept."""
        if self._older is not None:
            await self._older.delete(identifier)
        await self._records.delete(identifier)

    def invalidate_in(self, tx: Transaction[Any], identifier: Id) -> None:
        """Have a value removed by the transaction that changes its source.

        Raises:
            ValueError: the transaction is another client's.
        """
        here = self._state.within(tx)
        here.delete(self.key(identifier))
        if self._older is not None:
            here.delete(self._older.key(identifier))

    async def _read(self, name: str) -> Record[V] | None:
        try:
            found = await self._state.get_record(name)
        except DecodeError as error:
            if error.content_type == _FILLING:
                return None
            raise
        if found is not None and found.content_type == _FILLING:  # the codec reads everything
            return None
        return found

    async def _fill(self, name: str, marker: str, fill: Callable[[], Awaitable[V]]) -> V:
        try:
            value = await fill()
            await self._keep(name, value, marker)
        except BaseException:
            with suppress(KeepstateError, RuntimeError):  # RuntimeError: the client is closed
                await self._markers.delete(name, if_etag=marker, timeout=_GIVING_UP)
            raise
        return value

    async def _keep(self, name: str, value: V, marker: str) -> None:
        # The value is what was asked for, whether or not it is kept.
        with suppress(Conflict, Unavailable, DeadlineExceeded, ResourceExhausted, OutcomeUnknown):
            await self._state.put(name, value, if_etag=marker, ttl=self._ttl)

    async def _wait_for_fill(self, name: str) -> None:
        for pause in _pauses():
            await asyncio.sleep(pause)
            found = await self._markers.get_record(name)
            if found is None or found.content_type != _FILLING:
                return


class UserCache(Cache[V]):
    """Users, under ``cache:user:{user}``, for half an hour."""

    def __init__(
        self, state: State[V], *, ttl: timedelta = timedelta(minutes=30), fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``Cache``."""
        super().__init__(state, "cache", "user", ttl=ttl, fill_within=fill_within)


class TaskCache(Cache[V]):
    """A user's tasks, under ``cache:tasks:{user}``, for five minutes.

    What is kept under the older name, ``tasks:user:{user}``, is read too, and removed by every change.
    """

    def __init__(
        self, state: State[V], *, ttl: timedelta = _FIVE_MINUTES, fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``Cache``."""
        super().__init__(state, "cache", "tasks", ttl=ttl, fill_within=fill_within, older=("tasks", "user"))


class AnalyticsCache(Cache[V]):
    """A user's analytics, under ``cache:analytics:{user}``, for five minutes."""

    def __init__(
        self, state: State[V], *, ttl: timedelta = _FIVE_MINUTES, fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``Cache``."""
        super().__init__(state, "cache", "analytics", ttl=ttl, fill_within=fill_within)


def _pauses() -> Iterator[float]:
    """Seconds to wait, longer and longer, and drawn so that those who wait do not all look at once."""
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 (it keeps no secret)
        longest = min(2 * longest, _LONGEST_PAUSE)
