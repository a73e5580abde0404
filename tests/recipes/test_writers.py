"""Promises 4, 5 and 10 as applications have them: first write, last write, and consistency chosen apart from both."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from keepstate import AlreadyExists, Conflict, Consistency, State
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers

consistencies = pytest.mark.parametrize("consistency", list(Consistency))


@consistencies
async def test_of_64_first_writes_one_wins_and_the_others_are_told_so(
    calls: Any, one: View, other: View, state: State[Any], consistency: Consistency
) -> None:
    """All have read the same version, and each wants to write the next, through either instance."""
    read = await state.put("profile:ada", {"by": None})

    async def write(number: int, view: View) -> tuple[str, bool]:
        try:
            return await calls(view).put("profile:ada", {"by": number}, if_etag=read, consistency=consistency), True
        except Conflict as conflict:
            assert conflict.etag is not None
            return conflict.etag, False

    told = await asyncio.gather(*map(write, range(64), itertools.cycle([one, other])))
    assert [won for _, won in told].count(True) == 1
    record = await state.get_record("profile:ada")
    assert record is not None
    assert {etag for etag, _ in told} == {record.etag}, "who lost is told the winner's etag"
    assert told[record.value["by"]] == (record.etag, True)


@consistencies
async def test_of_64_that_create_a_record_one_does(
    calls: Any, one: View, other: View, state: State[Any], consistency: Consistency
) -> None:
    async def create(number: int, view: View) -> bool:
        try:
            await calls(view).put("profile:ada", {"by": number}, if_absent=True, consistency=consistency)
        except AlreadyExists:
            return False
        return True

    created = await asyncio.gather(*map(create, range(64), itertools.cycle([one, other])))
    assert created.count(True) == 1
    assert await state.get("profile:ada") == {"by": created.index(True)}


@consistencies
async def test_the_last_write_stands_whatever_was_read_before(
    calls: Any, one: View, other: View, consistency: Consistency
) -> None:
    first = await calls(one).put("profile:ada", {"by": 1}, if_absent=True)
    last = await calls(other).put("profile:ada", {"by": 2}, consistency=consistency)
    record = await calls(one).get_record("profile:ada")
    assert (record.value, record.etag) == ({"by": 2}, last)
    with pytest.raises(Conflict) as refused:  # who goes on with what was read before learns of it
        await calls(one).put("profile:ada", {"by": 1}, if_etag=first, consistency=consistency)
    assert refused.value.etag == last


async def test_of_16_that_read_change_and_write_again_no_change_is_lost(
    calls: Any, one: View, other: View, state: State[Any]
) -> None:
    async def add(number: int, view: View) -> None:
        async def change(tx: Any) -> None:
            profile = await tx.get("profile:ada", default={"interests": []})
            tx.put("profile:ada", {"interests": [*profile["interests"], number]})

        await calls(view).transaction(change, tries=1000)

    await asyncio.gather(*map(add, range(16), itertools.cycle([one, other])))
    profile: Any = await state.get("profile:ada")
    assert sorted(profile["interests"]) == list(range(16))
