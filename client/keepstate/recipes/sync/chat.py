"""What a chat keeps of each user: a session, a context and a history."""

from __future__ import annotations

__all__ = ["ChatContexts", "ChatHistory", "ChatSessions"]

from datetime import timedelta
from typing import Any, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import passing_on, waiting, waiting_in
from keepstate.recipes.sync.records import Records

V = TypeVar("V")


class ChatSessions(Records[V]):
    """``keepstate.recipes.ChatSessions`` with calls that wait."""

    def __init__(self, state: sync.State[V], *, ttl: timedelta | None = timedelta(hours=1)) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.ChatSessions``."""
        self._asynchronous = recipes.ChatSessions(state.asynchronous, ttl=ttl)


class ChatContexts(Records[V]):
    """``keepstate.recipes.ChatContexts`` with calls that wait."""

    def __init__(self, state: sync.State[V], *, ttl: timedelta | None = None) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.ChatContexts``."""
        self._asynchronous = recipes.ChatContexts(state.asynchronous, ttl=ttl)


class ChatHistory:
    """``keepstate.recipes.ChatHistory`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *, keep: int = 50, ttl: timedelta | None = timedelta(days=1)) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.ChatHistory``."""
        self._asynchronous = recipes.ChatHistory(state.asynchronous, keep=keep, ttl=ttl)

    key = passing_on(recipes.ChatHistory.key)
    append = waiting(recipes.ChatHistory.append)
    extend = waiting(recipes.ChatHistory.extend)
    read = waiting(recipes.ChatHistory.read)
    clear = waiting(recipes.ChatHistory.clear)
    append_in = waiting_in(recipes.ChatHistory.append_in)
    extend_in = waiting_in(recipes.ChatHistory.extend_in)
