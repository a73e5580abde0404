"""Promises 4, 7 and 9 as a leader has them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from keepstate import State, recipes
from keepstate.recipes import LeaseLost
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

SHORT = timedelta(seconds=1)


async def test_one_leads_at_a_time_and_the_next_when_it_ends(made: Any, one: View, other: View) -> None:
    leading: list[int] = []
    tokens = []

    async def work(lease: Any) -> int:
        leading.append(lease.token)
        assert leading == [lease.token]
        await asyncio.sleep(0.02)  # so that another one, if there is any, comes between
        lease.check()
        leading.remove(lease.token)
        tokens.append(lease.token)
        return int(lease.token)

    found = await asyncio.gather(*(made(recipes.Leader, view, "collector").run(work) for view in [one, other] * 4))
    assert sorted(found) == tokens == list(range(1, 9))


async def token_of(lease: Any) -> int:
    return int(lease.token)


async def test_the_lead_of_one_that_died_ends_with_its_lease(made: Any, one: View, other: View) -> None:
    dead = await made(recipes.Lock, one, "collector", lease=SHORT).acquire()
    async with asyncio.timeout(20):
        assert await made(recipes.Leader, other, "collector").run(token_of) == dead.token + 1


async def test_one_that_loses_the_lead_stops_and_leads_again_later(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    tokens: list[int] = []

    async def work(lease: Any) -> str:
        tokens.append(lease.token)
        if len(tokens) == 2:
            return "done"
        await state.delete("lock:collector")
        while True:  # it is cancelled, or told by its lease
            lease.check()
            await asyncio.sleep(0.02)

    async with asyncio.timeout(20):
        assert await made(recipes.Leader, one, "collector", lease=SHORT).run(work) == "done"
    assert tokens == [1, 2]
    assert await made(recipes.Leader, other, "collector").run(token_of) == 3


async def test_what_the_function_raises_passes_through_and_ends_the_lead(made: Any, one: View, other: View) -> None:
    elsewhere = await made(recipes.Lock, one, "elsewhere").acquire()
    await elsewhere.release()

    async def fail(lease: Any) -> None:
        raise LookupError

    async def lose_another(lease: Any) -> None:
        elsewhere.check()

    with pytest.raises(LookupError):
        await made(recipes.Leader, one, "collector").run(fail)
    with pytest.raises(LeaseLost, match="lock:elsewhere"):
        await made(recipes.Leader, other, "collector").run(lose_another)
    assert await made(recipes.Leader, one, "collector").run(token_of) == 3


async def test_one_that_is_cancelled_lets_others_lead_at_once(one: View, other: View) -> None:
    leads, cancelled = asyncio.Event(), asyncio.Event()

    async def work(lease: recipes.Lease) -> None:
        leads.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert lease.held, "it ends before others lead"
            cancelled.set()

    leading = asyncio.ensure_future(recipes.Leader(one.asynchronous, "collector").run(work))
    await leads.wait()
    leading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leading
    assert cancelled.is_set()
    assert await recipes.Leader(other.asynchronous, "collector").run(token_of) == 2


async def test_one_that_is_killed_leads_no_more(made: Any, mortal: Mortal, other: View) -> None:
    leads = asyncio.Event()

    async def work(lease: Any) -> None:
        leads.set()
        while True:  # it is cancelled, or told by its lease
            lease.check()
            await asyncio.sleep(0.02)

    leading = asyncio.ensure_future(made(recipes.Leader, mortal, "collector", lease=SHORT).run(work))
    async with asyncio.timeout(20):
        await leads.wait()
        await mortal.die()
        assert await made(recipes.Leader, other, "collector").run(token_of) == 2
        with pytest.raises(RuntimeError, match="the client is closed"):
            await leading


async def test_an_outage_is_waited_out(made: Any, mortal: Mortal) -> None:
    mortal.network.loses = lambda number: number <= 2  # the lock is taken, and nobody is told so
    async with asyncio.timeout(20):
        assert await made(recipes.Leader, mortal, "collector", lease=SHORT).run(token_of) == 2
    assert mortal.network.lost == 2
