"""The decorator does what aiocache's and cachetools' documents say of theirs, and over two instances."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

import pytest

from keepstate import Client, State, sync
from keepstate.adapters.caching import AsyncCached, Cached, cached
from tests.recipes.conftest import InThreads, View, plain

pytestmark = pytest.mark.containers


class Calls(InThreads):
    """A plain function that is cached, called in threads."""

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        return await self.__getattr__("__call__")(*arguments, **named)


@pytest.fixture
def kept(style: str) -> Any:
    """Has an async function cached through an instance, or the same as a plain function."""

    def keep(view: View, function: Callable[..., Awaitable[Any]], *prefix: str, **options: Any) -> Any:
        prefix = prefix or ("cache", "forecast")
        if style == "asynchronous":
            return cached(view.asynchronous, *prefix, **options)(function)
        return Calls(cached(view.synchronous, *prefix, **options)(functools.wraps(function)(plain(function))))

    return keep


class Forecasts:
    """What is cached: it notes with what it was called."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answer: Callable[[str, int], Any] = lambda city, days: [city] * days

    @property
    def function(self) -> Callable[..., Awaitable[Any]]:
        async def forecast(city: str, days: int = 3) -> Any:
            """How the weather will be."""
            self.asked.append((city, days))
            return self.answer(city, days)

        return forecast


async def test_a_call_is_made_once_for_the_same_arguments_however_they_are_given(
    kept: Any, one: View, other: View, state: State[Any]
) -> None:
    source = Forecasts()
    forecast, elsewhere = kept(one, source.function), kept(other, source.function)
    assert await forecast("Paris") == ["Paris"] * 3
    assert await forecast("Paris", 3) == ["Paris"] * 3
    assert await forecast("Paris", days=3) == ["Paris"] * 3
    assert await elsewhere(days=3, city="Paris") == ["Paris"] * 3
    assert source.asked == [("Paris", 3)]
    assert await elsewhere("Paris", 2) == ["Paris"] * 2
    assert await forecast("Pa:ris", 2) == ["Pa:ris"] * 2
    assert source.asked == [("Paris", 3), ("Paris", 2), ("Pa:ris", 2)]
    assert await state.get("cache:forecast:Paris:3") == ["Paris"] * 3, "other languages find it"


async def test_of_64_equal_calls_at_once_one_is_made(kept: Any, one: View, other: View) -> None:
    asked = []

    async def forecast(city: str) -> str:
        asked.append(city)
        await asyncio.sleep(0.1)  # so that the others come meanwhile; those that come later are hits
        return city

    functions = [kept(view, forecast) for view in (one, other)]
    async with asyncio.timeout(30):
        found = await asyncio.gather(*(functions[n % 2]("Paris") for n in range(64)))
    assert found == ["Paris"] * 64
    assert asked == ["Paris"]


@pytest.mark.parametrize("value", [None, 0, []])
async def test_an_empty_result_is_kept(kept: Any, one: View, value: Any) -> None:
    source = Forecasts()
    source.answer = lambda city, days: value
    forecast = kept(one, source.function)
    assert [await forecast("Paris"), await forecast("Paris")] == [value, value]
    assert len(source.asked) == 1


async def test_what_a_function_raises_is_raised_and_not_kept(kept: Any, one: View) -> None:
    source = Forecasts()

    def fail(city: str, days: int) -> None:
        raise LookupError(city)

    source.answer = fail
    forecast = kept(one, source.function)
    for _ in range(2):
        with pytest.raises(LookupError, match="Paris"):
            await forecast("Paris")
    assert len(source.asked) == 2


async def test_an_invalidation_is_of_one_calls_result(kept: Any, one: View, other: View) -> None:
    source = Forecasts()
    forecast = kept(one, source.function)
    for city in ("Paris", "London"):
        await forecast(city)
    await kept(other, source.function).invalidate("Paris", days=3)
    for city in ("Paris", "London"):
        await forecast(city)
    assert [city for city, _ in source.asked] == ["Paris", "London", "Paris"]


async def test_a_transaction_invalidates_what_depends_on_what_it_changes(kept: Any, one: View, style: str) -> None:
    source = Forecasts()
    forecast = kept(one, source.function)
    await forecast("Paris")

    async def change(tx: Any) -> None:
        tx.put("station", "moved")
        done = forecast.invalidate_in(tx, "Paris")
        if inspect.isawaitable(done):  # the plain one, in a thread
            await done

    await (one.asynchronous if style == "asynchronous" else InThreads(one.synchronous)).transaction(change)
    await forecast("Paris")
    assert len(source.asked) == 2


async def test_a_result_ends_with_its_time_to_live(kept: Any, one: View) -> None:
    source = Forecasts()
    forecast = kept(one, source.function, ttl=timedelta(seconds=1))
    async with asyncio.timeout(20):
        while len(source.asked) < 2:
            await forecast("Paris")
            await asyncio.sleep(0.02)


async def test_a_key_of_ones_own_says_which_calls_are_equal(kept: Any, one: View, state: State[Any]) -> None:
    asked = []

    async def price(article: dict[str, Any], *discounts: float) -> float:
        asked.append(article)
        return 3.5

    kept_price = kept(one, price, "cache", "price", key=lambda article, *discounts: (article["id"], len(discounts)))
    assert await kept_price({"id": 7, "name": "tea"}, 0.5) == 3.5
    assert await kept_price({"id": 7, "name": "Tea"}, 0.1) == 3.5
    assert len(asked) == 1
    assert await state.get("cache:price:7:1") == 3.5
    assert await _now(kept_price.key({"id": 7}, 0.1)) == "cache:price:7:1"


async def _now(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


async def test_functions_that_are_cached_may_call_each_other(kept: Any, one: View, style: str) -> None:
    asked = []

    async def fibonacci(n: int) -> int:
        asked.append(n)
        return n if n < 2 else await kept_one(n - 1) + await kept_one(n - 2)

    kept_one = kept(one, fibonacci, "cache", "fibonacci")
    async with asyncio.timeout(30):
        assert await kept_one(10) == 55
    assert sorted(asked) == list(range(11))


async def test_the_function_itself_is_still_there(one: View) -> None:
    source = Forecasts()
    forecast: Any = cached(one.asynchronous, "cache", "forecast")(source.function)
    assert (forecast.__name__, forecast.__doc__) == ("forecast", "How the weather will be.")
    assert list(inspect.signature(forecast).parameters) == ["city", "days"]
    await forecast.__wrapped__("Paris")
    await forecast.__wrapped__("Paris")
    assert len(source.asked) == 2


# Without a service.


@pytest.fixture
def state_of_none() -> State[Any]:
    return Client("localhost:1")


async def test_what_is_no_part_of_a_key_is_refused_by_name(state_of_none: State[Any]) -> None:
    @cached(state_of_none, "cache", "any")
    async def anything(of: object) -> None: ...

    assert anything.key(UUID(int=1)) == "cache:any:00000000-0000-0000-0000-000000000001"
    for wrong in (None, 1.5, True, ("a", "b"), {"a": 1}):
        with pytest.raises(TypeError, match=rf"the argument of of .*anything is a {type(wrong).__name__}.* give a key"):
            await anything(wrong)
    with pytest.raises(TypeError, match="missing a required argument: 'of'"):
        await anything()  # type: ignore[call-arg]


def test_what_cannot_be_cached_is_refused_where_it_is_decorated(state_of_none: State[Any]) -> None:
    async def asynchronous(a: int) -> None: ...

    def synchronous(a: int) -> None: ...

    async def several(*a: int) -> None: ...

    async def named(**a: int) -> None: ...

    async def method(self: object) -> None: ...

    without = sync.Client("localhost:1")
    with pytest.raises(TypeError, match=r"an async function is cached by a view of keepstate\.Client"):
        cached(without, "cache", "a")(asynchronous)
    with pytest.raises(TypeError, match=r"a plain function is cached by a view of keepstate\.sync\.Client"):
        cached(state_of_none, "cache", "a")(synchronous)  # type: ignore[arg-type]
    for function in (several, named):
        with pytest.raises(TypeError, match="any number of arguments: give a key"):
            cached(state_of_none, "cache", "a")(function)
    with pytest.raises(TypeError, match="is a method"):
        cached(state_of_none, "cache", "a")(method)
    with pytest.raises(ValueError, match="prefix needs at least two parts"):
        cached(state_of_none, "cache")
    for view in (state_of_none, without):
        with pytest.raises(ValueError, match="ttl must be positive"):
            cached(view, "cache", "a", ttl=timedelta())


def test_types_are_those_of_the_function(state_of_none: State[Any]) -> None:
    @cached(state_of_none, "cache", "a")
    async def asynchronous(city: str, days: int = 3) -> list[str]:
        return [city] * days

    @cached(sync.Client("localhost:1"), "cache", "a")
    def synchronous(city: str) -> int:
        return len(city)

    assert isinstance(asynchronous, AsyncCached)
    assert isinstance(synchronous, Cached)

    async def of_types() -> None:
        assert_type(await asynchronous("Paris", days=2), list[str])
        assert_type(synchronous("Paris"), int)
        await asynchronous(7)  # type: ignore[arg-type]
        await asynchronous.invalidate("Paris", wrong=1)  # type: ignore[call-arg]

    assert asynchronous.key("Paris") == "cache:a:Paris:3"
    assert of_types is not None
