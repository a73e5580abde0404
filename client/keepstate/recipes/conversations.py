"""Any number of conversations of each user."""

from __future__ import annotations

__all__ = ["Conversation", "Conversations"]

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keepstate import Json, State, Transaction, key
from keepstate.recipes.json_read import JsonRead
from keepstate.recipes.messages import Message, as_entry, as_messages, as_time, said_now, time_text
from keepstate.recipes.records import Id

_TRIES = 1000
"""How often a conversation is read and written again where others write it, too. What ends it is the call's timeout."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What was said in one conversation."""

    messages: tuple[Message, ...]
    """The newest at the end."""

    updated_at: datetime
    """When the last message was appended, by the service's clock."""


class Conversations:
    """Any number of conversations of each user, under ``conversation-<user>-<conversation>``."""

    def __init__(self, state: State[Any], *, keep: int = 500, ttl: timedelta | None = None) -> None:
        """Keep them in this view.

        Args:
            keep: how many messages of a conversation, the newest.
            ttl: how long one lives after its last message. None: for ever.

        Raises:
            ValueError: ``keep`` is less than 1.
        """
        if keep < 1:
            raise ValueError(f"keep must be at least 1, not {keep}")
        self._state = state
        self._keep = keep
        self._ttl = ttl

    def key(self, user: Id, conversation: Id) -> str:
        """The key of a conversation. A ``-`` in the user is written ``%2D``, so that no two conversations share one.

        Raises:
            TypeError, ValueError: one of them is no part of a key, see ``keepstate.key``.
        """
        return f"conversation-{key(user).replace('-', '%2D')}-{key(conversation)}"

    async def append(self, user: Id, conversation: Id, role: str, content: str) -> Message:
        """Add a message; what is too old goes. Of two at once each is kept.

        Raises:
            InvalidArgument: the messages would take more than a value may.
            DecodeError: something else is there than a conversation.
            Conflict, AlreadyExists: others came between until time was up.
        """
        return (await self.extend(user, conversation, [(role, content)]))[0]

    async def extend(self, user: Id, conversation: Id, said: Sequence[tuple[str, str]]) -> list[Message]:
        """Add messages of these roles and contents, all or none and next to each other.

        No messages: nothing is changed.

        Raises:
            InvalidArgument: the messages would take more than a value may.
            DecodeError: something else is there than a conversation.
            Conflict, AlreadyExists: others came between until time was up.
        """
        return await self._state.transaction(lambda tx: self.extend_in(tx, user, conversation, said), tries=_TRIES)

    async def append_in(self, tx: Transaction[Any], user: Id, conversation: Id, role: str, content: str) -> Message:
        """Have a message added by a transaction, with all else that it writes."""
        return (await self.extend_in(tx, user, conversation, [(role, content)]))[0]

    async def extend_in(
        self, tx: Transaction[Any], user: Id, conversation: Id, said: Sequence[tuple[str, str]]
    ) -> list[Message]:
        """Have messages added by a transaction, with all else that it writes.

        Raises:
            DecodeError: something else is there than a conversation.
        """
        name, records = self.key(user, conversation), self._state.within(tx)
        if messages := await said_now(self._state, said):
            found: dict[str, Any] = await records.get(name, codec=_UNREAD_CONVERSATION, default={"messages": []})
            kept = [*found["messages"], *map(as_entry, messages)][-self._keep :]
            value = {**found, "messages": kept, "updated_at": time_text(messages[-1].timestamp)}
            records.put(name, value, codec=Json(), ttl=self._ttl)
        return messages

    async def read(self, user: Id, conversation: Id) -> Conversation | None:
        """Read a conversation. None: there is none.

        Raises:
            DecodeError: something else is there than a conversation.
        """
        return await self._state.get(self.key(user, conversation), codec=_CONVERSATION)

    async def delete(self, user: Id, conversation: Id) -> bool:
        """Delete a conversation. False: there was none."""
        return await self._state.delete(self.key(user, conversation))


def _conversation(value: Any) -> Conversation:
    if not isinstance(value, dict):
        raise TypeError("a conversation must be an object")
    return Conversation(messages=tuple(as_messages(value.get("messages"))), updated_at=as_time(value.get("updated_at")))


def _unread_conversation(value: Any) -> dict[str, Any]:
    """As it is, so that what other programs keep beside the messages stays."""
    _conversation(value)
    return dict(value)


_CONVERSATION = JsonRead(reading=_conversation)
_UNREAD_CONVERSATION = JsonRead(reading=_unread_conversation)
