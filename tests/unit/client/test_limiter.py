"""How a rate limiter weighs what was spent before, and how long it tells callers to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import Client, DecodeError
from keepstate.recipes import RateLimiter
from keepstate.recipes.limiter import wait, weight
from tests.unit.client.fake_service import FakeService

TICKS = 1000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
MINUTE = timedelta(minutes=1)


def is_allowed(earlier: int, spent: int, at: int, *, limit: int, cost: int) -> bool:
    """What `acquire` allows so many ticks after the start of a window, if nothing else is spent from then on."""
    while at >= TICKS:
        earlier, spent, at = spent, 0, at - TICKS
    return spent + cost <= limit - weight(earlier, at, TICKS)


@given(st.data(), st.integers(1, 50), st.integers(0, TICKS - 1))
def test_the_wait_ends_when_the_cost_is_allowed_and_no_earlier(data: Any, limit: int, elapsed: int) -> None:
    cost = data.draw(st.integers(1, limit))
    earlier, spent = data.draw(st.integers(0, limit)), data.draw(st.integers(0, limit))
    waits = wait(earlier, spent, limit=limit, cost=cost, elapsed=elapsed, ticks=TICKS)
    assert is_allowed(earlier, spent, elapsed + waits, limit=limit, cost=cost)
    assert waits == 0 or not is_allowed(earlier, spent, elapsed + waits - 1, limit=limit, cost=cost)


@pytest.fixture
def now(service: FakeService) -> list[float]:
    """The service's time, to be moved. A client that has been told it goes on by its own clock: make another one."""
    moved = [BEGAN]
    service.clock = lambda: moved[0]
    return moved


async def spend(address: str, times: int) -> int:
    """How many of so many calls are allowed."""
    async with Client(address) as client:
        limiter = RateLimiter(client, "chat", limit=10, per=MINUTE)
        return [(await limiter.acquire("alice")).allowed for _ in range(times)].count(True)


async def test_what_was_spent_before_counts_less_and_less(address: str, now: list[float]) -> None:
    assert await spend(address, 12) == 10
    now[0] += 59
    assert await spend(address, 1) == 0, "the window is not over"
    now[0] += 1 + 30
    assert await spend(address, 12) == 5, "half of those are more than a minute ago"
    now[0] += 90
    assert await spend(address, 12) == 10


@pytest.mark.parametrize("window", [-1, 0])
@pytest.mark.parametrize("other_value", ["five", 1.5, True])
async def test_what_is_no_number_is_told_and_neither_allowed_nor_refused(
    address: str, now: list[float], window: int, other_value: object
) -> None:
    async with Client(address) as client:
        await client.put(f"rate:chat:alice:{int(BEGAN) // 60 + window}", other_value)
        with pytest.raises(DecodeError, match="no whole number"):
            await RateLimiter(client, "chat", limit=10, per=MINUTE).acquire("alice")


async def test_bad_arguments_are_named(state: Client[Any]) -> None:
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        RateLimiter(state, "chat", limit=0, per=MINUTE)
    with pytest.raises(ValueError, match="per must be positive"):
        RateLimiter(state, "chat", limit=1, per=timedelta())
    with pytest.raises(TypeError, match="limit must be an int, not a float"):
        RateLimiter(state, "chat", limit=2.5, per=MINUTE)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="part 2 of the key is empty"):
        RateLimiter(state, "", limit=1, per=MINUTE)
