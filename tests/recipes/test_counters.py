"""Promises 1, 11 and 12 as counts have them."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from keepstate import DecodeError, State, UpdateNotApplicable, recipes
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


async def test_who_has_written_is_counted_and_who_has_not_is_not_found(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    messages = made(recipes.Counters, one, "count")
    for user in ["alice"] * 5 + ["bob"] * 3:
        await messages.increment(user)
    messages = made(recipes.Counters, other, "count")
    assert await messages.read("alice") == await state.get("count:alice") == 5
    assert await messages.read("charlie") is None
    assert await messages.read_many(["charlie", "alice", "bob"]) == ({"alice": 5, "bob": 3}, ["charlie"])


async def test_of_64_increments_at_once_each_counts_and_is_told_a_number_of_its_own(
    made: Any, one: View, other: View
) -> None:
    both = made(recipes.Counters, one, "count"), made(recipes.Counters, other, "count")
    told = await asyncio.gather(*(counters.increment("ada") for _, counters in zip(range(64), itertools.cycle(both))))
    assert sorted(told) == list(range(1, 65))
    assert await both[0].read("ada") == 64


async def test_what_was_added_counts_once_also_where_the_answer_was_lost(made: Any, lossy: Mortal, other: View) -> None:
    counters = made(recipes.Counters, lossy, "count")
    for user in ["alice"] * 5 + ["bob"] * 3:
        await counters.increment(user)
    assert lossy.network.lost >= 2
    found = await made(recipes.Counters, other, "count").read_many(["alice", "bob", "charlie"])
    assert found == ({"alice": 5, "bob": 3}, ["charlie"])


async def test_a_count_of_0_is_found_and_a_deleted_one_begins_anew(made: Any, one: View, state: State[Any]) -> None:
    counters = made(recipes.Counters, one, "count")
    assert await counters.increment("ada", 7) == 7
    assert await counters.increment("ada", -7) == 0
    assert await counters.read("ada") == 0
    record = await state.get_record("count:ada")
    assert record is not None
    assert record.expire_time is None
    assert await counters.delete("ada") is True
    assert await counters.delete("ada") is False
    assert await counters.increment("ada") == 1


async def test_a_transactions_increment_counts_with_all_else_that_it_writes_or_not_at_all(
    made: Any, calls: Any, one: View
) -> None:
    counters = made(recipes.Counters, one, "count")

    async def order(tx: Any) -> None:
        counters.increment_in(tx, "orders")
        tx.increment("stock", -1, initial=1, minimum=0)

    await calls(one).transaction(order)
    with pytest.raises(UpdateNotApplicable):
        await calls(one).transaction(order)
    assert await counters.read("orders") == 1


@pytest.mark.parametrize("other_value", ["five", 1.5, True, None, [1]])
async def test_what_is_no_count_is_neither_0_nor_overwritten(
    made: Any, one: View, state: State[Any], other_value: object
) -> None:
    await state.put("count:ada", other_value)
    counters = made(recipes.Counters, one, "count")
    with pytest.raises(DecodeError, match="no whole number"):
        await counters.read("ada")
    with pytest.raises(UpdateNotApplicable):
        await counters.increment("ada")
    assert await state.get("count:ada") == other_value
