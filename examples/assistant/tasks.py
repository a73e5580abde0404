"""The tasks of all users, as records of Keepstate."""

from __future__ import annotations

__all__ = ["Tasks"]

from datetime import timedelta
from typing import Any

from examples.assistant.rules import MOST_TASKS, Task
from keepstate import State, Transaction, key
from keepstate.recipes import Records, TaskCache


class Tasks:
    """A record each, ``task:<user>:<number>``; how many there are, ``task:<user>``; and the whole list in a cache."""

    def __init__(self, state: State[Any]) -> None:
        self._state = state
        self._cache: TaskCache[Any] = TaskCache(state, fill_within=timedelta(seconds=2))

    async def of(self, user: str) -> list[Task]:
        """All tasks of a user, in the order in which they were created."""

        async def read() -> list[dict[str, Any]]:
            count = await self._state.get(key("task", user), default=0)
            found, _ = await Records(self._state, "task", user).get_many(range(1, count + 1))
            return [{"number": number, **task} for number, task in found.items()]

        return [Task(**each) for each in await self._cache.get_or_fill(user, read)]

    async def is_full_in(self, tx: Transaction[Any], user: str) -> bool:
        """Whether a user has as many tasks as may be."""
        return bool(await tx.get(key("task", user), default=0) >= MOST_TASKS)

    async def create_in(self, tx: Transaction[Any], user: str, title: str, description: str) -> Task:
        """Create a task with the next number."""
        number = await tx.get(key("task", user), default=0) + 1
        tx.put(key("task", user), number)
        task = Task(number=number, title=title, description=description)
        self._put(tx, user, task)
        return task

    async def done_in(self, tx: Transaction[Any], user: str, number: int) -> Task | None:
        """Have a task done, and return it as it was. None: there is none."""
        found = await tx.get(key("task", user, number))
        if found is None:
            return None
        task = Task(number=number, **found)
        if not task.done:
            self._put(tx, user, Task(number=number, title=task.title, description=task.description, done=True))
        return task

    def _put(self, tx: Transaction[Any], user: str, task: Task) -> None:
        fields = {"title": task.title, "description": task.description, "done": task.done}
        tx.put(key("task", user, task.number), fields)
        self._cache.invalidate_in(tx, user)
