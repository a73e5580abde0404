"""What py-key-value documents of `AsyncKeyValue` and of its errors. Its package carries no tests for stores."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from key_value.aio.errors import (
    DeserializationError,
    InvalidKeyError,
    InvalidTTLError,
    SerializationError,
    StoreConnectionError,
)
from key_value.aio.protocols.key_value import AsyncKeyValue
from key_value.aio.wrappers.prefix_collections import PrefixCollectionsWrapper
from key_value.aio.wrappers.single_collection import SingleCollectionWrapper

from keepstate import Client, State, Text
from keepstate.adapters.key_value import KeepstateStore
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers

VALUES: dict[str, Any] = {
    "null": {"a": None, "b": [None], "c": {"d": None}},
    "boolean": {"a": True, "b": [False]},
    "integer": {"a": -42, "b": 10**18, "c": 10**40},
    "float": {"a": 1.0, "b": 12345678901.2345, "c": -0.0},
    "text": {"a": "Hello 世界 🌍\n\t\0", "null": "null", "1": "1"},
    "nested": {"a": {"b": {"c": [{"d": [[], {}]}]}}},
    "empty": {},
    "large": {"a": "x" * 900_000},
}

NOT_JSON: dict[str, Any] = {
    "datetime": datetime(2025, 1, 1, tzinfo=UTC),
    "uuid": UUID(int=7),
    "bytes": b"hello",
    "set": {1, 2},
    "not a number": math.nan,
    "half of a character": "\ud800",
}


@pytest.fixture
def kept(one: View) -> KeepstateStore:
    """A store through one instance."""
    return KeepstateStore(one.asynchronous, "kv")


@pytest.fixture
def elsewhere(other: View) -> KeepstateStore:
    """The same store through the other instance."""
    return KeepstateStore(other.asynchronous, "kv")


def test_it_is_what_the_protocol_says(kept: KeepstateStore) -> None:
    store: AsyncKeyValue = kept
    assert isinstance(store, AsyncKeyValue)


async def test_what_was_never_put_is_none(kept: KeepstateStore) -> None:
    assert await kept.get("a", collection="c") is None
    assert await kept.ttl("a", collection="c") == (None, None)
    assert await kept.get_many(["a", "b"], collection="c") == [None, None]
    assert await kept.ttl_many(["a", "b"], collection="c") == [(None, None), (None, None)]
    assert await kept.delete("a", collection="c") is False
    assert await kept.delete_many(["a", "b"], collection="c") == 0


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_a_value_comes_back_as_it_was_put(
    kept: KeepstateStore, elsewhere: KeepstateStore, value: Mapping[str, Any]
) -> None:
    await kept.put("a", value, collection="c")
    assert await elsewhere.get("a", collection="c") == value
    assert await elsewhere.ttl("a", collection="c") == (value, None)


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_json_cannot_say_is_refused_and_nothing_is_put(kept: KeepstateStore, value: Any) -> None:
    await kept.put("a", {"before": 1}, collection="c")
    with pytest.raises(SerializationError):
        await kept.put("a", {"value": value}, collection="c")
    with pytest.raises(SerializationError):
        await kept.put_many(["a", "b"], [{"value": 2}, {"value": value}], collection="c")
    assert await kept.get_many(["a", "b"], collection="c") == [{"before": 1}, None]


async def test_what_is_no_mapping_with_texts_as_names_is_refused(kept: KeepstateStore) -> None:
    wrong: Any
    for wrong in ({1: "a"}, ["a"], "a"):
        with pytest.raises(TypeError):
            await kept.put("a", wrong)
    assert await kept.get("a") is None


async def test_a_put_replaces_the_value_and_its_time_to_live(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    await kept.put("a", {"n": 1, "m": 1}, ttl=100)
    await elsewhere.put("a", {"n": 2})
    assert await kept.ttl("a") == ({"n": 2}, None)


async def test_many_answer_in_the_order_asked(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    await kept.put_many(["a", "b"], ({"n": 1}, {"n": 2}), collection="c", ttl=100)
    asked = ["b", "nobody", "a", "b"]
    assert await elsewhere.get_many(asked, collection="c") == [{"n": 2}, None, {"n": 1}, {"n": 2}]
    found = await elsewhere.ttl_many(asked, collection="c")
    assert [value for value, _ in found] == [{"n": 2}, None, {"n": 1}, {"n": 2}]
    assert [ttl and 90 < ttl <= 101 for _, ttl in found] == [True, None, True, True]
    assert await elsewhere.delete_many(asked, collection="c") == 2
    assert await kept.get_many(["a", "b"], collection="c") == [None, None]


async def test_many_may_be_thousands_or_none(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    names = [f"a{number}" for number in range(1100)]
    values = [{"n": number} for number in range(1100)]
    await kept.put_many(names, values)
    assert await elsewhere.get_many(names) == values
    assert await elsewhere.delete_many(names) == 1100
    await kept.put_many([], [])
    assert await kept.get_many([]) == []
    assert await kept.delete_many([]) == 0


async def test_many_may_be_larger_than_one_answer(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    values = [{"n": number, "text": "x" * 900_000} for number in range(20)]
    await kept.put_many([f"a{number}" for number in range(20)], values)
    assert await elsewhere.get_many([f"a{number}" for number in range(20)]) == values


async def test_as_many_values_as_keys(kept: KeepstateStore) -> None:
    with pytest.raises(ValueError, match="different number"):
        await kept.put_many(["a", "b"], [{}])
    assert await kept.get("a") is None


async def test_a_deleted_value_is_gone(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    await kept.put("a", {})
    assert await elsewhere.delete("a") is True
    assert await kept.delete("a") is False
    assert await kept.get("a") is None


async def test_a_time_to_live_is_told_and_ends(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    await kept.put("long", {}, ttl=100)
    value, ttl = await elsewhere.ttl("long")
    assert value == {}
    assert ttl is not None
    assert 90 < ttl <= 101
    await kept.put("short", {"n": 1}, ttl=1)
    async with asyncio.timeout(10):
        while (found := await elsewhere.get("short")) is not None:  # may have ended before the first look at it
            assert found == {"n": 1}
            await asyncio.sleep(0.05)
    assert await elsewhere.ttl("short") == (None, None)
    assert await elsewhere.get_many(["short", "long"]) == [None, {}]


@pytest.mark.parametrize("ttl", [0, -1, True])
async def test_a_time_to_live_that_is_none_is_refused(kept: KeepstateStore, ttl: float) -> None:
    with pytest.raises(InvalidTTLError):
        await kept.put("a", {}, ttl=ttl)
    assert await kept.get("a") is None


async def test_collections_are_apart(kept: KeepstateStore) -> None:
    await kept.put("a", {"n": 0})
    await kept.put("a", {"n": 1}, collection="one")
    await kept.put("a", {"n": 2}, collection="one:two")
    await kept.put("two:a", {"n": 3}, collection="one")
    assert await kept.get("a") == {"n": 0}
    assert await kept.get("a", collection="default_collection") == {"n": 0}
    assert await kept.get("a", collection="one") == {"n": 1}
    assert await kept.get("a", collection="one:two") == {"n": 2}
    assert await kept.get("two:a", collection="one") == {"n": 3}


@pytest.mark.parametrize("name", ["key" * 400, "ключ" * 100, "!@#$%^&*()||", "a b\n\0", "H_1", "S_1", "🌍"])
async def test_every_name_has_its_own_record(kept: KeepstateStore, elsewhere: KeepstateStore, name: str) -> None:
    await kept.put(name, {"n": 1}, collection=name)
    await kept.put(name + "x", {"n": 2}, collection=name)
    await kept.put(name, {"n": 3}, collection=name + "x")
    assert await elsewhere.get_many([name, name + "x"], collection=name) == [{"n": 1}, {"n": 2}]
    assert await elsewhere.get(name, collection=name + "x") == {"n": 3}


@pytest.mark.parametrize("name", ["", "\ud800"])
async def test_a_name_that_no_key_can_hold_is_refused(kept: KeepstateStore, name: str) -> None:
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: kept.get(name),
        lambda: kept.put(name, {}),
        lambda: kept.delete(name),
        lambda: kept.get_many(["a", name]),
        lambda: kept.put_many(["a", name], [{}, {}]),
        lambda: kept.delete_many(["a", name]),
    ]
    for call in calls:
        with pytest.raises(InvalidKeyError):
            await call()


async def test_many_at_once_lose_nothing(kept: KeepstateStore, elsewhere: KeepstateStore) -> None:
    async def work(number: int) -> None:
        here, there = (kept, elsewhere)[:: 1 if number % 2 else -1]
        name = f"a{number}"
        assert await here.get(name) is None
        await here.put(name, {"n": 1})
        assert await there.get(name) == {"n": 1}
        await there.put(name, {"n": 2}, ttl=100)
        assert await here.get(name) == {"n": 2}
        assert await here.delete(name) is True
        assert await there.get(name) is None

    await asyncio.gather(*(work(number) for number in range(64)))


async def test_a_value_is_a_plain_record_for_others(kept: KeepstateStore, state: State[Any]) -> None:
    await kept.put("ada", {"city": "London"}, collection="users")
    assert await state.get("kv:users:ada") == {"city": "London"}
    await state.put("kv:users:bob", {"city": "Paris"}, ttl=timedelta(hours=1))
    assert await kept.get("bob", collection="users") == {"city": "Paris"}


async def test_a_record_that_is_no_json_object_is_said_to_be_none(kept: KeepstateStore, state: State[Any]) -> None:
    await state.put("kv:c:list", [1])
    await state.put("kv:c:text", "hello", codec=Text())
    for name in ("list", "text"):
        with pytest.raises(DeserializationError):
            await kept.get(name, collection="c")
        with pytest.raises(DeserializationError):
            await kept.get_many(["nobody", name], collection="c")


async def test_an_outage_is_an_error_and_not_a_missing_value(store: str) -> None:
    # Refused at once, and not tried again: no time is up, after which a write might have been applied.
    async with Client("127.0.0.1:1", store=store, retry=None) as nowhere:
        kept = KeepstateStore(nowhere, "kv")
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: kept.get("a"),
            lambda: kept.get_many(["a"]),
            lambda: kept.ttl("a"),
            lambda: kept.put("a", {}),
            lambda: kept.put_many(["a", "b"], [{}, {}]),
            lambda: kept.delete("a"),
            lambda: kept.delete_many(["a"]),
        ]
        for call in calls:
            with pytest.raises(StoreConnectionError):
                await call()


async def test_the_wrappers_of_the_library_go_around_it(kept: KeepstateStore, state: State[Any]) -> None:
    prefixed = PrefixCollectionsWrapper(key_value=kept, prefix="app")
    await prefixed.put("a", {"n": 1}, collection="c")
    assert await state.get("kv:app__c:a") == {"n": 1}
    single = SingleCollectionWrapper(key_value=kept, single_collection="all")
    await single.put("a", {"n": 2}, collection="c")
    assert await single.get("a", collection="c") == {"n": 2}
    assert await prefixed.get("a", collection="c") == {"n": 1}
