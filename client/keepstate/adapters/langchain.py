"""Chat history of LangChain, with and without asyncio.

::

    with Client("localhost:7400") as client:
        chat = RunnableWithMessageHistory(model, lambda session: KeepstateChatMessageHistory(client, session))
        chat.invoke("Hello", {"configurable": {"session_id": "7"}})
"""

from __future__ import annotations

__all__ = ["AsyncKeepstateChatMessageHistory", "KeepstateChatMessageHistory"]

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from keepstate import Json, State, key, sync
from keepstate._waiting import waiting
from keepstate.adapters import missing
from keepstate.operations import Append
from keepstate.recipes.json_read import JsonRead

try:
    from langchain_core.chat_history import BaseChatMessageHistory
    from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
except ModuleNotFoundError as error:
    raise missing("langchain", error) from None

_KEEP = 200

_MESSAGES = JsonRead(reading=messages_from_dict)


class AsyncKeepstateChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session, for chains that run with asyncio.

    They are one list, to which the service appends: writers at once lose nothing of each other. Besides what a method
    names it raises what the calls of ``keepstate.State`` raise.
    """

    def __init__(
        self,
        state: State[Any],
        session_id: str,
        *,
        keep: int = _KEEP,
        ttl: timedelta | None = None,
        prefix: str = "langchain",
    ) -> None:
        """Keep them in this view, whatever its codec.

        Args:
            session_id: whose messages they are.
            keep: how many are kept, the newest.
            ttl: how long the history lives after a message was added. None: for ever.
            prefix: the first part of the key.

        Raises:
            ValueError: the session or the prefix is empty, or ``keep`` is less than 1.
        """
        super().__init__()
        self._state = state.using(Json())
        self._key = key(prefix, "messages", session_id)
        self._keep = keep
        self._ttl = ttl
        self._appending([])  # raises here, rather than at each call

    async def aget_messages(self) -> list[BaseMessage]:
        """Read the messages, the newest last.

        Raises:
            DecodeError: something else is there than messages of LangChain.
        """
        return await self._state.get(self._key, codec=_MESSAGES, default=[])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages, all or none. The history's time to live begins anew.

        Raises:
            EncodeError: JSON cannot say what a message carries. Nothing was sent.
            UpdateNotApplicable: the history would be larger than a record may be, 1 MiB.
        """
        if messages:
            await self._state.update(self._appending(messages))

    async def aclear(self) -> None:
        """Delete all messages."""
        await self._state.delete(self._key)

    def _appending(self, messages: Sequence[BaseMessage]) -> Append:
        return Append(self._key, [message_to_dict(each) for each in messages], max_length=self._keep, ttl=self._ttl)

    @property
    def messages(self) -> NoReturn:  # type: ignore[override]  # LangChain's own are properties, too
        """Not without asyncio: raises NotImplementedError."""
        _refuse()

    def add_messages(self, messages: Sequence[BaseMessage]) -> NoReturn:  # noqa: ARG002 - LangChain's signature
        """Not without asyncio: raises NotImplementedError."""
        _refuse()

    def clear(self) -> NoReturn:
        """Not without asyncio: raises NotImplementedError."""
        _refuse()


class KeepstateChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session, for chains that run without asyncio, or with it.

    It is ``AsyncKeepstateChatMessageHistory`` with calls that wait; its asynchronous ones wait in a thread.
    """

    def __init__(
        self,
        state: sync.State[Any],
        session_id: str,
        *,
        keep: int = _KEEP,
        ttl: timedelta | None = None,
        prefix: str = "langchain",
    ) -> None:
        """Keep them in this view. The arguments are those of ``AsyncKeepstateChatMessageHistory``."""
        super().__init__()
        self._asynchronous = AsyncKeepstateChatMessageHistory(
            state.asynchronous, session_id, keep=keep, ttl=ttl, prefix=prefix
        )

    _read = waiting(AsyncKeepstateChatMessageHistory.aget_messages)
    add_messages = waiting(AsyncKeepstateChatMessageHistory.aadd_messages)
    clear = waiting(AsyncKeepstateChatMessageHistory.aclear)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # LangChain's own are properties, too
        """The messages, the newest last, read anew each time."""
        return self._read()


def _refuse() -> NoReturn:
    raise NotImplementedError("this history is asynchronous: use ainvoke and the like, or KeepstateChatMessageHistory")
