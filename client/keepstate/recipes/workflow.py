"""Workflows: what is asked for step by step, each step taken once."""

from __future__ import annotations

__all__ = ["Step", "StepTaken", "Workflow"]

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Any

from keepstate import DecodeError, Json, KeepstateError, State, Transaction, key
from keepstate.recipes.records import Id


@dataclass(frozen=True)
class Step:
    """Where a workflow is.

    Raises:
        TypeError: its name is no text.
    """

    name: str

    data: Any = None
    """What is known so far: anything that JSON can say."""

    id: str = field(default="", kw_only=True, compare=False)
    """Tells this step from every other, also from one of the same name. The workflow gives it."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):  # it would be kept, and no longer be a step when it is read
            raise TypeError(f"a step's name must be a str, not a {type(self.name).__name__}")


@dataclass(eq=False)
class StepTaken(KeepstateError):
    """The workflow is not at the step: it was taken already, or the workflow ended, expired or began anew."""

    message: str = "the workflow is not at this step"

    _: KW_ONLY

    current: Step | None = None
    """Where it is instead. None: nowhere."""


class Workflow:
    """Workflows of one kind, one at a time for each identifier, e.g. a user: under ``workflow:user:<identifier>``.

    ::

        workflow = Workflow(state)
        await workflow.begin("ada", "title")

        async def title(tx: Transaction[Any], step: Step) -> Step | None:
            return Step("description", {"title": "Buy milk"})  # None would end it

        await workflow.take("ada", at="title", function=title)
    """

    def __init__(self, state: State[Any], *prefix: Id, ttl: timedelta = timedelta(minutes=10)) -> None:
        """Keep them in this view.

        Args:
            prefix: the parts of a key before the identifier. None: ``workflow:user``.
            ttl: how long a workflow waits at a step before it is forgotten.

        Raises:
            TypeError, ValueError: a part of the prefix is none, see ``keepstate.key``.
        """
        self._state = state
        self._steps = state.using(Json())
        self._prefix = prefix or ("workflow", "user")
        self._ttl = ttl
        key(*self._prefix)  # raises here, rather than at each call

    def key(self, identifier: Id) -> str:
        """The key of a workflow.

        Raises:
            TypeError, ValueError: the identifier is none, see ``keepstate.key``.
        """
        return key(*self._prefix, identifier)

    async def current(self, identifier: Id) -> Step | None:
        """Tell where a workflow is. None: there is none.

        Raises:
            DecodeError: what is kept there is no step.
        """
        name = self.key(identifier)
        return _step(name, await self._steps.get(name))

    async def current_in(self, tx: Transaction[Any], identifier: Id) -> Step | None:
        """As ``current``, within a transaction of the caller's."""
        name = self.key(identifier)
        return _step(name, await self._steps.within(tx).get(name))

    async def begin(self, identifier: Id, step: str, data: Any = None) -> Step:
        """Begin a workflow at this step.

        Args:
            data: what is known so far: anything that JSON can say.

        Raises:
            StepTaken: one is under way already, e.g. because another began it just now.
            EncodeError: JSON cannot say the data.
            OutcomeUnknown: nobody can tell yet whether it began. ``current`` tells, or beginning again.
        """
        return await self._state.transaction(lambda tx: self.begin_in(tx, identifier, step, data))

    async def begin_in(self, tx: Transaction[Any], identifier: Id, step: str, data: Any = None) -> Step:
        """As ``begin``, within a transaction of the caller's."""
        current = await self.current_in(tx, identifier)
        if current is not None:
            raise StepTaken("a workflow is under way", current=current)
        return self._put(tx, identifier, Step(step, data))

    async def take(
        self,
        identifier: Id,
        at: str | Step,
        function: Callable[[Transaction[Any], Step], Awaitable[Step | None]],
    ) -> Step | None:
        """Take the step ``at``: run ``function`` and go where it says, together with what it writes.

        It is ``State.transaction``: the function may run more than once and in several places, but of many that take a
        step at once one does. What the function raises passes through, and the step is not taken.

        Args:
            at: the step, as ``current`` told it, or its name. By its name alone a step that leads to itself can be
                taken by each of two callers, one after the other.
            function: reads and writes by the transaction that it is given, and returns the next step. None ends the
                workflow.

        Returns:
            The next step. None: the workflow has ended.

        Raises:
            StepTaken: the workflow is not at this step; nothing was done.
            ValueError: ``at`` is a step without an ``id``.
            TypeError: the function returned something else than a step or None; nothing was done.
            EncodeError: JSON cannot say the next step's data; nothing was done.
            OutcomeUnknown: nobody can tell yet whether it was taken. Take the same ``Step`` again: it is taken once.
        """
        return await self._state.transaction(lambda tx: self.take_in(tx, identifier, at, function))

    async def take_in(
        self,
        tx: Transaction[Any],
        identifier: Id,
        at: str | Step,
        function: Callable[[Transaction[Any], Step], Awaitable[Step | None]],
    ) -> Step | None:
        """As ``take``, within a transaction of the caller's."""
        if isinstance(at, Step) and not at.id:
            raise ValueError("at has no id: give a step that a workflow has told, or a name")
        step = await self.current_in(tx, identifier)
        if step is None or not _is_at(step, at):
            raise StepTaken(current=step)
        following = await function(tx, step)
        if following is None:
            self._steps.within(tx).delete(self.key(identifier))
            return None
        if not isinstance(following, Step):
            raise TypeError(f"the function must return a Step or None, not a {type(following).__name__}")
        return self._put(tx, identifier, following)

    async def end(self, identifier: Id) -> bool:
        """End a workflow wherever it is. False: there was none."""
        return await self._state.delete(self.key(identifier))

    def _put(self, tx: Transaction[Any], identifier: Id, step: Step) -> Step:
        step = Step(step.name, step.data, id=uuid.uuid4().hex)
        kept = {"step": step.name, "data": step.data, "id": step.id}
        self._steps.within(tx).put(self.key(identifier), kept, ttl=self._ttl)
        return step


def _is_at(step: Step, at: str | Step) -> bool:
    return step.id == at.id if isinstance(at, Step) else step.name == at


def _step(name: str, value: Any) -> Step | None:
    match value:
        case None:
            return None
        case {"step": str(step), "data": data, "id": str(identity)}:
            return Step(step, data, id=identity)
    raise DecodeError(f"{name!r} holds no step of a workflow")
