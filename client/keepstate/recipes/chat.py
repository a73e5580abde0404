"""What a chat keeps of each user: a session, a context and a history."""

from __future__ import annotations

__all__ = ["ChatContexts", "ChatHistory", "ChatSessions"]

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from keepstate import Append, State, Transaction, key
from keepstate.recipes.json_read import JsonRead
from keepstate.recipes.messages import Message, as_entry, as_messages, said_now
from keepstate.recipes.records import Id, Records

V = TypeVar("V")


class ChatSessions(Records[V]):
    """The session of each user, under ``chat:session:<user>``."""

    def __init__(self, state: State[V], *, ttl: timedelta | None = timedelta(hours=1)) -> None:
        """Keep them in this view.

        Args:
            ttl: how long a session lives after it was put. None: for ever.
        """
        super().__init__(state, "chat", "session", ttl=ttl)


class ChatContexts(Records[V]):
    """What a chat knows of each user, under ``chat:context:<user>``."""

    def __init__(self, state: State[V], *, ttl: timedelta | None = None) -> None:
        """Keep them in this view.

        Args:
            ttl: how long a context lives after it was put. None: for ever.
        """
        super().__init__(state, "chat", "context", ttl=ttl)


class ChatHistory:
    """The newest messages of each user, under ``chat:history:<user>``.

    ::

        history = ChatHistory(state)
        await history.append("ada", "user", "hello")
        newest = await history.read("ada", last=20)
    """

    def __init__(self, state: State[Any], *, keep: int = 50, ttl: timedelta | None = timedelta(days=1)) -> None:
        """Keep them in this view.

        Args:
            keep: how many messages of a user, the newest.
            ttl: how long they live after the last of them was appended. None: for ever.

        Raises:
            ValueError: ``keep`` is less than 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._state = state
        self._keep = keep
        self._ttl = ttl

    def key(self, user: Id) -> str:
        """The key of a user's record.

        Raises:
            TypeError, ValueError: the user is no part of a key, see ``keepstate.key``.
        """
        return key("chat", "history", user)

    async def append(self, user: Id, role: str, content: str) -> Message:
        """Add a message; what is too old goes. Of two at once each is kept.

        Raises:
            UpdateNotApplicable: the messages would take more than a value may; or what is there is no list.
        """
        return (await self.extend(user, [(role, content)]))[0]

    async def extend(self, user: Id, said: Sequence[tuple[str, str]]) -> list[Message]:
        """Add messages of these roles and contents, all or none and next to each other.

        No messages: nothing is changed.

        Raises:
            UpdateNotApplicable: the messages would take more than a value may; or what is there is no list.
        """
        if messages := await said_now(self._state, said):
            await self._state.update(self._append(user, messages))
        return messages

    async def append_in(self, tx: Transaction[Any], user: Id, role: str, content: str) -> Message:
        """Have a message added by a transaction, with all else that it writes. Once in a transaction for each user."""
        return (await self.extend_in(tx, user, [(role, content)]))[0]

    async def extend_in(self, tx: Transaction[Any], user: Id, said: Sequence[tuple[str, str]]) -> list[Message]:
        """Have messages added by a transaction, with all else that it writes. Once in a transaction for each user."""
        if messages := await said_now(self._state, said):
            self._state.within(tx).update(self._append(user, messages))
        return messages

    async def read(self, user: Id, last: int = 20) -> list[Message]:
        """Read the last messages, the newest at the end. Empty: there are none.

        Raises:
            DecodeError: something else is there than messages.
            ValueError: ``last`` is less than 1.
        """
        if last < 1:
            raise ValueError(f"last must be at least 1, not {last}")
        found: list[Message] = await self._state.get(self.key(user), codec=_HISTORY, default=[])
        return found[-last:]

    async def clear(self, user: Id) -> bool:
        """Delete all messages of a user. False: there were none."""
        return await self._state.delete(self.key(user))

    def _append(self, user: Id, messages: list[Message]) -> Append:
        entries = [as_entry(message) for message in messages]
        return Append(self.key(user), entries, max_length=self._keep, ttl=self._ttl)


_HISTORY = JsonRead(reading=as_messages)
