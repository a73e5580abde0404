"""Counts of one kind."""

from __future__ import annotations

__all__ = ["Counters"]

from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import passing_on, passing_on_in, waiting
from keepstate.recipes.records import Id


class Counters:
    """``keepstate.recipes.Counters`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *prefix: Id) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Counters``."""
        self._asynchronous = recipes.Counters(state.asynchronous, *prefix)

    key = passing_on(recipes.Counters.key)
    increment = waiting(recipes.Counters.increment)
    read = waiting(recipes.Counters.read)
    read_many = waiting(recipes.Counters.read_many)
    delete = waiting(recipes.Counters.delete)
    increment_in = passing_on_in(recipes.Counters.increment_in)
