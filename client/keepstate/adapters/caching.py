"""A decorator that keeps what functions return, in the manner of aiocache and cachetools.

::

    @cached(state, "cache", "forecast", ttl=timedelta(minutes=10))
    async def forecast(city: str, days: int = 3) -> list[str]: ...

    await forecast("Paris")
    await forecast.invalidate("Paris")

What it does is done by ``keepstate.recipes.Cache``. It needs no extra.
"""

from __future__ import annotations

__all__ = ["AsyncCached", "Cached", "cached"]

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar, overload
from uuid import UUID

from keepstate import State, Transaction, sync
from keepstate.recipes import Cache
from keepstate.recipes.records import Id
from keepstate.recipes.sync import Cache as SyncCache

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Cache[Any] | SyncCache[Any])

_Key: TypeAlias = Callable[..., Id | tuple[Id, ...]]


@overload
def cached(
    state: State[Any], *prefix: Id, ttl: timedelta = ..., fill_within: timedelta = ..., key: _Key | None = ...
) -> Callable[[Callable[P, Awaitable[R]]], AsyncCached[P, R]]: ...


@overload
def cached(
    state: sync.State[Any], *prefix: Id, ttl: timedelta = ..., fill_within: timedelta = ..., key: _Key | None = ...
) -> Callable[[Callable[P, R]], Cached[P, R]]: ...


def cached(
    state: State[Any] | sync.State[Any],
    *prefix: Id,
    ttl: timedelta = timedelta(minutes=5),
    fill_within: timedelta = timedelta(seconds=30),
    key: _Key | None = None,
) -> Any:
    """Have what a function returns kept, under ``<prefix>:<argument>:<argument>…``, and called once for many.

    An async function needs a view of ``keepstate.Client``, a plain one of ``keepstate.sync.Client``. Arguments count as
    the function has them: by position or by name, and with their defaults. 7 and "7" are one argument.

    Args:
        prefix: the parts of a key before the arguments, at least two.
        ttl, fill_within: as of ``keepstate.recipes.Cache``.
        key: what the key has in the place of the arguments: a function of the same arguments that returns a part or
            parts. Needed where an argument is no str, int or UUID.

    Raises:
        TypeError: the function is async and the view is not, or the other way round; it is a method; it takes ``*args``
            or ``**kwargs`` and there is no ``key``.
        ValueError: the prefix has fewer than two parts, or an argument is wrong, see ``keepstate.recipes.Cache``.
    """
    if len(prefix) < 2:
        raise ValueError("prefix needs at least two parts")
    if isinstance(state, State):

        def cache(*parts: Id) -> Cache[Any]:
            return Cache(state, *parts, ttl=ttl, fill_within=fill_within)

        cache(*prefix)  # raises here, rather than at each call
        return lambda function: AsyncCached(function, prefix, key, cache)

    def sync_cache(*parts: Id) -> SyncCache[Any]:
        return SyncCache(state, *parts, ttl=ttl, fill_within=fill_within)

    sync_cache(*prefix)
    return lambda function: Cached(function, prefix, key, sync_cache)


class _Cached(Generic[P, C]):
    """A function with its cache, and which of the cache's records a call's arguments mean."""

    def __init__(
        self, function: Callable[P, Any], prefix: tuple[Id, ...], key: _Key | None, cache: Callable[..., C]
    ) -> None:
        wrapper: Any = self
        update_wrapper(wrapper, function)
        self._signature = inspect.signature(function)
        self._name = getattr(function, "__qualname__", repr(function))
        self._prefix = prefix
        self._key = key
        self._cache = cache
        parameters = list(self._signature.parameters.values())
        if parameters and parameters[0].name in ("self", "cls"):
            raise TypeError(f"{self._name} is a method: have a function cached, or use a Cache in it")
        if key is None and any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
            raise TypeError(f"{self._name} takes any number of arguments: give a key")

    def key(self, *arguments: P.args, **named: P.kwargs) -> str:
        """The key under which the result of a call with these arguments is kept."""
        cache, identifier = self._place(arguments, named)
        return cache.key(identifier)

    def _place(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[C, Id]:
        """The cache, and the identifier in it."""
        *first, last = (*self._prefix, *self._parts(arguments, named))
        return self._cache(*first), last

    def _parts(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Id, ...]:
        if self._key is not None:
            made = self._key(*arguments, **named)
            return made if isinstance(made, tuple) else (made,)
        bound = self._signature.bind(*arguments, **named)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if isinstance(value, bool) or not isinstance(value, str | int | UUID):
                kind = type(value).__name__
                raise TypeError(f"the argument {name} of {self._name} is a {kind}, not a str, int or UUID: give a key")
        return tuple(bound.arguments.values())


class AsyncCached(_Cached[P, Cache[Any]], Generic[P, R]):
    """An async function whose results are kept. ``__wrapped__`` is the function itself: a call past the cache."""

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        prefix: tuple[Id, ...],
        key: _Key | None,
        cache: Callable[..., Cache[Any]],
    ) -> None:
        """``cached`` makes it."""
        if not inspect.iscoroutinefunction(function):
            raise TypeError("a plain function is cached by a view of keepstate.sync.Client")
        super().__init__(function, prefix, key, cache)
        self._function = function

    async def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """What is kept of a call with these arguments, or else what the function returns, see ``get_or_fill``.

        Raises:
            TypeError: an argument is no part of a key, and there is no function for it.
        """
        cache, identifier = self._place(arguments, named)
        found: R = await cache.get_or_fill(identifier, lambda: self._function(*arguments, **named))
        return found

    async def invalidate(self, *arguments: P.args, **named: P.kwargs) -> None:
        """Forget the result of a call with these arguments, after what it depends on has changed."""
        cache, identifier = self._place(arguments, named)
        await cache.invalidate(identifier)

    def invalidate_in(self, tx: Transaction[Any], /, *arguments: P.args, **named: P.kwargs) -> None:
        """Have the result of a call with these arguments forgotten by the transaction that changes what it depends on.

        Raises:
            ValueError: the transaction is another client's.
        """
        cache, identifier = self._place(arguments, named)
        cache.invalidate_in(tx, identifier)


class Cached(_Cached[P, SyncCache[Any]], Generic[P, R]):
    """A plain function whose results are kept. ``__wrapped__`` is the function itself: a call past the cache."""

    def __init__(
        self,
        function: Callable[P, R],
        prefix: tuple[Id, ...],
        key: _Key | None,
        cache: Callable[..., SyncCache[Any]],
    ) -> None:
        """``cached`` makes it."""
        if inspect.iscoroutinefunction(function):
            raise TypeError("an async function is cached by a view of keepstate.Client")
        super().__init__(function, prefix, key, cache)
        self._function = function

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        """What is kept of a call with these arguments, or else what the function returns, see ``get_or_fill``.

        Raises:
            TypeError: an argument is no part of a key, and there is no function for it.
        """
        cache, identifier = self._place(arguments, named)
        found: R = cache.get_or_fill(identifier, lambda: self._function(*arguments, **named))
        return found

    def invalidate(self, *arguments: P.args, **named: P.kwargs) -> None:
        """Forget the result of a call with these arguments, after what it depends on has changed."""
        cache, identifier = self._place(arguments, named)
        cache.invalidate(identifier)

    def invalidate_in(self, tx: sync.Transaction[Any], /, *arguments: P.args, **named: P.kwargs) -> None:
        """Have the result of a call with these arguments forgotten by the transaction that changes what it depends on.

        Raises:
            ValueError: the transaction is another client's.
        """
        cache, identifier = self._place(arguments, named)
        cache.invalidate_in(tx, identifier)
