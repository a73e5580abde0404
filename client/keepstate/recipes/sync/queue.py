"""A bounded queue: items are given out in the order put, and again where whoever took one dies."""

from __future__ import annotations

__all__ = ["Queue"]

from datetime import timedelta
from typing import Generic, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on_in, waiting

V = TypeVar("V")


class Queue(Generic[V]):
    """``keepstate.recipes.Queue`` with calls that wait."""

    def __init__(
        self, state: sync.State[V], name: str, *, limit: int = 1000, lease: timedelta = timedelta(seconds=30)
    ) -> None:
        """Keep it in this view. The arguments are those of ``keepstate.recipes.Queue``."""
        self._asynchronous = recipes.Queue(state.asynchronous, name, limit=limit, lease=lease)

    put = waiting(recipes.Queue[V].put)
    take = waiting(recipes.Queue[V].take)
    done = waiting(recipes.Queue[V].done)
    renew = waiting(recipes.Queue[V].renew)
    give_back = waiting(recipes.Queue[V].give_back)
    size = waiting(recipes.Queue[V].size)
    put_in = passing_on_in(recipes.Queue[V].put_in)
    done_in = passing_on_in(recipes.Queue[V].done_in)
