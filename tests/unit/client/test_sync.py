"""The synchronous client: the same calls, from any thread, each waiting for its answer."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pydoc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, ParamSpec, assert_type

import grpc
import pytest

import keepstate
import keepstate.recipes.sync
from keepstate import (
    AlreadyExists,
    Conflict,
    Delete,
    Get,
    Increment,
    KeepstateError,
    NotFound,
    OutcomeUnknown,
    Put,
    Record,
    Text,
    Unavailable,
    Updated,
    recipes,
    sync,
)
from tests.unit.client.fake_service import FakeService, refusal

P = ParamSpec("P")

CODE = grpc.StatusCode


def in_a_thread(test: Callable[P, None]) -> Callable[P, Awaitable[None]]:
    """Runs a test beside the loop that serves it, as a program without asyncio would."""

    @functools.wraps(test)
    async def run(*arguments: P.args, **named: P.kwargs) -> None:
        async with asyncio.timeout(60):
            await asyncio.to_thread(test, *arguments, **named)

    return run


@pytest.fixture
def state(address: str) -> Iterator[sync.Client[Any]]:
    client = sync.Client(address)
    yield client
    with ThreadPoolExecutor(1) as pool:  # this thread's loop serves the client
        pool.submit(client.close).result()


def public(cls: type) -> dict[str, Any]:
    return {name: found for name, found in inspect.getmembers(cls, callable) if not name.startswith("_")}


def recipe_classes() -> list[tuple[type, type]]:
    """The recipes that are classes with calls, in both forms."""
    pairs = [(getattr(recipes, name), getattr(recipes.sync, name)) for name in recipes.sync.__all__]
    return [(theirs, ours) for theirs, ours in pairs if theirs is not ours and isinstance(ours, type)]


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [(each.name, each.kind, each.default) for each in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    ("asynchronous", "synchronous"),
    [(keepstate.State, sync.State), (keepstate.Transaction, sync.Transaction), (keepstate.Client, sync.Client)],
)
def test_the_two_clients_have_the_same_calls(asynchronous: type, synchronous: type) -> None:
    theirs, ours = public(asynchronous), public(synchronous)
    assert theirs.keys() == ours.keys()
    for name, method in theirs.items():
        assert parameters(ours[name]) == parameters(method), name
        assert not inspect.iscoroutinefunction(ours[name]), name
        assert ours[name].__doc__, name


@pytest.mark.parametrize(("asynchronous", "synchronous"), recipe_classes(), ids=lambda each: each.__name__)
def test_a_recipe_has_the_same_calls_in_both_forms(asynchronous: type, synchronous: type) -> None:
    theirs, ours = public(asynchronous), public(synchronous)
    assert theirs.keys() == ours.keys()
    for name, method in theirs.items():
        assert parameters(ours[name]) == parameters(method), name
        assert not inspect.iscoroutinefunction(ours[name]), name
        assert ours[name].__doc__, name
    if [name for name, _, _ in parameters(synchronous)] != ["asynchronous"]:  # it is what a call of a recipe returns
        assert parameters(synchronous) == parameters(asynchronous)


def test_every_recipe_has_both_forms() -> None:
    """Values that recipes take and give have one form: they are the same object in both."""
    for name in recipes.__all__:
        if asyncio_in(getattr(recipes, name)):
            assert name in recipes.sync.__all__, name
            assert getattr(recipes.sync, name) is not getattr(recipes, name), name
    assert set(recipes.sync.__all__) <= set(recipes.__all__)


def asyncio_in(found: Any) -> bool:
    return any(inspect.iscoroutinefunction(each) for each in [found, *public(found).values()])


def test_the_two_clients_are_made_alike() -> None:
    assert parameters(sync.Client) == parameters(keepstate.Client)


@in_a_thread
def test_a_record_is_written_read_and_deleted(state: sync.Client[Any]) -> None:
    etag = state.put("a", {"n": 1}, ttl=timedelta(hours=1))
    assert_type(etag, str)
    record = state.get_record("a")
    assert record is not None
    assert (record.value, record.etag) == ({"n": 1}, etag)
    assert state.touch("a", never=True).expire_time is None
    assert state.get("b", default=3) == 3
    assert state.delete("a") is True
    assert state.get("a") is None


@in_a_thread
def test_views_share_the_connection_and_keep_their_types(state: sync.Client[Any], service: FakeService) -> None:
    texts = state.namespace("chat").store("redis").using(Text())
    assert_type(texts, sync.State[str])
    texts.put("a", "hello")
    value = texts.get("a")
    assert_type(value, str | None)
    assert value == "hello"
    name = service.calls[-1][1].name
    assert (name.namespace, name.store) == ("chat", "redis")
    assert state.get("a") is None


@in_a_thread
def test_many_records_in_one_call(state: sync.Client[Any]) -> None:
    assert state.put_many({"a": 1, "b": 2}).keys() == {"a", "b"}
    assert state.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    results = state.batch([Increment("n"), Increment("n", 2)])
    assert_type(results, list[Updated[int] | KeepstateError])
    got, put, gone = state.batch([Get("a"), Put("c", 3), Delete("nobody", if_exists=True)])
    assert isinstance(got, Record)
    assert isinstance(put, str)
    assert isinstance(gone, NotFound)
    found = state.snapshot(["a", "nobody"])
    assert_type(found, dict[str, Record[Any]])
    assert found.keys() == {"a"}
    assert state.transact(puts=[Put("d", 4)], deletes=[Delete("a")]).deletes == (True,)


@in_a_thread
def test_values_are_changed_at_the_service(state: sync.Client[Any]) -> None:
    assert state.increment("n", 2, initial=5) == 7
    assert state.append("log", ["a"], max_length=2) == ["a"]
    assert state.merge_patch("user", {"name": "Ada"}) == {"name": "Ada"}
    updated = state.update(Increment("n"))
    assert_type(updated, Updated[int])
    assert updated.record is not None
    assert updated.record.value == 8


@in_a_thread
def test_stores_are_listed(state: sync.Client[Any]) -> None:
    assert [info.name for info in state.stores()] == ["memory", "redis"]
    assert state.store("redis").store_info().name == "redis"
    assert not state.store("redis").probe().satisfied


@in_a_thread
def test_errors_are_those_of_the_asynchronous_client(state: sync.Client[Any], service: FakeService) -> None:
    etag = state.put("a", 1, if_absent=True)
    with pytest.raises(AlreadyExists) as taken:
        state.put("a", 2, if_absent=True)
    assert taken.value.etag == etag
    with pytest.raises(Conflict):
        state.put("a", 2, if_etag="another")
    with pytest.raises(ValueError, match="only one of if_absent, if_exists"):
        state.put("a", 2, if_absent=True, if_exists=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'ttll'"):
        state.put("a", 2, ttll=1)  # type: ignore[call-arg]
    service.script.extend([refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE")] * 100)
    with pytest.raises(Unavailable):
        state.get("a", timeout=timedelta(milliseconds=50))


@in_a_thread
def test_a_transaction_runs_in_the_callers_thread_and_returns_what_its_function_does(state: sync.Client[Any]) -> None:
    state.put("one", 100)

    def move(tx: sync.Transaction[Any]) -> tuple[int, threading.Thread]:
        left = tx.get("one", default=0) - 30
        tx.put("one", left)
        assert tx.get("one") == left, "it reads its own write"
        assert tx.get_record("other") is None
        tx.put("other", 30)
        tx.namespace("audit").append("moves", [30], max_length=10)
        tx.using(Text()).put("note", "moved")
        tx.store("redis").increment("moves")
        state.namespace("marks").within(tx).put("moved", True)
        tx.merge_patch("about", {"by": "Ada"})
        tx.update(Increment("count"))
        tx.delete("nobody")
        return left, threading.current_thread()

    left, thread = state.transaction(move)
    assert_type(left, int)
    assert (left, thread) == (70, threading.current_thread())
    assert {name: record.value for name, record in state.snapshot(["one", "other"]).items()} == {"one": 70, "other": 30}
    assert state.namespace("audit").get("moves") == [30]
    assert state.namespace("marks").get("moved") is True
    assert state.using(Text()).get("note") == "moved"


@in_a_thread
def test_a_transaction_that_others_overtake_runs_again(state: sync.Client[Any], pauses: list[float]) -> None:
    state.put("n", 0)
    seen = []

    def add(tx: sync.Transaction[Any]) -> None:
        seen.append(number := tx.get("n", default=0))
        if len(seen) < 3:
            state.put("n", number + 10)  # somebody else; and other calls may be made meanwhile
        tx.put("n", number + 1)

    state.transaction(add)
    assert seen == [0, 10, 20]
    assert state.get("n") == 21
    with pytest.raises(Conflict):
        state.transaction(lambda tx: (tx.get("n"), state.increment("n"), tx.put("n", 0)), tries=2)
    assert state.get("n") == 23
    with pytest.raises(ValueError, match="tries must be at least 1"):
        state.transaction(add, tries=0)


class Interrupted(BaseException):
    """As KeyboardInterrupt is, but that pytest ends for that."""


@pytest.mark.parametrize("error", [ValueError("not enough"), StopIteration(), Interrupted()])
async def test_what_a_transactions_function_raises_passes_through_and_nothing_is_applied(
    state: sync.Client[Any], service: FakeService, error: BaseException
) -> None:
    def fail(tx: sync.Transaction[Any]) -> None:
        tx.put("a", tx.get("a", default=1))
        raise error

    def story() -> None:
        with pytest.raises(type(error)) as caught:
            state.transaction(fail)
        assert caught.value is error
        assert state.get("a") is None, "the loop goes on"

    # Not the exception's own way out of a thread: asyncio takes no StopIteration either.
    await asyncio.to_thread(story)
    assert "Transact" not in service.names


@in_a_thread
def test_an_async_function_is_refused_rather_than_taken_for_one_that_writes_nothing(
    state: sync.Client[Any], service: FakeService
) -> None:
    async def write(tx: sync.Transaction[Any]) -> None:
        tx.put("a", 1)

    with pytest.raises(TypeError, match="must not be async"):
        _ = state.transaction(write)
    assert service.calls == []


@in_a_thread
def test_many_threads_share_a_client(state: sync.Client[Any]) -> None:
    def add(_: int) -> None:
        state.increment("n")
        state.transaction(lambda tx: tx.put("m", tx.get("m", default=0) + 1), tries=1000)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(64)))
    assert state.get("n") == 64
    assert state.get("m") == 64


async def test_a_call_that_would_block_a_running_loop_is_refused(state: sync.Client[Any], service: FakeService) -> None:
    with pytest.raises(RuntimeError, match=r"use keepstate\.Client"):
        state.get("a")
    with pytest.raises(RuntimeError, match=r"use keepstate\.Client"):
        state.transaction(lambda tx: tx.put("a", 1))
    assert service.calls == []


async def test_both_clients_work_in_one_process(address: str, state: sync.Client[Any]) -> None:
    async with keepstate.Client(address) as other:
        in_threads = [asyncio.to_thread(state.increment, "n") for _ in range(50)]
        await asyncio.gather(*(other.increment("n") for _ in range(50)), *in_threads)
        assert await other.get("n") == 100


@in_a_thread
def test_a_closed_client_refuses_calls_and_others_go_on(address: str) -> None:
    with sync.Client(address) as state, sync.Client(address) as other:
        state.put("a", 1)
        state.close()
        with pytest.raises(RuntimeError, match="the client is closed"):
            state.get("a")
        assert other.get("a") == 1
    sync.Client(address).close()


async def test_close_cuts_short_what_other_threads_wait_for(state: sync.Client[Any], hanging: asyncio.Event) -> None:
    waiting = asyncio.create_task(asyncio.to_thread(state.put, "a", 1))
    await hanging.wait()
    began = time.monotonic()
    await asyncio.to_thread(state.close)
    with pytest.raises(OutcomeUnknown):
        await waiting
    assert time.monotonic() - began < 5


def test_help_shows_arguments_and_what_is_raised() -> None:
    shown = pydoc.plain(pydoc.render_doc(sync.State))
    assert str(inspect.signature(public(sync.State)["put"])).startswith("(self, key: 'str', value: 'V', *, codec:")
    assert "value: 'V'" in shown
    assert "AlreadyExists: ``if_absent``, and there is a record" in shown
