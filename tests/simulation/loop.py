"""An event loop on which time passes only when nothing is ready, and then at once.

Nothing outside the process can wake it, so a run depends on nothing but its own code and the seeds it was given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["Stalled", "VirtualLoop", "run"]

_T = TypeVar("_T")


class Stalled(Exception):
    """Everybody waits for something that no timer will bring."""


class _Selector:
    """Waits for nothing but time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stalled
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """Begins at second 0."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._selector = _Selector(self)

    def time(self) -> float:
        return self._seconds

    def pass_time(self, seconds: float) -> None:
        self._seconds += seconds

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Runs ``main`` in virtual time, and whatever it left behind is cancelled."""
    loop = VirtualLoop()
    try:
        task = loop.create_task(main)
        loop.run_until_complete(task)
        return task.result()
    finally:
        left = asyncio.all_tasks(loop)
        for each in left:
            each.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
