"""Events that are processed once, however often they are delivered."""

from __future__ import annotations

__all__ = ["Done", "Once"]

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from keepstate import AlreadyExists, Json, State, Transaction, key
from keepstate.recipes.records import Id

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Done(Generic[R_co]):
    """An event that has been processed."""

    result: R_co
    """What the function returned; where ``repeated``, as JSON gives it back. None for one marked by ``first``."""

    repeated: bool
    """It had been processed before. Nothing was done this time."""


class Once:
    """Marks which events have been processed, under ``event-<event>``, each for a time to live.

    ::

        once = Once(state)
        done = await once.run(event["id"], book)  # book(tx) writes by the transaction that it is given
    """

    def __init__(self, state: State[Any], *, prefix: str = "event-", ttl: timedelta = timedelta(days=1)) -> None:
        """Keep the marks in this view.

        Args:
            prefix: what the keys of marks begin with. Of several, let each end with ``:``, which an identifier is kept
                without: then no event of one can be taken for one of another.
            ttl: how long an event is remembered: longer than it may be delivered again.

        Raises:
            ValueError: the prefix is empty.
        """
        if not prefix:
            raise ValueError("the prefix is empty")
        self._state = state
        self._marks = state.using(Json())
        self._prefix = prefix
        self._ttl = ttl

    def key(self, event: Id) -> str:
        """The key of an event's mark.

        Raises:
            TypeError, ValueError: the event's identifier is none, see ``keepstate.key``.
        """
        return self._prefix + key(event)

    async def first(self, event: Id) -> bool:
        """Mark an event. True for one caller alone; the others, and all later ones, are told False.

        Who is told True and dies before the work is done has lost the event; ``run`` loses none.

        Raises:
            OutcomeUnknown: the mark may have been set, or may yet be; then nobody is told True.
        """
        try:
            await self._marks.put(self.key(event), {"result": None}, if_absent=True, ttl=self._ttl)
        except AlreadyExists:
            return False
        return True

    async def run(self, event: Id, function: Callable[[Transaction[Any]], Awaitable[R]]) -> Done[R]:
        """Run ``function`` and apply what it writes together with the event's mark, if it is not marked.

        It is ``State.transaction``: the function may run more than once and in several places, but what it writes is
        applied once. What it raises passes through, and the event is not marked.

        Args:
            function: reads and writes by the transaction that it is given, and returns something that JSON can say.

        Raises:
            EncodeError: JSON cannot say the result. Nothing was applied.
            OutcomeUnknown: nobody can tell yet whether it was applied. Run it again: it is applied once all the same.
        """
        return await self._state.transaction(lambda tx: self.run_in(tx, event, function))

    async def run_in(
        self, tx: Transaction[Any], event: Id, function: Callable[[Transaction[Any]], Awaitable[R]]
    ) -> Done[R]:
        """As ``run``, within a transaction of the caller's, which the function is given.

        Raises:
            EncodeError: JSON cannot say the result.
        """
        name, marks = self.key(event), self._marks.within(tx)
        mark = await marks.get_record(name)
        if mark is not None:
            return Done(result=_result(mark.value), repeated=True)
        result = await function(tx)
        marks.put(name, {"result": result}, ttl=self._ttl)
        return Done(result=result, repeated=False)

    async def forget(self, event: Id) -> bool:
        """Delete an event's mark, so that its next delivery counts as the first. False: there was none."""
        return await self._state.delete(self.key(event))


def _result(mark: Any) -> Any:
    """What a mark says; another program may have written it, and then it is a mark all the same."""
    return mark.get("result") if isinstance(mark, dict) else None
