"""The event loop that does the work of all synchronous clients of this process, in a thread of its own."""

from __future__ import annotations

__all__ = ["perform", "running_loop"]

import asyncio
import atexit
import contextvars
import os
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END_SECONDS = 5.0
"""How long the end of the interpreter waits for the loop's."""


class _LoopThread:
    """One loop for the process, since gRPC's asyncio is at its best with one, and so a fork is easily noticed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._given: deque[_Work[Any]] = deque()
        self._woken_by = 0  # the thread that has the loop begin what was given; 0: none has

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started by the first use."""
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    self._start()
        assert self._loop is not None
        if self._process != os.getpid():
            raise RuntimeError(
                "a synchronous client was used before this process was forked, which gRPC does not survive: "
                "use clients only after the fork"
            )
        if self._loop.is_closed():
            raise RuntimeError("the interpreter is ending, and has ended the work of synchronous clients")
        return self._loop

    def _start(self) -> None:
        started: Future[asyncio.AbstractEventLoop] = Future()
        # A daemon, so that a client that nobody closed keeps no process alive. The exit ends it in an orderly way.
        self._thread = threading.Thread(target=asyncio.run, args=[self._serve(started)], name="keepstate", daemon=True)
        self._thread.start()
        self._process = os.getpid()
        self._loop = started.result()

    async def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._over = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._over.wait()

    def give(self, work: _Work[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop begin this work. Threads that give some at the same time wake it together."""
        self._given.append(work)
        thread = threading.get_ident()
        if self._woken_by in (0, thread):
            self._woken_by = thread
            # A signal's handler may come in here, and wait for work of its own: it wakes the loop for both.
            loop.call_soon_threadsafe(self.begin)

    def begin(self) -> None:
        """Begin what was given, in the loop."""
        self._woken_by = 0  # first, so that who gives more from now on wakes the loop again
        while self._given:
            self._given.popleft().begin()

    def end(self) -> None:
        """End the loop, if this process has started it."""
        if self._process != os.getpid() or not (self._loop and self._thread and self._over):
            return
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_END_SECONDS)


_the_thread = _LoopThread()
# At the import, and so before any program that uses it can register an end of its own, which then comes first.
atexit.register(_the_thread.end)


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop to give work to from this thread.

    Raises:
        RuntimeError: this thread runs an event loop itself, which waiting would block; the process was forked from
            one that has used the loop; or the interpreter has ended it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _the_thread.loop()
    raise RuntimeError(
        "a synchronous call would block the event loop that runs in this thread: "
        "use keepstate.Client, or call it through asyncio.to_thread"
    )


def perform(coroutine: Coroutine[Any, Any, T]) -> T:
    """Have the loop do this, and wait for it. What interrupts the wait, such as Ctrl-C, cancels the work.

    Raises:
        RuntimeError: as ``running_loop``.
    """
    try:
        loop = running_loop()
    except RuntimeError:
        coroutine.close()
        raise
    work = _Work(coroutine)
    try:
        _the_thread.give(work, loop)
        return work.result()
    except BaseException:
        if not work.ended:
            loop.call_soon_threadsafe(_the_thread.begin)  # the loop may not have been woken yet
            loop.call_soon_threadsafe(work.cancel)
        raise


class _Work(Generic[T]):
    """What a thread has given to the loop, and waits for.

    It is what ``asyncio.run_coroutine_threadsafe`` does, without a wake-up of the loop and a condition for each.
    """

    __slots__ = ("_context", "_coroutine", "_end", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._context = contextvars.copy_context()  # of the thread: a function that gives tokens may look into it
        self._end = threading.Lock()
        self._end.acquire()
        self._task: asyncio.Task[T] | None = None

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._coroutine, context=self._context)
        self._task.add_done_callback(lambda _: self._end.release())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self) -> T:
        self._end.acquire()
        assert self._task is not None
        if self._task.cancelled():
            raise CancelledError
        return self._task.result()
