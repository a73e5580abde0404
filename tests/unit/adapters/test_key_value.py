"""Keys and times of the store for py-key-value."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import Client, parse_key
from keepstate.adapters.key_value import KeepstateStore
from keepstate.keys import MAX_KEY_BYTES
from keepstate.testing import KeepstateService

# Short ones so that two are often alike in part, and long ones.
NAMES = st.one_of(
    st.text("ab:%|", min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300),
)


STORE = KeepstateStore(Client("localhost:7400"), "kv")


def key_of(collection: str, name: str) -> str:
    return STORE._key(collection, name)


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_no_two_entries_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (key_of(*one) == key_of(*other)) == (one == other)
    assert len(key_of(*one).encode()) <= MAX_KEY_BYTES


@given(NAMES, NAMES)
def test_a_key_tells_its_entry_unless_it_is_too_long(collection: str, name: str) -> None:
    parts = parse_key(key_of(collection, name))
    assert parts == ("kv", collection, name) or len(parts) == 2


def test_a_short_key_that_looks_like_the_hash_of_a_long_one_is_another() -> None:
    long = key_of("c", "x" * 600)
    assert long.startswith("kv:")
    assert key_of("c", long.removeprefix("kv:")) != long
    assert key_of(long.removeprefix("kv:"), "c") != long


def test_a_prefix_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 512"):
        KeepstateStore(Client("localhost:7400"), "x" * 480)
    with pytest.raises(ValueError, match="empty"):
        KeepstateStore(Client("localhost:7400"), "")


async def test_time_to_live_goes_by_the_services_clock() -> None:
    async with KeepstateService() as service, Client(service.address) as state:
        service.clock.advance(timedelta(hours=5))
        store = KeepstateStore(state)
        await store.put("a", {"n": 1}, ttl=100)
        value, ttl = await store.ttl("a")
        assert value == {"n": 1}
        assert ttl is not None
        assert 90 < ttl <= 101
        service.clock.advance(timedelta(seconds=101))
        assert await store.get("a") is None


async def test_the_shortest_time_to_live_is_none_that_never_ends() -> None:
    async with KeepstateService() as service, Client(service.address) as state:
        store = KeepstateStore(state, default_collection="c")
        await store.put("a", {"n": 1}, ttl=1e-9)
        service.clock.advance(timedelta(seconds=1))
        assert await state.get("c:a") is None
