"""Promises 4, 9 and 11 as events that are processed once have them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from keepstate import DecodeError, EncodeError, KeepstateError, OutcomeUnknown, State, Text, Transaction, recipes
from keepstate.recipes import Done
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


async def count(tx: Transaction[Any]) -> str:
    """What processing an event does in most cases here."""
    tx.increment("processed")
    return "counted"


async def test_of_64_that_are_given_an_event_at_once_one_is_told_that_it_is_the_first(
    made: Any, one: View, other: View
) -> None:
    each = [made(recipes.Once, view) for view in (one, other)]
    told = await asyncio.gather(*(each[number % 2].first("7") for number in range(64)))
    assert sorted(told) == [False] * 63 + [True]
    assert await each[0].first("8") is True


async def test_a_mark_is_kept_for_its_time_to_live_under_a_documented_key(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    once = made(recipes.Once, one)
    assert await once.first("a:b") is True
    await once.run("c", count)
    for name, result in (("event-a%3Ab", None), ("event-c", "counted")):
        record = await state.get_record(name)
        assert record is not None
        assert (record.value, record.content_type) == ({"result": result}, "application/json")
        assert record.expire_time is not None
        assert timedelta(hours=23) < record.expire_time - await state.now() <= timedelta(days=1)
    short = [made(recipes.Once, view, prefix="short/", ttl=timedelta(seconds=1)) for view in (one, other)]
    assert await short[0].first(1) is True
    assert await short[1].first(1) is False
    async with asyncio.timeout(10):
        while not await short[1].first(1):
            await asyncio.sleep(0.05)


async def test_what_was_forgotten_is_processed_again(made: Any, one: View, other: View) -> None:
    once, elsewhere = made(recipes.Once, one), made(recipes.Once, other)
    assert await once.forget("7") is False
    await once.run("7", count)
    assert await elsewhere.forget("7") is True
    assert await once.run("7", count) == Done(result="counted", repeated=False)


async def test_an_event_that_is_delivered_64_times_at_once_is_processed_once_and_all_are_told_its_result(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    each = [made(recipes.Once, view) for view in (one, other)]

    async def process(tx: Transaction[Any]) -> dict[str, int]:
        number = await tx.get("processed", default=0) + 1
        tx.put("processed", number)
        return {"number": number}

    done = await asyncio.gather(*(each[number % 2].run("7", process) for number in range(64)))
    assert [each.result for each in done] == [{"number": 1}] * 64
    assert sorted(each.repeated for each in done) == [False] + [True] * 63
    assert await state.get("processed") == 1


async def test_of_many_events_none_is_lost_and_none_is_doubled(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    each = [made(recipes.Once, view) for view in (one, other)]
    deliveries = [each[number % 2].run(number // 2, count) for number in range(32)]
    done = await asyncio.gather(*deliveries)
    assert sum(not each.repeated for each in done) == 16
    assert await state.get("processed") == 16


async def test_an_event_whose_processing_fails_is_not_marked(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    async def fail(tx: Transaction[Any]) -> None:
        await count(tx)
        raise LookupError("no such account")

    async def give_what_json_cannot_say(tx: Transaction[Any]) -> object:
        await count(tx)
        return {1, 2}

    once = made(recipes.Once, one)
    with pytest.raises(LookupError, match="no such account"):
        await once.run("7", fail)
    with pytest.raises(EncodeError, match="event-7"):
        await once.run("7", give_what_json_cannot_say)
    assert await state.get("processed") is None
    assert await made(recipes.Once, other).run("7", count) == Done(result="counted", repeated=False)
    assert await state.get("processed") == 1


async def test_an_event_whose_processor_died_is_processed_by_another(
    made: Any, mortal: Mortal, other: View, state: State[Any]
) -> None:
    async def die(tx: Transaction[Any]) -> str:
        await mortal.die()
        return await count(tx)

    with pytest.raises((KeepstateError, RuntimeError), match="closed"):
        await made(recipes.Once, mortal).run("7", die)
    assert await state.get("processed") is None
    assert await made(recipes.Once, other).run("7", count) == Done(result="counted", repeated=False)
    assert await state.get("processed") == 1


async def test_where_nobody_could_tell_the_next_delivery_does(
    made: Any, mortal: Mortal, other: View, state: State[Any]
) -> None:
    async def lose_the_answer(tx: Transaction[Any]) -> str:
        mortal.network.loses = lambda number: True
        return await count(tx)

    with pytest.raises(OutcomeUnknown):
        await made(recipes.Once, mortal).run("7", lose_the_answer)
    assert mortal.network.lost == 1
    assert await made(recipes.Once, other).run("7", count) == Done(result="counted", repeated=True)
    assert await state.get("processed") == 1


async def test_lost_answers_neither_double_an_event_nor_take_it_from_who_is_first(
    made: Any, lossy: Mortal, state: State[Any]
) -> None:
    once = made(recipes.Once, lossy)
    assert await asyncio.gather(*(once.first(f"first-{number}") for number in range(16))) == [True] * 16
    done = await asyncio.gather(*(once.run(f"run-{number}", count) for number in range(16)))
    assert done == [Done(result="counted", repeated=False)] * 16
    assert await state.get("processed") == 16
    assert lossy.network.lost >= 7  # of the 16 marks alone


async def test_a_mark_that_says_no_result_counts(made: Any, one: View, state: State[Any]) -> None:
    once = made(recipes.Once, one)
    await once.first("1")
    await state.put("event-2", "seen")  # by another program
    for event in ("1", "2"):
        assert await once.run(event, count) == Done(result=None, repeated=True)
    await state.put("event-3", "seen", codec=Text())  # what is no JSON might be anything
    with pytest.raises(DecodeError, match="event-3"):
        await once.run("3", count)
    assert await state.get("processed") is None


async def test_events_are_marked_in_a_transaction_of_the_callers_whichever_its_view(
    made: Any, one: View, other: View, namespace: str
) -> None:
    once = made(recipes.Once, one)
    name = f"{namespace}-elsewhere"
    elsewhere = View(asynchronous=one.asynchronous.namespace(name), synchronous=one.synchronous.namespace(name))

    async def process_one_twice(tx: Transaction[Any]) -> list[bool]:
        return [(await once.run_in(tx, "a", count)).repeated for _ in range(2)]

    done = await made(recipes.Once, elsewhere).run("batch", process_one_twice)
    assert done == Done(result=[False, True], repeated=False)
    assert await made(recipes.Once, other).first("a") is False, "marked where the recipe's own view is"
    assert await elsewhere.asynchronous.get("processed") == 1, "written where the caller's is"


async def test_what_identifies_nothing_is_refused(made: Any, one: View) -> None:
    once = made(recipes.Once, one)
    for event, error in (("", ValueError), (None, TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            await once.first(event)
        with pytest.raises(error):
            await once.run(event, count)
    with pytest.raises(ValueError, match="prefix"):
        made(recipes.Once, one, prefix="")
