"""Promises 3, 4, 9 and 12 as a queue has them."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate import (
    Bytes,
    Conflict,
    DecodeError,
    InvalidArgument,
    OutcomeUnknown,
    State,
    UpdateNotApplicable,
    recipes,
)
from keepstate.recipes import QueueFull, Taken
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

SHORT = timedelta(seconds=1)
MEBIBYTE = 1024 * 1024


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is one, of asking again and again."""
    async with asyncio.timeout(30):
        while (answer := await ask()) is None:
            await asyncio.sleep(0.05)
        return answer


async def until_after(moment: float) -> None:
    """Until that moment of the machine's clock is over."""

    async def over() -> bool | None:
        return time.monotonic() > moment + 0.1 or None

    await until(over)


def short(made: Any, view: View) -> Any:
    """The queue as somebody takes from it whose leases end soon."""
    return made(recipes.Queue, view, "jobs", lease=SHORT)


async def test_items_come_in_the_order_put_and_each_to_one_taker(made: Any, one: View, other: View) -> None:
    jobs, theirs = made(recipes.Queue, one, "jobs"), made(recipes.Queue, other, "jobs")
    ids = [await (jobs, theirs)[number % 2].put({"number": number}) for number in range(12)]
    assert await jobs.size() == 12
    taken = [await (theirs, jobs)[number % 2].take() for number in range(12)]
    assert [each.item for each in taken] == [{"number": number} for number in range(12)]
    assert [each.id for each in taken] == ids
    assert await jobs.take() is None
    assert all([await jobs.done(each) for each in taken])
    assert await theirs.size() == 0


async def test_nothing_but_an_empty_queue_is_left(made: Any, one: View, state: State[Any]) -> None:
    jobs = made(recipes.Queue, one, "jobs")
    name = await jobs.put(None)
    kept = ["queue:jobs", "queue:jobs:size", f"queue:jobs:item:{name}", f"queue:jobs:lease:{name}"]
    assert await state.get_many(kept) == dict(zip(kept, [{name: True}, 1, None, {"until": None}], strict=True))
    taken = await jobs.take()
    assert taken.item is None
    assert await jobs.done(taken)
    assert await state.get_many(kept) == {"queue:jobs": {}, "queue:jobs:size": 0}


async def test_of_64_takers_none_gets_what_another_has(made: Any, one: View, other: View) -> None:
    queues = [made(recipes.Queue, view, "jobs") for view in (one, other)]
    for number in range(10):
        await queues[0].put(number)
    taken = await asyncio.gather(*(queues[number % 2].take() for number in range(64)))
    assert sorted(each.item for each in taken if each is not None) == list(range(10))


async def test_of_32_producers_no_more_get_in_than_there_is_room_for(made: Any, one: View, other: View) -> None:
    queues = [made(recipes.Queue, view, "jobs", limit=20) for view in (one, other)]
    results = await asyncio.gather(*(queues[number % 2].put(number) for number in range(32)), return_exceptions=True)
    refused = [each for each in results if not isinstance(each, str)]
    assert len(refused) == 12
    assert all(isinstance(each, QueueFull) for each in refused), refused
    assert str(refused[0]) == "the queue 'jobs' holds 20 items"
    assert await queues[0].size() == 20
    taken = [await queues[0].take() for _ in range(21)]
    assert {each.id for each in taken[:20]} == {each for each in results if isinstance(each, str)}
    assert taken[20] is None
    assert await queues[1].done(taken[0])
    await queues[0].put("there is room again")


async def test_what_a_dead_taker_had_is_given_to_another_before_what_came_later(
    made: Any, one: View, other: View
) -> None:
    jobs, dying, theirs = made(recipes.Queue, one, "jobs"), short(made, one), made(recipes.Queue, other, "jobs")
    for item in "abc":
        await jobs.put(item)
    assert (await jobs.take()).item == "a"
    began = time.monotonic()
    dead = await dying.take()
    assert dead.item == "b"

    async def b_again() -> Taken[str] | None:
        taken: Taken[str] = await theirs.take()
        if taken.item == "b":
            return taken
        assert taken.item == "c"
        assert await theirs.give_back(taken)
        return None

    again = await until(b_again)
    assert time.monotonic() - began > SHORT.total_seconds() - 0.1
    assert again.id == dead.id
    assert await dying.done(dead) is False, "another has it"
    assert await theirs.done(again) is True
    assert await dying.done(dead) is False, "it is off the queue"
    assert await theirs.done(again) is False
    assert await jobs.size() == 2


async def test_where_answers_are_lost_nothing_else_is(made: Any, one: View, mortal: Mortal) -> None:
    jobs, unheard = (short(made, view) for view in (one, mortal))
    assert await unheard.take() is None

    async def losing(call: int, of: Awaitable[Any]) -> None:
        lost = mortal.network.calls + call
        mortal.network.loses = lambda number: number == lost
        with pytest.raises(OutcomeUnknown):
            await of

    await losing(1, unheard.put("a"))
    assert await jobs.size() == 1
    began = time.monotonic()
    await losing(3, unheard.take())  # of the order, the leases, and what takes the item
    taken = await until(unheard.take)
    assert time.monotonic() - began > SHORT.total_seconds() - 0.1, "nobody has it, until the lease ends"
    assert taken.item == "a"
    await losing(1, unheard.done(taken))
    assert await jobs.size() == 0
    assert await unheard.done(taken) is False
    assert mortal.network.lost == 3


async def test_who_is_late_is_done_all_the_same_if_nobody_else_took_the_item(made: Any, one: View) -> None:
    jobs = short(made, one)
    await jobs.put("a")
    began = time.monotonic()
    late = await jobs.take()
    await until_after(began + SHORT.total_seconds())
    assert await jobs.done(late) is True
    assert await jobs.size() == 0


async def test_a_lease_that_is_renewed_does_not_end(made: Any, one: View, other: View) -> None:
    jobs, dying, theirs = made(recipes.Queue, one, "jobs"), short(made, one), made(recipes.Queue, other, "jobs")
    await jobs.put("a")
    taken = await dying.take()
    began = time.monotonic()
    renewed = await jobs.renew(taken)
    assert (renewed.id, renewed.item) == (taken.id, "a")
    await until_after(began + SHORT.total_seconds())
    assert await theirs.take() is None
    assert await jobs.done(taken) is False, "it is renewed"
    assert await jobs.done(renewed) is True
    await jobs.put("b")
    taken = await dying.take()
    assert (await until(theirs.take)).id == taken.id
    assert await dying.renew(taken) is None


async def test_what_is_given_back_is_the_first_again(made: Any, one: View, other: View) -> None:
    jobs, theirs = made(recipes.Queue, one, "jobs"), made(recipes.Queue, other, "jobs")
    for item in "ab":
        await jobs.put(item)
    taken = await jobs.take()
    assert await theirs.take(in_order=True) is None, "another has the first"
    assert await jobs.give_back(taken) is True
    assert await jobs.give_back(taken) is False
    assert await jobs.done(taken) is False
    again = await theirs.take(in_order=True)
    assert (again.item, again.id) == ("a", taken.id)
    assert await theirs.done(again)
    assert (await jobs.take(in_order=True)).item == "b"


async def test_what_is_put_in_a_transaction_is_there_with_the_rest_of_it_or_not_at_all(
    made: Any, calls: Any, one: View, state: State[Any]
) -> None:
    jobs = made(recipes.Queue, one, "jobs", limit=3)
    view = calls(one)

    async def order(tx: Any) -> list[str]:
        tx.put("order", 1)
        return list(jobs.put_in(tx, "a", "b"))

    async def fail(tx: Any) -> None:
        await order(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await view.transaction(fail)
    assert (await jobs.size(), await state.get("order")) == (0, None)
    ids = await view.transaction(order)
    assert [(each.id, each.item) for each in [await jobs.take(), await jobs.take()]] == [(ids[0], "a"), (ids[1], "b")]
    await state.delete("order")
    with pytest.raises(UpdateNotApplicable) as full:
        await view.transaction(order)
    assert full.value.name is not None
    assert full.value.name.key == "queue:jobs:size"
    assert (await jobs.size(), await state.get("order")) == (2, None)
    assert await jobs.take() is None


async def test_what_the_work_writes_with_its_end_is_written_once(
    made: Any, calls: Any, one: View, other: View, state: State[Any]
) -> None:
    jobs, theirs = short(made, one), made(recipes.Queue, other, "jobs")
    await jobs.put("a")

    def work(view: View, queue: Any, taken: Taken[str]) -> Callable[[Any], Awaitable[None]]:
        following = made(recipes.Queue, view, "what follows")

        async def write(tx: Any) -> None:
            tx.increment("worked")
            following.put_in(tx, f"after {taken.item}")
            queue.done_in(tx, taken)

        return write

    late = await jobs.take()
    again = await until(theirs.take)
    with pytest.raises(Conflict) as taken:
        await calls(one).transaction(work(one, jobs, late))
    assert taken.value.name is not None
    assert taken.value.name.key == f"queue:jobs:lease:{late.id}"
    await calls(other).transaction(work(other, theirs, again))
    with pytest.raises(Conflict):
        await calls(one).transaction(work(one, jobs, late))
    assert await state.get("worked") == 1
    assert await jobs.size() == 0
    followed = made(recipes.Queue, other, "what follows")
    assert [await followed.size(), (await followed.take()).item] == [1, "after a"]


async def test_items_may_be_as_long_as_a_transaction_and_longer_ones_change_nothing(made: Any, one: View) -> None:
    jobs = made(recipes.Queue, one, "jobs")
    long = "x" * (MEBIBYTE - 1024)
    for _ in range(3):
        await jobs.put(long)
    with pytest.raises(InvalidArgument, match="at most 1048576 bytes"):
        await jobs.put("x" * MEBIBYTE)
    assert await jobs.size() == 3
    for _ in range(3):
        taken = await jobs.take()
        assert taken.item == long
        assert await jobs.done(taken)
    assert await jobs.take() is None


async def test_a_queue_of_1000_items_is_filled_and_emptied_in_order(made: Any, one: View, other: View) -> None:
    jobs, theirs = made(recipes.Queue, one, "jobs"), made(recipes.Queue, other, "jobs")
    view = one.asynchronous
    filler: recipes.Queue[int] = recipes.Queue(view, "jobs")
    for begin in range(0, 1000, 40):

        async def fill(tx: Any, begin: int = begin) -> None:
            filler.put_in(tx, *range(begin, begin + 40))

        await view.transaction(fill)
    with pytest.raises(QueueFull):
        await jobs.put(1000)
    taken = [await (jobs, theirs)[number % 2].take() for number in range(15)]
    assert [each.item for each in taken] == list(range(15))
    assert all(await asyncio.gather(*(theirs.done(each) for each in taken)))
    assert await jobs.size() == 985
    assert (await jobs.take()).item == 15


async def test_an_item_that_cannot_be_decoded_comes_again_until_a_queue_of_bytes_takes_it_off(
    made: Any, one: View, other: View
) -> None:
    of_bytes = View(asynchronous=other.asynchronous.using(Bytes()), synchronous=other.synchronous.using(Bytes()))
    jobs, raw = short(made, one), made(recipes.Queue, of_bytes, "jobs")
    await raw.put(b"{")
    await jobs.put("behind it")
    for _ in range(2):
        with pytest.raises(DecodeError):
            await until(lambda: jobs.take(in_order=True))
    taken = await until(lambda: raw.take(in_order=True))
    assert taken.item == b"{"
    assert await raw.done(taken)
    assert (await jobs.take(in_order=True)).item == "behind it"


class Mill:
    """Producers and takers at one queue, some of whom die, and what became of each item."""

    def __init__(self, queues: list[Any]) -> None:
        self.queues = queues
        self.put: set[tuple[int, int]] = set()
        self.given: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)  # asked for, and got
        self.ending: set[tuple[int, int]] = set()
        self.done: list[tuple[int, int]] = []
        self._chance = random.Random(7)

    async def produce(self, producer: int) -> None:
        for number in range(10):
            await self.queues[producer % 2].put([producer, number])
            self.put.add((producer, number))

    async def toil(self, queue: Any) -> None:
        """Be one taker after the other; some are cancelled in the middle of something."""
        while len(self.put) < 40 or await queue.size() > 0:
            taker = asyncio.ensure_future(self._work(queue))
            limit = self._chance.uniform(0, 0.05) if self._chance.random() < 0.2 else None
            if (await asyncio.wait([taker], timeout=limit))[0]:
                taker.result()
            else:
                taker.cancel()

    async def _work(self, queue: Any) -> None:
        asked = time.monotonic()
        if (taken := await queue.take()) is None:
            await asyncio.sleep(0.02)
            return
        item = tuple(taken.item)
        self.given[item].append((asked, time.monotonic()))
        if item[1] % 5 == 0 and len(self.given[item]) == 1:
            return  # died over it
        self.ending.add(item)
        if await queue.done(taken):
            self.done.append(item)


async def test_where_takers_die_nothing_is_lost_and_only_what_a_lease_ran_out_of_is_given_again(
    made: Any, one: View, other: View
) -> None:
    lease = timedelta(seconds=1.5)
    mill = Mill([made(recipes.Queue, view, "jobs", lease=lease) for view in (one, other)])
    async with asyncio.timeout(50):
        await asyncio.gather(*map(mill.produce, range(4)), *(mill.toil(mill.queues[n % 2]) for n in range(6)))
    assert mill.ending == mill.put
    assert len(set(mill.done)) == len(mill.done), "nobody is told that they finished what another did"
    for times in mill.given.values():
        for (asked, _), (_, again) in itertools.pairwise(times):
            assert again - asked > lease.total_seconds() - 0.1
    assert sum(len(times) > 1 for times in mill.given.values()) >= 8


async def test_takers_at_once_get_each_producers_items_in_their_order(made: Any, one: View, other: View) -> None:
    queues = [made(recipes.Queue, view, "jobs") for view in (one, other)]
    given: dict[int, list[tuple[int, float, float]]] = defaultdict(list)

    async def produce(producer: int) -> None:
        for number in range(10):
            await queues[producer % 2].put([producer, number])

    async def take(queue: Any) -> None:
        while sum(map(len, given.values())) < 40:
            asked = time.monotonic()
            if (taken := await queue.take()) is not None:
                producer, number = taken.item
                given[producer].append((number, asked, time.monotonic()))
                assert await queue.done(taken)

    async with asyncio.timeout(50):
        await asyncio.gather(*(produce(producer) for producer in range(4)), *(take(queues[n % 2]) for n in range(4)))
    for taken in given.values():
        taken.sort()
        assert [number for number, _, _ in taken] == list(range(10))
        for (_, asked, _), (_, _, got) in itertools.pairwise(taken):
            assert asked < got, "a later one was had before anybody asked for the earlier"
