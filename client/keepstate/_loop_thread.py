"""The event loop that does the work of all synchronous clients of this process, in a thread of its own."""

from __future__ import annotations

__all__ = ["running_loop", "wait_for"]

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future
from typing import TypeVar

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


def wait_for(future: Future[T]) -> T:
    """Wait for work that was given to the loop. What interrupts the wait, such as Ctrl-C, cancels the work."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
