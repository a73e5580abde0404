"""One fill for many, nothing stale, and no fill that is lost for good: promises 3, 4, 7 and 9 as a cache has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate import Bytes, Client, DecodeError, EncodeError, OutcomeUnknown, State, Text, recipes
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


class Source:
    """What is slow: it answers when it is let, and counts how often it was asked."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.asked = 0
        self.reading = asyncio.Event()
        self.go_on = asyncio.Event()

    async def read(self) -> Any:
        self.asked += 1
        value = self.value  # what it was when it was asked
        self.reading.set()
        await self.go_on.wait()
        return value


def immediate(value: Any) -> Callable[[], Awaitable[Any]]:
    async def fill() -> Any:
        return value

    return fill


async def never() -> Any:
    raise AssertionError("filled once more")


async def test_of_64_that_miss_at_once_through_two_instances_one_fills(made: Any, one: View, other: View) -> None:
    caches = [made(recipes.Cache, view, "cache", "price") for view in (one, other)]
    source = Source({"tea": 3})
    asking = [asyncio.create_task(caches[n % 2].get_or_fill("tea", source.read)) for n in range(64)]
    async with asyncio.timeout(30):
        await source.reading.wait()
        assert await caches[1].find("tea") is None, "what is being filled is a miss"
        source.go_on.set()
        assert await asyncio.gather(*asking) == [{"tea": 3}] * 64
    assert source.asked == 1
    assert await caches[1].get_or_fill("tea", never) == {"tea": 3}


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}])
async def test_an_empty_value_is_a_hit(made: Any, one: View, other: View, value: Any) -> None:
    cache = made(recipes.Cache, one, "cache")
    assert await cache.find("a") is None
    assert await cache.get_or_fill("a", immediate(value)) == value
    assert await made(recipes.Cache, other, "cache").get_or_fill("a", never) == value
    found = await cache.find("a")
    assert found is not None
    assert found.value == value


async def test_what_was_read_before_an_invalidation_is_not_kept(made: Any, one: View, other: View) -> None:
    cache, elsewhere = (made(recipes.Cache, view, "cache") for view in (one, other))
    source = Source("before")
    filling = asyncio.create_task(cache.get_or_fill("a", source.read))
    async with asyncio.timeout(20):
        await source.reading.wait()
        waiting = asyncio.create_task(elsewhere.get_or_fill("a", immediate("after")))
        await elsewhere.invalidate("a")
        assert await waiting == "after"
        source.go_on.set()
        assert await filling == "before", "its call began before the change"
    assert await cache.get_or_fill("a", never) == "after"


async def test_what_was_read_before_a_put_is_not_kept(made: Any, one: View, other: View) -> None:
    source = Source("before")
    filling = asyncio.create_task(made(recipes.Cache, one, "cache").get_or_fill("a", source.read))
    async with asyncio.timeout(20):
        await source.reading.wait()
        await made(recipes.Cache, other, "cache").put("a", "after")
        source.go_on.set()
        await filling
    assert await made(recipes.Cache, one, "cache").get_or_fill("a", never) == "after"


async def test_a_transaction_changes_the_source_and_invalidates_both_or_neither(
    made: Any, calls: Any, one: View, state: State[Any], namespace: str
) -> None:
    cache = made(recipes.Cache, one, "cache")
    await cache.put("a", 1)
    # Another view than the cache's: what the transaction invalidates is found all the same.
    name = f"{namespace}-sources"
    elsewhere = View(asynchronous=one.asynchronous.namespace(name), synchronous=one.synchronous.namespace(name))
    sources = calls(elsewhere)

    async def change(tx: Any) -> None:
        tx.put(cache.key("a"), 2)
        cache.invalidate_in(tx, "a")

    async def fail(tx: Any) -> None:
        await change(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await sources.transaction(fail)
    assert await cache.get_or_fill("a", never) == 1
    await sources.transaction(change)
    assert await cache.find("a") is None
    assert await elsewhere.asynchronous.get(cache.key("a")) == 2


async def test_where_one_dies_while_it_fills_another_does(made: Any, mortal: Mortal, other: View) -> None:
    source = Source("of the dead")
    filling = asyncio.create_task(
        made(recipes.Cache, mortal, "cache", fill_within=SECOND).get_or_fill("a", source.read)
    )
    async with asyncio.timeout(20):
        await source.reading.wait()
        waiting = [
            asyncio.create_task(made(recipes.Cache, other, "cache").get_or_fill("a", immediate("alive")))
            for _ in range(8)
        ]
        await mortal.die()
        assert await asyncio.gather(*waiting) == ["alive"] * 8
        source.go_on.set()
        with pytest.raises(RuntimeError, match="the client is closed"):
            await filling
    assert await made(recipes.Cache, other, "cache").get_or_fill("a", never) == "alive"


async def test_what_is_filled_too_late_is_returned_but_not_kept(made: Any, one: View, other: View) -> None:
    source = Source("late")
    filling = asyncio.create_task(made(recipes.Cache, one, "cache", fill_within=SECOND).get_or_fill("a", source.read))
    async with asyncio.timeout(20):
        await source.reading.wait()
        assert await made(recipes.Cache, other, "cache").get_or_fill("a", immediate("in time")) == "in time"
        source.go_on.set()
        assert await filling == "late"
    assert await made(recipes.Cache, one, "cache").get_or_fill("a", never) == "in time"


async def test_a_fill_that_fails_is_told_to_its_caller_and_another_fills(made: Any, one: View, other: View) -> None:
    source = Source()

    async def fail() -> None:
        await source.read()
        raise LookupError("no such price")

    filling = asyncio.create_task(made(recipes.Cache, one, "cache", fill_within=HOUR).get_or_fill("a", fail))
    async with asyncio.timeout(20):  # long before the marker would expire
        await source.reading.wait()
        waiting = asyncio.create_task(made(recipes.Cache, other, "cache").get_or_fill("a", immediate(1)))
        source.go_on.set()
        with pytest.raises(LookupError, match="no such price"):
            await filling
        assert await waiting == 1


async def test_who_is_cancelled_while_it_fills_leaves_no_marker(one: View, other: View) -> None:
    source = Source()
    cache = recipes.Cache(one.asynchronous, "cache", fill_within=HOUR)
    filling = asyncio.create_task(cache.get_or_fill("a", source.read))
    async with asyncio.timeout(20):
        await source.reading.wait()
        filling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await filling
        assert await recipes.Cache(other.asynchronous, "cache").get_or_fill("a", immediate(1)) == 1


async def test_who_is_interrupted_while_it_fills_leaves_no_marker(one: View, other: View) -> None:
    """As by Ctrl-C, in a program without asyncio."""

    class Interrupted(BaseException):
        pass

    def fill() -> Any:
        raise Interrupted

    cache = recipes.sync.Cache(one.synchronous, "cache", fill_within=HOUR)
    with pytest.raises(Interrupted):
        await asyncio.to_thread(cache.get_or_fill, "a", fill)
    async with asyncio.timeout(20):
        assert await recipes.Cache(other.asynchronous, "cache").get_or_fill("a", immediate(1)) == 1


async def test_where_the_answer_to_a_marker_is_lost_its_writer_does_not_fill_and_another_does(
    made: Any, mortal: Mortal, other: View
) -> None:
    cache = made(recipes.Cache, mortal, "cache", fill_within=SECOND)
    assert await cache.find("a") is None
    mortal.network.loses = lambda number: number == 3  # after two looks, the marker's
    with pytest.raises(OutcomeUnknown):
        await cache.get_or_fill("a", never)
    assert mortal.network.lost == 1
    async with asyncio.timeout(20):
        assert await made(recipes.Cache, other, "cache").get_or_fill("a", immediate(1)) == 1


async def test_what_the_codec_cannot_encode_is_told_and_leaves_no_marker(made: Any, one: View) -> None:
    cache = made(recipes.Cache, one, "cache", fill_within=HOUR)
    with pytest.raises(EncodeError):
        await cache.get_or_fill("a", immediate(object()))
    async with asyncio.timeout(20):
        assert await cache.get_or_fill("a", immediate(1)) == 1


async def test_what_the_codec_cannot_read_is_neither_a_miss_nor_overwritten(
    made: Any, one: View, state: State[Any]
) -> None:
    cache = made(recipes.Cache, one, "cache")
    await state.using(Text()).put(cache.key("a"), "another program's")
    for call in (cache.find("a"), cache.get_or_fill("a", never)):
        with pytest.raises(DecodeError):
            await call


async def test_a_codec_that_reads_everything_takes_no_marker_for_a_value(one: View, other: View) -> None:
    cache, elsewhere = (recipes.Cache(view.asynchronous.using(Bytes()), "cache") for view in (one, other))
    source = Source(b"value")
    filling = asyncio.create_task(cache.get_or_fill("a", source.read))
    async with asyncio.timeout(20):
        await source.reading.wait()
        waiting = asyncio.create_task(elsewhere.get_or_fill("a", never))
        assert await elsewhere.find("a") is None
        source.go_on.set()
        assert await filling == await waiting == b"value"


async def test_a_value_ends_with_its_time_to_live(made: Any, one: View, other: View) -> None:
    cache = made(recipes.Cache, one, "cache", ttl=SECOND)
    assert await cache.get_or_fill("a", immediate(1)) == 1
    elsewhere = made(recipes.Cache, other, "cache")
    async with asyncio.timeout(20):
        while await elsewhere.get_or_fill("a", immediate(2)) == 1:
            await asyncio.sleep(0.02)
    assert await cache.get_or_fill("a", never) == 2


@pytest.mark.parametrize(
    ("kind", "key", "seconds"),
    [
        (recipes.UserCache, "cache:user:ada", 1800),
        (recipes.TaskCache, "cache:tasks:ada", 300),
        (recipes.AnalyticsCache, "cache:analytics:ada", 300),
    ],
)
async def test_each_kind_has_its_key_and_its_time_to_live(
    made: Any, one: View, state: State[Any], kind: Any, key: str, seconds: int
) -> None:
    for number, write in enumerate(
        (made(kind, one).put, lambda user, n: made(kind, one).get_or_fill(user, immediate(n)))
    ):
        await write("ada", number)
        found = await state.get_record(key)
        assert found is not None
        assert (found.value, found.content_type) == (number, "application/json")
        assert found.expire_time is not None
        assert found.update_time is not None
        assert abs(found.expire_time - found.update_time - timedelta(seconds=seconds)) < SECOND
        await made(kind, one).invalidate("ada")


async def test_tasks_under_the_older_name_are_read_and_removed_by_every_change(
    made: Any, calls: Any, one: View, state: State[Any]
) -> None:
    tasks = made(recipes.TaskCache, one)
    older = "tasks:user:ada"
    await state.put(older, ["old"])
    assert await tasks.get_or_fill("ada", never) == ["old"]

    await tasks.put("ada", ["new"])
    assert await tasks.get_or_fill("ada", never) == ["new"]
    assert await state.get(older) is None, "it would come back where the new one expires"

    await state.put(older, ["old"])
    assert await tasks.get_or_fill("ada", never) == ["new"]
    await tasks.invalidate("ada")
    assert await tasks.find("ada") is None

    async def invalidate(tx: Any) -> None:
        tasks.invalidate_in(tx, "ada")

    await state.put(older, ["old"])
    await calls(one).transaction(invalidate)
    assert await tasks.find("ada") is None


async def test_of_many_changes_of_tasks_at_once_each_is_made(made: Any, one: View, other: View) -> None:
    both = [made(recipes.TaskCache, view) for view in (one, other)]
    puts = (both[number % 2].put("ada", [number]) for number in range(32))
    invalidations = (both[number % 2].invalidate("ada") for number in range(32))
    await asyncio.gather(*puts, *invalidations)
    await both[0].invalidate("ada")
    assert await both[1].find("ada") is None


def test_wrong_arguments_are_refused_at_once() -> None:
    state: State[Any] = Client("localhost:1")
    for wrong in (timedelta(), timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="ttl must be positive"):
            recipes.Cache(state, "cache", ttl=wrong)
        with pytest.raises(ValueError, match="fill_within must be positive"):
            recipes.Cache(state, "cache", fill_within=wrong)
    with pytest.raises(ValueError, match="at least one part"):
        recipes.Cache(state)
    with pytest.raises(TypeError, match="older must be the parts of a prefix"):
        recipes.Cache(state, "cache", older="tasks")
