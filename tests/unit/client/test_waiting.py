"""Work in the loop of synchronous clients that calls functions of the thread that waits for it."""

from __future__ import annotations

import asyncio
import threading
from asyncio import run_coroutine_threadsafe
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import ContextVar
from threading import Event, Semaphore
from typing import Any

import pytest

from keepstate import _loop_thread
from keepstate._loop_thread import perform, running_loop
from keepstate._waiting import Here, wait_with_calls


def test_a_function_runs_in_the_thread_that_waits() -> None:
    async def work(here: Here) -> tuple[str, str]:
        return threading.current_thread().name, await here(lambda: threading.current_thread().name)

    loops, functions = wait_with_calls(work)
    assert functions == threading.current_thread().name != loops


def test_work_may_call_several_functions_at_once_and_each_gets_its_own_result() -> None:
    async def work(here: Here) -> list[int]:
        return await asyncio.gather(*(here(lambda number: number * 2, number) for number in range(20)))

    assert wait_with_calls(work) == list(range(0, 40, 2))


def test_a_function_may_wait_for_other_work() -> None:
    async def inner(here: Here) -> int:
        return await here(lambda: 7)

    async def outer(here: Here) -> int:
        return await here(wait_with_calls, inner) + 1

    assert wait_with_calls(outer) == 8


def test_what_a_function_raises_is_raised_in_the_work_which_may_tidy_up() -> None:
    error, seen = ValueError("no"), list[BaseException]()

    def fail() -> None:
        raise error

    async def work(here: Here) -> None:
        try:
            await here(fail)
        except ValueError as raised:
            seen.append(raised)
            raise

    with pytest.raises(ValueError, match="no") as caught:
        wait_with_calls(work)
    assert caught.value is error
    assert seen == [error]


class Interrupted(BaseException):
    """As KeyboardInterrupt is, but that pytest ends for that."""


@pytest.mark.parametrize("error", [Interrupted(), StopIteration()])
def test_what_may_not_pass_through_the_loop_cancels_the_work(error: BaseException) -> None:
    over = threading.Event()

    def fail() -> None:
        raise error

    async def work(here: Here) -> None:
        try:
            await here(fail)
        except asyncio.CancelledError:
            over.set()
            raise

    with pytest.raises(type(error)) as caught:
        wait_with_calls(work)
    assert caught.value is error
    assert over.is_set()


def test_an_asynchronous_function_is_refused() -> None:
    async def asynchronous() -> None: ...

    async def work(here: Here) -> Any:
        return await here(asynchronous)

    with pytest.raises(TypeError, match="must not be async"):
        wait_with_calls(work)


def test_work_that_is_cancelled_waits_for_no_function() -> None:
    """As it is where the client is closed in the middle: the function ends, and its result is nobody's."""
    running, go_on = threading.Event(), threading.Event()
    tasks = list[asyncio.Task[Any] | None]()

    def slow() -> int:
        running.set()
        assert go_on.wait(10)
        return 1

    async def work(here: Here) -> int:
        tasks.append(asyncio.current_task())
        return await here(slow)

    async def cancel() -> None:
        (task,) = tasks
        assert task is not None
        task.cancel()

    def end() -> None:
        assert running.wait(10)
        run_coroutine_threadsafe(cancel(), running_loop()).result(10)
        go_on.set()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(CancelledError):
        wait_with_calls(work)
    ending.join(10)


def test_threads_that_give_work_at_the_same_time_do_not_each_wake_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, blocked, free = running_loop(), Event(), Event()
    given, wakes = Semaphore(0), []
    give, wake = _loop_thread._the_thread.give, loop.call_soon_threadsafe

    def note_given(work: Any, loop: asyncio.AbstractEventLoop) -> None:
        give(work, loop)
        given.release()

    def note_wake(callback: Any, *arguments: Any, **named: Any) -> asyncio.Handle:
        wakes.append(callback)
        return wake(callback, *arguments, **named)

    async def block() -> None:
        blocked.set()
        free.wait(10)

    async def answer(number: int) -> int:
        return number

    with ThreadPoolExecutor(6) as pool:
        blocking = pool.submit(perform, block())
        assert blocked.wait(10)
        monkeypatch.setattr(_loop_thread._the_thread, "give", note_given)
        monkeypatch.setattr(loop, "call_soon_threadsafe", note_wake)
        answers = [pool.submit(perform, answer(number)) for number in range(5)]
        assert all(given.acquire(timeout=10) for _ in answers)
        free.set()
        blocking.result(10)
        assert [each.result(10) for each in answers] == [0, 1, 2, 3, 4]
    assert len(wakes) < 5  # as a rule one: two threads may see at the same time that none has woken it


def test_a_signals_handler_may_wait_for_work_whenever_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, answers = running_loop(), list[int]()
    wake = loop.call_soon_threadsafe

    async def answer(number: int) -> int:
        return number

    def handler_comes_first(callback: Any, *arguments: Any, **named: Any) -> asyncio.Handle:
        monkeypatch.setattr(loop, "call_soon_threadsafe", wake)
        answers.append(perform(answer(1)))
        return wake(callback, *arguments, **named)

    monkeypatch.setattr(loop, "call_soon_threadsafe", handler_comes_first)
    calling = threading.Thread(target=lambda: answers.append(perform(answer(2))), daemon=True)
    calling.start()
    calling.join(10)
    assert answers == [1, 2]


def test_work_runs_in_the_context_of_the_thread_that_gives_it() -> None:
    name: ContextVar[str] = ContextVar("name")

    async def its() -> str:
        return name.get()

    def give(its_own: str) -> str:
        name.set(its_own)
        return perform(its())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(give, ["one", "other"])) == ["one", "other"]
