"""Any number of conversations of each user."""

from __future__ import annotations

__all__ = ["Conversations"]

from datetime import timedelta
from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import passing_on, waiting, waiting_in


class Conversations:
    """``keepstate.recipes.Conversations`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *, keep: int = 500, ttl: timedelta | None = None) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Conversations``."""
        self._asynchronous = recipes.Conversations(state.asynchronous, keep=keep, ttl=ttl)

    key = passing_on(recipes.Conversations.key)
    append = waiting(recipes.Conversations.append)
    extend = waiting(recipes.Conversations.extend)
    read = waiting(recipes.Conversations.read)
    delete = waiting(recipes.Conversations.delete)
    append_in = waiting_in(recipes.Conversations.append_in)
    extend_in = waiting_in(recipes.Conversations.extend_in)
