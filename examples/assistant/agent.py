"""The assistant: what a message does, as one transaction."""

from __future__ import annotations

__all__ = ["EVENTS", "LEASE", "Agent", "Event", "Message", "Said"]

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from examples.assistant import rules
from examples.assistant.rules import DESCRIPTION, TITLE, Command, Line, Task
from examples.assistant.tasks import Tasks
from keepstate import State, Transaction, key
from keepstate.recipes import ChatHistory, Counters, Once, Outbox, Step, Workflow

EVENTS = "assistant-events"
"""The outbox, and the topic under which its events are published."""

LEASE = timedelta(seconds=5)
"""How long an instance has to publish one event; where it dies another goes on after that."""

Event: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a user says."""

    user: str

    id: str
    """The user's own for this message alone: the same message, sent again, has the same."""

    text: str

    step: str | None = None
    """The step whose question it answers; empty: none. None: whichever is asked."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the assistant answers."""

    text: str

    awaiting: str = ""
    """The step whose question the user is to answer next; empty: none."""


class Agent:
    """Answers messages. Any number of instances may, of the same users at the same time.

    All that a message does and the mark that it was done are one transaction: its place in the history and the count,
    the step of the workflow, the task, the event. So whoever is killed in the middle has done nothing or all of it, and
    who is sent the message again gives the same answer.
    """

    def __init__(self, state: State[Any]) -> None:
        self._state = state
        self._once = Once(state)
        self._workflow = Workflow(state)
        self._history = ChatHistory(state)
        self._counts = Counters(state, "count")
        self._tasks = Tasks(state)
        self.outbox: Outbox[Event] = Outbox(state, EVENTS, lease=LEASE)

    async def say(self, message: Message) -> tuple[Said, bool]:
        """Answer a message.

        Returns:
            The answer, and whether it had been given before.
        """
        done = await self._once.run(key(message.user, message.id), lambda tx: self._turn(tx, message))
        return Said(**done.result), done.repeated

    async def open(self, user: str) -> tuple[list[Line], str]:
        """What was said last, and the step that waits for an answer."""
        said = await self._history.read(user)
        step = await self._workflow.current(user)
        return [Line(each.role, each.content) for each in said], step.name if step else ""

    async def _turn(self, tx: Transaction[Any], message: Message) -> dict[str, Any]:
        user = message.user
        step = await self._workflow.current_in(tx, user)
        at = step.name if step else ""
        if message.step not in (None, at):
            said = Said(text=rules.moved_on(at), awaiting=at)
        elif step is None:
            said = await self._command(tx, message)
        else:
            said = await self._answered(tx, message, step)
        self._counts.increment_in(tx, user)
        await self._history.extend_in(tx, user, [("user", message.text), ("assistant", said.text)])
        return asdict(said)

    async def _command(self, tx: Transaction[Any], message: Message) -> Said:
        """Do what a message wants that answers no question."""
        user = message.user
        command, number = rules.understand(message.text)
        match command:
            case Command.HELLO:
                text = rules.greeting(user)
            case Command.CREATE:
                return await self._begin(tx, user)
            case Command.TASKS:
                text = rules.tasks(await self._tasks.of(user))
            case Command.DONE:
                text = await self._done(tx, user, number)
            case Command.COUNT:
                text = rules.count(await tx.get(self._counts.key(user), default=0) + 1)
            case Command.HISTORY:
                said: list[Any] = await tx.get(self._history.key(user), default=[])
                text = rules.history([Line(each["role"], each["content"]) for each in said])
            case Command.CANCEL:
                text = rules.NOTHING_TO_CANCEL
            case _:
                text = rules.help_text(understood=command is Command.HELP)
        return Said(text=text)

    async def _begin(self, tx: Transaction[Any], user: str) -> Said:
        if await self._tasks.is_full_in(tx, user):
            return Said(text=rules.FULL)
        await self._workflow.begin_in(tx, user, TITLE)
        return Said(text=rules.question(TITLE), awaiting=TITLE)

    async def _answered(self, tx: Transaction[Any], message: Message, at: Step) -> Said:
        """Take the step whose question a message answers."""
        user, answer = message.user, message.text.strip()
        said = Said(text=rules.CANCELLED)

        async def take(tx: Transaction[Any], step: Step) -> Step | None:
            nonlocal said
            if rules.understand(answer)[0] is Command.CANCEL:
                return None
            if not rules.fits(step.name, answer):
                said = Said(text=rules.question(step.name, again=True), awaiting=step.name)
                return step
            if step.name == TITLE:
                said = Said(text=rules.question(DESCRIPTION), awaiting=DESCRIPTION)
                return Step(DESCRIPTION, {"title": answer})
            task = await self._tasks.create_in(tx, user, step.data["title"], answer)
            self._tell(tx, "task created", user, task)
            said = Said(text=rules.created(task))
            return None

        await self._workflow.take_in(tx, user, at, take)
        return said

    async def _done(self, tx: Transaction[Any], user: str, number: int) -> str:
        task = await self._tasks.done_in(tx, user, number)
        if task is not None and not task.done:
            self._tell(tx, "task done", user, task)
        return rules.made_done(number, task)

    def _tell(self, tx: Transaction[Any], event: str, user: str, task: Task) -> None:
        """Have others told, if the transaction is applied."""
        self.outbox.add_in(tx, {"event": event, "user": user, "number": task.number, "title": task.title})
