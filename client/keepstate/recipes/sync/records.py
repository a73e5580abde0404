"""Records of one kind."""

from __future__ import annotations

__all__ = ["Records"]

from datetime import timedelta
from typing import Generic, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on, waiting
from keepstate.recipes.records import Id

V = TypeVar("V")


class Records(Generic[V]):
    """``keepstate.recipes.Records`` with calls that wait."""

    def __init__(self, state: sync.State[V], *prefix: Id, ttl: timedelta | None = None, sliding: bool = False) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Records``."""
        self._asynchronous = recipes.Records(state.asynchronous, *prefix, ttl=ttl, sliding=sliding)

    key = passing_on(recipes.Records[V].key)
    get = waiting(recipes.Records[V].get)
    get_many = waiting(recipes.Records[V].get_many)
    put = waiting(recipes.Records[V].put)
    delete = waiting(recipes.Records[V].delete)
