"""What the assistant understands and what it says: rules without a state of their own. No model is asked."""

from __future__ import annotations

__all__ = [
    "CANCELLED",
    "DESCRIPTION",
    "FULL",
    "MOST_TASKS",
    "NOTHING_TO_CANCEL",
    "TITLE",
    "Command",
    "Line",
    "Task",
    "count",
    "created",
    "fits",
    "greeting",
    "help_text",
    "history",
    "made_done",
    "moved_on",
    "question",
    "tasks",
    "understand",
]

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import NamedTuple

TITLE = "title"
DESCRIPTION = "description"

LONGEST = {TITLE: 100, DESCRIPTION: 500}
"""How many characters the answer to a question may have."""

MOST_TASKS = 100
"""How many a user may have, so that their list stays within what one record may hold."""

SHOWN_TASKS = 20
SHOWN_LINES = 10
SHOWN_WIDTH = 60

_HELP = """\
I understand:
  hello
  create task     I ask for its title and its description; cancel ends that
  my tasks
  done 2          task 2 is done
  how many        messages you have written
  history         what we said last
  help"""

CANCELLED = "I have forgotten that task."
NOTHING_TO_CANCEL = "There is nothing to cancel."
FULL = f"You have {MOST_TASKS} tasks, and I keep no more."

_QUESTIONS = {TITLE: "What is its title?", DESCRIPTION: "What is its description?"}


class Command(StrEnum):
    """What a user may want."""

    HELLO = auto()
    HELP = auto()
    CREATE = auto()
    CANCEL = auto()
    TASKS = auto()
    DONE = auto()
    COUNT = auto()
    HISTORY = auto()
    UNKNOWN = auto()


_PHRASES = {
    "hello": Command.HELLO,
    "hi": Command.HELLO,
    "help": Command.HELP,
    "create task": Command.CREATE,
    "cancel": Command.CANCEL,
    "my tasks": Command.TASKS,
    "how many": Command.COUNT,
    "history": Command.HISTORY,
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a user wants to have done."""

    number: int
    """Counts the user's tasks from 1."""

    title: str
    description: str
    done: bool = False


class Line(NamedTuple):
    """Something that was said."""

    role: str
    """``user`` or ``assistant``."""

    content: str


def understand(text: str) -> tuple[Command, int]:
    """What a user wants, and the number that was named, or 0."""
    words = text.strip().rstrip(".!?").casefold().split()
    if len(words) == 2 and words[0] == "done" and words[1].isascii() and words[1].isdigit() and len(words[1]) < 10:
        return Command.DONE, int(words[1])
    return _PHRASES.get(" ".join(words), Command.UNKNOWN), 0


def fits(step: str, text: str) -> bool:
    """Whether a text can be the answer to a step's question."""
    return 0 < len(text.strip()) <= LONGEST[step]


def question(step: str, *, again: bool = False) -> str:
    """What a step asks for; ``again`` where the answer did not fit."""
    return f"Please take 1 to {LONGEST[step]} characters. {_QUESTIONS[step]}" if again else _QUESTIONS[step]


def moved_on(step: str) -> str:
    """To who answers a question that is no longer asked, or does not know of the one that is."""
    return f"We are at another point by now. {_QUESTIONS[step]}" if step else "I do not ask that any more."


def greeting(user: str) -> str:
    """To a hello."""
    return f"Hello {user}. Say help to see what I understand."


def help_text(*, understood: bool) -> str:
    """What there is to say."""
    return _HELP if understood else "I do not understand that. Say help to see what I do."


def created(task: Task) -> str:
    """Of a new task."""
    return f"Task {task.number} is created: {task.title}"


def made_done(number: int, task: Task | None) -> str:
    """Of a task that is to be done, as it was found."""
    if task is None:
        return f"You have no task {number}."
    return f"Task {number} was done before: {task.title}" if task.done else f"Task {number} is done: {task.title}"


def tasks(found: Sequence[Task]) -> str:
    """A user's tasks, the newest of them if there are many."""
    if not found:
        return "You have no tasks."
    lines = [f"{task.number}. {task.title}{' (done)' if task.done else ''}" for task in found[-SHOWN_TASKS:]]
    hidden = len(found) - len(lines)
    return "\n".join([f"{hidden} more before these:"] * bool(hidden) + lines)


def count(messages: int) -> str:
    """How many messages a user has written, with the one that asks."""
    return f"You have written {messages} {'message' if messages == 1 else 'messages'}."


def history(said: Sequence[Line]) -> str:
    """What was said last, a line each."""
    if not said:
        return "We have said nothing yet."
    return "\n".join(
        f"{'you' if each.role == 'user' else 'I'}: {_shortened(each.content)}" for each in said[-SHOWN_LINES:]
    )


def _shortened(text: str) -> str:
    """The beginning of the first line. What is shown of the history becomes part of it: it must not grow by that."""
    first, *more = text.split("\n")
    return first if not more and len(first) <= SHOWN_WIDTH else first[: SHOWN_WIDTH - 4].rstrip() + " ..."
