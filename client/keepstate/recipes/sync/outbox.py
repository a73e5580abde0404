"""An outbox: messages that are sent if, and only if, the change that they tell of was made."""

from __future__ import annotations

__all__ = ["Outbox"]

from collections.abc import Callable
from datetime import timedelta
from typing import Generic, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on_in, wait_with_calls, waiting

V = TypeVar("V")


class Outbox(Generic[V]):
    """``keepstate.recipes.Outbox`` with calls that wait."""

    def __init__(
        self,
        state: sync.State[V],
        name: str = "outbox",
        *,
        limit: int = 1000,
        lease: timedelta = timedelta(seconds=30),
    ) -> None:
        """Keep it in this view. The arguments are those of ``keepstate.recipes.Outbox``."""
        self._asynchronous = recipes.Outbox(state.asynchronous, name, limit=limit, lease=lease)

    add_in = passing_on_in(recipes.Outbox[V].add_in)

    def relay(self, publish: Callable[[str, V], object]) -> int:
        """As ``keepstate.recipes.Outbox.relay``; ``publish`` runs in this thread."""
        return wait_with_calls(
            lambda here: self._asynchronous.relay(lambda identifier, message: here(publish, identifier, message))
        )

    size = waiting(recipes.Outbox[V].size)
