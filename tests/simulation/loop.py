"""An event loop on which time passes only when nothing is ready, and then at once.

Nothing outside the process can wake it, so a run depends on nothing but its own code and the seeds it was given.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["Stalled", "VirtualLoop", "run"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Stalled(Exception):
    """Everybody waits for something that no timer will bring."""


class _Handle(asyncio.Handle):
    """Made in less time than its base, and run without its detours: most of a run is this."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: Sequence[Any], loop: VirtualLoop, context: Context | None
    ) -> None:
        self._context = context or copy_context()
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class VirtualLoop(asyncio.BaseEventLoop):
    """Begins at second 0. Leaner than the loop that it is made from: nothing but callbacks and timers."""

    def __init__(self) -> None:
        super().__init__()
        self._seconds = 0.0
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()

    def time(self) -> float:
        return self._seconds

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._seconds + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _run_once(self) -> None:
        soon = self._soon
        while not soon:
            if not self._timers:
                raise Stalled
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._seconds = max(self._seconds, when)
                soon.append(timer)
        for _ in range(len(soon)):
            handle = soon.popleft()
            if not handle.cancelled():
                handle._run()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    _failure: BaseException | None = None

    def call_exception_handler(self, context: Any) -> None:
        """Nothing may go wrong unseen: it ends the run."""
        self._failure = self._failure or context.get("exception") or RuntimeError(context.get("message"))


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
