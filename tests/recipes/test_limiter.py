"""Promises 7 and 12 as a rate limiter has them."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from keepstate import State, recipes
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers

DAY = timedelta(days=1)

CLOCK_ERROR = timedelta(milliseconds=200)
"""By which a client may be wrong about the service's time, on a busy machine."""


async def test_of_64_at_once_as_many_as_the_limit_are_allowed(made: Any, one: View, other: View) -> None:
    limiters = [made(recipes.RateLimiter, view, "chat", limit=20, per=DAY) for view in (one, other)]
    told = await asyncio.gather(*(limiters[number % 2].acquire("alice") for number in range(64)))
    allowed = [each for each in told if each.allowed]
    refused = [each for each in told if not each.allowed]
    assert sorted(each.remaining for each in allowed) == list(range(20))
    assert {each.retry_after for each in allowed} == {timedelta()}
    assert {each.remaining for each in refused} == {0}
    assert all(timedelta() < each.retry_after <= 2 * DAY for each in refused)


async def test_each_identifier_has_a_limit_of_its_own(made: Any, one: View) -> None:
    limiter = made(recipes.RateLimiter, one, "chat", limit=1, per=DAY)
    for identifier in ("alice", "alice:1", "bob", 7):
        assert (await limiter.acquire(identifier)).allowed
        assert not (await limiter.acquire(identifier)).allowed
    assert (await made(recipes.RateLimiter, one, "search", limit=1, per=DAY).acquire("alice")).allowed


async def test_a_refused_call_costs_nothing(made: Any, one: View, other: View) -> None:
    limiter = made(recipes.RateLimiter, one, "chat", limit=10, per=DAY)
    assert (await limiter.acquire("alice", cost=6)).remaining == 4
    refused = await limiter.acquire("alice", cost=5)
    assert (refused.allowed, refused.remaining) == (False, 4)
    allowed = await made(recipes.RateLimiter, other, "chat", limit=10, per=DAY).acquire("alice", cost=4)
    assert (allowed.allowed, allowed.remaining) == (True, 0)


async def test_what_was_refused_is_allowed_after_a_while_and_no_earlier(made: Any, one: View) -> None:
    limiter = made(recipes.RateLimiter, one, "chat", limit=4, per=timedelta(seconds=1))
    allowed = 0
    async with asyncio.timeout(20):
        began = time.monotonic()
        while (first := await limiter.acquire("alice")).allowed:
            allowed += 1
            began = time.monotonic()
        assert allowed >= 4
        told = first
        while not told.allowed:
            await asyncio.sleep(told.retry_after.total_seconds())
            told = await limiter.acquire("alice")
    waited = timedelta(seconds=time.monotonic() - began)
    assert waited > first.retry_after - CLOCK_ERROR


async def test_what_was_counted_is_gone_after_a_while(made: Any, one: View, state: State[Any]) -> None:
    limiter = made(recipes.RateLimiter, one, "chat", limit=4, per=timedelta(seconds=1))
    before = await state.now()
    await limiter.acquire("alice")
    after = await state.now()
    windows = range(int((before - CLOCK_ERROR).timestamp()), int((after + CLOCK_ERROR).timestamp()) + 1)
    keys = [f"rate:chat:alice:{window}" for window in windows]
    assert list((await state.get_many(keys)).values()) == [1]
    async with asyncio.timeout(20):
        while await state.get_many(keys):
            await asyncio.sleep(0.05)


async def test_what_can_never_be_allowed_is_an_error(made: Any, one: View) -> None:
    limiter = made(recipes.RateLimiter, one, "chat", limit=10, per=DAY)
    for cost in (0, 11, -1):
        with pytest.raises(ValueError, match="cost must be from 1 to the limit, 10"):
            await limiter.acquire("alice", cost=cost)
