"""Promises 1, 7 and 8 as records of one kind have them."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from keepstate import State, recipes
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers


async def test_of_100_records_those_that_are_missing_are_said_to_be(made: Any, one: View, other: View) -> None:
    users = made(recipes.Records, one, "user")
    await asyncio.gather(*(users.put(number, {"number": number}) for number in range(0, 100, 2)))
    found, missing = await made(recipes.Records, other, "user").get_many(range(100))
    assert found == {number: {"number": number} for number in range(0, 100, 2)}
    assert missing == list(range(1, 100, 2))


async def test_a_read_moves_the_expiry_where_it_slides(made: Any, one: View, state: State[Any]) -> None:
    sliding = made(recipes.Records, one, "session", ttl=timedelta(hours=1), sliding=True)
    await sliding.put("ada", 1)
    await state.touch(sliding.key("ada"), ttl=timedelta(minutes=1))
    assert await sliding.get("ada") == 1
    record = await state.get_record(sliding.key("ada"))
    assert record is not None
    assert record.expire_time is not None
    assert record.expire_time - await state.now() > timedelta(minutes=59)


async def test_a_record_ends_with_its_time_to_live(made: Any, one: View, other: View) -> None:
    short = made(recipes.Records, one, "short", ttl=timedelta(seconds=1))
    await short.put("a", [])
    async with asyncio.timeout(10):
        while (found := await made(recipes.Records, other, "short").get("a")) is not None:
            assert found == []  # may have ended before the first look at it
            await asyncio.sleep(0.05)


async def test_no_identifier_is_taken_for_another(made: Any, one: View) -> None:
    users = made(recipes.Records, one, "user")
    await users.put("a:b", "one")
    assert await made(recipes.Records, one, "user", "a").get("b") is None
    assert await users.delete("a:b") is True
    assert await users.delete("a:b") is False


async def test_100_records_come_in_less_than_half_the_time_in_one_call(made: Any, one: View) -> None:
    users = made(recipes.Records, one, "user")
    for number in range(100):
        await users.put(number, {"number": number})

    async def together() -> object:
        return (await users.get_many(range(100)))[0]

    async def one_by_one() -> object:
        return {number: await users.get(number) for number in range(100)}

    took: dict[str, list[float]] = {"together": [], "one by one": []}
    for _ in range(3):  # by turns, so that what else the machine does slows both
        for way, read in (("together", together), ("one by one", one_by_one)):
            begun = time.perf_counter()
            assert await read() == {number: {"number": number} for number in range(100)}
            took[way].append(time.perf_counter() - begun)
    assert min(took["together"]) < min(took["one by one"]) / 2, took
