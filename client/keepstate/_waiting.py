"""How synchronous classes are made of asynchronous ones: each keeps its asynchronous twin as ``_asynchronous``."""

from __future__ import annotations

__all__ = ["Here", "passing_on", "passing_on_in", "wait_with_calls", "waiting", "waiting_in"]

import asyncio
import functools
from asyncio import run_coroutine_threadsafe
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from keepstate._loop_thread import perform, running_loop

if TYPE_CHECKING:  # the synchronous client is made by this module
    from keepstate import sync, transaction

R = TypeVar("R")
S = TypeVar("S")
P = ParamSpec("P")

_TIDYING_SECONDS = 1.0
"""How long an interrupt waits for the work that it cancels to release what it holds: a lock, or a cache's marker."""


def waiting(method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """A method that does what an asynchronous one does, and waits for it."""

    @functools.wraps(method)
    def call(self: Any, /, *arguments: P.args, **named: P.kwargs) -> R:
        return perform(method(self._asynchronous, *arguments, **named))

    return call


def passing_on(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method that does what one does that needs no waiting."""

    @functools.wraps(method)
    def call(self: Any, /, *arguments: P.args, **named: P.kwargs) -> R:
        return method(self._asynchronous, *arguments, **named)

    return call


def waiting_in(
    method: Callable[Concatenate[S, transaction.Transaction[Any], P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, sync.Transaction[Any], P], R]:
    """A method that does within a synchronous transaction what an asynchronous one does, and waits for it."""

    @functools.wraps(method)
    def call(self: Any, /, tx: sync.Transaction[Any], *arguments: P.args, **named: P.kwargs) -> R:
        return wait_with_calls(lambda _: method(self._asynchronous, tx.asynchronous, *arguments, **named))

    return call  # type: ignore[return-value]  # more than it says: tx may also be given by name


def passing_on_in(
    method: Callable[Concatenate[S, transaction.Transaction[Any], P], R],
) -> Callable[Concatenate[Any, sync.Transaction[Any], P], R]:
    """A method that does within a synchronous transaction what one does that needs no waiting."""

    @functools.wraps(method)
    def call(self: Any, /, tx: sync.Transaction[Any], *arguments: P.args, **named: P.kwargs) -> R:
        return method(self._asynchronous, tx.asynchronous, *arguments, **named)

    return call  # type: ignore[return-value]  # more than it says: tx may also be given by name


class Here(Protocol):
    """Calls a function in the thread that waits, from within the loop; raises what the function raises."""

    async def __call__(self, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
        """The function's result."""
        ...


def wait_with_calls(work: Callable[[Here], Coroutine[Any, Any, R]]) -> R:
    """Wait for work in the loop that calls functions of this thread's meanwhile, one at a time.

    What interrupts the wait or such a function, such as Ctrl-C, cancels the work. It is raised when the work has ended,
    so that a client that is closed next does not cut short what the work does last, or after a second.
    """
    calls: SimpleQueue[_Call | None] = SimpleQueue()
    ended = Event()

    async def here(function: Callable[P, Any], /, *arguments: P.args, **named: P.kwargs) -> Any:
        call = _Call(lambda: function(*arguments, **named))
        calls.put(call)
        return await call.done

    async def work_to_its_end() -> R:
        try:
            return await work(here)
        finally:
            ended.set()

    loop = running_loop()
    outcome = run_coroutine_threadsafe(work_to_its_end(), loop)
    outcome.add_done_callback(lambda _: calls.put(None))
    try:
        while (call := calls.get()) is not None:
            loop.call_soon_threadsafe(call.settle, *_perform(call.function))
    except BaseException:
        outcome.cancel()
        ended.wait(_TIDYING_SECONDS)
        raise
    return outcome.result()


class _Call:
    """A function that the loop wants called, and where it waits for the end."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, result: Any, error: Exception | None) -> None:
        if self.done.done():  # it is where the client was closed meanwhile
            return
        if error is None:
            self.done.set_result(result)
        else:
            self.done.set_exception(error)


def _perform(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        result = function()
    except StopIteration:  # no future takes one: it ends the work as an interrupt does
        raise
    except Exception as error:  # noqa: BLE001 - raised where the function is called
        return None, error
    if asyncio.iscoroutine(result):  # nothing of it has run: it would count as done
        result.close()
        return None, TypeError("a function given to a synchronous call must not be async")
    return result, None
