"""An outbox: messages that are sent if, and only if, the change that they tell of was made."""

from __future__ import annotations

__all__ = ["Outbox"]

from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, TypeVar

from keepstate import KeepstateError, State, Transaction
from keepstate.recipes.queue import Queue

V = TypeVar("V")


class Outbox(Generic[V]):
    """Messages that a transaction writes with what it changes, and a relay publishes afterwards: ``queue:{name}``.

    Each is published at least once, in the order in which their transactions were applied, by one relay at a time over
    all instances. Its id never changes, so that who gets it twice can tell.

    ::

        outbox = Outbox[str](state)

        async def rename(tx: Transaction[Any]) -> None:
            tx.put("user:7", {"name": "Ada"})
            outbox.add_in(tx, "user 7 is Ada now")

        await state.transaction(rename)
        await outbox.relay(publish)
    """

    def __init__(
        self,
        state: State[V],
        name: str = "outbox",
        *,
        limit: int = 1000,
        lease: timedelta = timedelta(seconds=30),
    ) -> None:
        """Keep it in this view, whose codec is that of the messages, as a ``Queue`` of this name.

        Args:
            limit: how many messages may wait; at most 10,000.
            lease: how long a relay has for one message, after which another relay publishes it again.

        Raises:
            ValueError: see ``Queue``.
        """
        self._queue: Queue[V] = Queue(state, name, limit=limit, lease=lease)

    def add_in(self, tx: Transaction[Any], *messages: V) -> list[str]:
        """Have messages published if the transaction is applied, and return their ids.

        Once in a transaction; at most 49 messages.

        Raises:
            UpdateNotApplicable: raised by the transaction, naming ``queue:{name}:size``: too many messages wait.
            EncodeError: the view's codec cannot encode one.
            ValueError: the transaction has changed this outbox already, or is another client's.
        """
        return self._queue.put_in(tx, *messages)

    async def relay(self, publish: Callable[[str, V], Awaitable[object]]) -> int:
        """Publish what waits, one message after the other, until none waits or another relay is at work.

        Args:
            publish: called with a message's id and the message. It must end well within ``lease``.

        Returns:
            How many were published.

        Raises:
            Exception: what ``publish`` raised. The message stays the first, also where the relay is cancelled.
        """
        published = 0
        while (taken := await self._queue.take(in_order=True)) is not None:
            try:
                await publish(taken.id, taken.item)
            except (Exception, CancelledError):
                with suppress(KeepstateError, RuntimeError):  # its lease ends, also where the client was closed
                    await self._queue.give_back(taken)
                raise
            published += 1
            await self._queue.done(taken)  # not if another relay has taken it: that one takes it off
        return published

    async def size(self) -> int:
        """How many messages wait."""
        return await self._queue.size()
