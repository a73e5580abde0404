"""Cache-aside: values that are filled once, however many ask, and invalidated where their source changes."""

from __future__ import annotations

__all__ = ["AnalyticsCache", "Cache", "TaskCache", "UserCache"]

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on, passing_on_in, wait_with_calls, waiting
from keepstate.recipes.records import Id

V = TypeVar("V")

_FIVE_MINUTES = timedelta(minutes=5)
_HALF_A_MINUTE = timedelta(seconds=30)


class Cache(Generic[V]):
    """``keepstate.recipes.Cache`` with calls that wait."""

    _asynchronous: recipes.Cache[V]

    def __init__(
        self,
        state: sync.State[V],
        *prefix: Id,
        ttl: timedelta = _FIVE_MINUTES,
        fill_within: timedelta = _HALF_A_MINUTE,
        older: Sequence[Id] = (),
    ) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Cache``."""
        self._asynchronous = recipes.Cache(state.asynchronous, *prefix, ttl=ttl, fill_within=fill_within, older=older)

    key = passing_on(recipes.Cache[V].key)
    find = waiting(recipes.Cache[V].find)
    put = waiting(recipes.Cache[V].put)
    invalidate = waiting(recipes.Cache[V].invalidate)

    def get_or_fill(self, identifier: Id, fill: Callable[[], V]) -> V:
        """Read a value; where there is none fill it, in this thread, or wait for whoever fills it.

        Everything else is as ``keepstate.recipes.Cache.get_or_fill`` says.
        """
        return wait_with_calls(lambda here: self._asynchronous.get_or_fill(identifier, lambda: here(fill)))

    invalidate_in = passing_on_in(recipes.Cache[V].invalidate_in)


class UserCache(Cache[V]):
    """``keepstate.recipes.UserCache`` with calls that wait."""

    def __init__(
        self, state: sync.State[V], *, ttl: timedelta = timedelta(minutes=30), fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Cache``."""
        self._asynchronous = recipes.UserCache(state.asynchronous, ttl=ttl, fill_within=fill_within)


class TaskCache(Cache[V]):
    """``keepstate.recipes.TaskCache`` with calls that wait."""

    def __init__(
        self, state: sync.State[V], *, ttl: timedelta = _FIVE_MINUTES, fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Cache``."""
        self._asynchronous = recipes.TaskCache(state.asynchronous, ttl=ttl, fill_within=fill_within)


class AnalyticsCache(Cache[V]):
    """``keepstate.recipes.AnalyticsCache`` with calls that wait."""

    def __init__(
        self, state: sync.State[V], *, ttl: timedelta = _FIVE_MINUTES, fill_within: timedelta = _HALF_A_MINUTE
    ) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Cache``."""
        self._asynchronous = recipes.AnalyticsCache(state.asynchronous, ttl=ttl, fill_within=fill_within)
