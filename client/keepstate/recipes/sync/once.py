"""Events that are processed once, however often they are delivered."""

from __future__ import annotations

__all__ = ["Once"]

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on, wait_with_calls, waiting
from keepstate.recipes.once import Done
from keepstate.recipes.records import Id

R = TypeVar("R")


class Once:
    """``keepstate.recipes.Once`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *, prefix: str = "event-", ttl: timedelta = timedelta(days=1)) -> None:
        """Keep the marks in this view. The arguments are those of ``keepstate.recipes.Once``."""
        self._asynchronous = recipes.Once(state.asynchronous, prefix=prefix, ttl=ttl)

    key = passing_on(recipes.Once.key)
    first = waiting(recipes.Once.first)
    forget = waiting(recipes.Once.forget)

    def run(self, event: Id, function: Callable[[sync.Transaction[Any]], R]) -> Done[R]:
        """As ``keepstate.recipes.Once.run``. The function runs in this thread."""
        return wait_with_calls(
            lambda here: self._asynchronous.run(event, lambda tx: here(function, sync.Transaction(tx)))
        )

    def run_in(self, tx: sync.Transaction[Any], event: Id, function: Callable[[sync.Transaction[Any]], R]) -> Done[R]:
        """As ``keepstate.recipes.Once.run_in``. The function runs in this thread."""
        return wait_with_calls(
            lambda here: self._asynchronous.run_in(tx.asynchronous, event, lambda _: here(function, tx))
        )
