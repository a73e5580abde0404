"""Any number of conversations of each user."""

from __future__ import annotations

__all__ = ["Conversations"]

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import passing_on, wait_with_calls, waiting
from keepstate.recipes.messages import Message
from keepstate.recipes.records import Id


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

    def append_in(self, tx: sync.Transaction[Any], user: Id, conversation: Id, role: str, content: str) -> Message:
        """Have a message added by a transaction, with all else that it writes."""
        return self.extend_in(tx, user, conversation, [(role, content)])[0]

    def extend_in(
        self, tx: sync.Transaction[Any], user: Id, conversation: Id, said: Sequence[tuple[str, str]]
    ) -> list[Message]:
        """Have messages added by a transaction, with all else that it writes.

        Raises:
            DecodeError: something else is there than a conversation.
        """
        return wait_with_calls(lambda _: self._asynchronous.extend_in(tx.asynchronous, user, conversation, said))
