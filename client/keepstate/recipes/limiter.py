"""How often something may be done."""

from __future__ import annotations

__all__ = ["Allowance", "RateLimiter"]

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keepstate import Increment, State, UpdateNotApplicable, key
from keepstate.recipes.json_read import WHOLE_NUMBERS
from keepstate.recipes.lengths import must_be_positive
from keepstate.recipes.records import Id

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Whether something may be done now."""

    allowed: bool

    remaining: int
    """What may be spent yet, at once."""

    retry_after: timedelta
    """How long to wait before the same may be allowed, if nobody else spends anything. Nothing where it is allowed."""


class RateLimiter:
    """At most so many calls, or whatever else is spent, in a time: for each user, address or customer by itself.

    ::

        limiter = RateLimiter(state, "chat", limit=20, per=timedelta(minutes=1))
        allowance = await limiter.acquire("alice")
        if not allowance.allowed:
            raise TooManyRequests(retry_after=allowance.retry_after)

    Time is cut into windows of ``per``. What was spent in the window before counts by the part of it that is less than
    ``per`` ago.
    """

    def __init__(self, state: State[Any], name: Id, *, limit: int, per: timedelta) -> None:
        """Count in this view.

        Args:
            limit: what may be spent in ``per``.

        Raises:
            TypeError, ValueError: the name is no part of a key, ``limit`` is no int or less than 1, or ``per`` is no
                positive timedelta.
        """
        if not isinstance(limit, int):
            raise TypeError(f"limit must be an int, not a {type(limit).__name__}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        must_be_positive(per=per)
        key("rate", name)  # raises here, rather than at each call
        self._state = state.using(WHOLE_NUMBERS)
        self._name = name
        self._limit = limit
        self._per = per

    async def acquire(self, identifier: Id, cost: int = 1) -> Allowance:
        """Spend ``cost``, if that is allowed. Otherwise nothing is spent.

        Raises:
            TypeError, ValueError: the identifier is no part of a key, or ``cost`` is less than 1 or more than the
                limit.
            DecodeError: something else is counted there than whole numbers.
        """
        if not 1 <= cost <= self._limit:
            raise ValueError(f"cost must be from 1 to the limit, {self._limit}, not {cost}")
        ticks = self._per // _TICK
        window, elapsed = divmod((await self._state.now() - _EPOCH) // _TICK, ticks)
        earlier = await self._state.get(self._key(identifier, window - 1), default=0)
        most = self._limit - weight(earlier, elapsed, ticks)
        spend = Increment(self._key(identifier, window), cost, maximum=most, ttl=2 * self._per)
        try:
            spent = (await self._state.update(spend)).record
        except UpdateNotApplicable:
            spent_before = await self._state.get(spend.key, default=0)
            ticks_to_wait = wait(earlier, spent_before, limit=self._limit, cost=cost, elapsed=elapsed, ticks=ticks)
            return Allowance(allowed=False, remaining=max(0, most - spent_before), retry_after=ticks_to_wait * _TICK)
        remaining = max(0, most - spent.value) if spent else 0  # it is gone where the answer came very late
        return Allowance(allowed=True, remaining=remaining, retry_after=timedelta())

    def _key(self, identifier: Id, window: int) -> str:
        return key("rate", self._name, identifier, window)


def weight(spent: int, elapsed: int, ticks: int) -> int:
    """How much of what was spent in one window counts when so much of the next has passed, rounded up."""
    return -(-spent * (ticks - elapsed) // ticks)


def wait(earlier: int, spent: int, *, limit: int, cost: int, elapsed: int, ticks: int) -> int:
    """How many ticks from ``elapsed`` on ``cost`` will be allowed."""
    free = limit - spent - cost
    if free >= 0:
        return max(0, _fades(earlier, free, ticks) - elapsed)
    return ticks - elapsed + _fades(spent, limit - cost, ticks)


def _fades(spent: int, to: int, ticks: int) -> int:
    """How many ticks into the next window as little as ``to`` of what was spent counts."""
    return max(0, -(-(spent - to) * ticks // spent)) if spent > to else 0
