"""What recipes refuse before anything is sent, and what they make of times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import Client, parse_key
from keepstate.recipes import (
    Cache,
    ChatHistory,
    Conversations,
    Counters,
    FormDrafts,
    Leader,
    Lock,
    Message,
    Once,
    Queue,
    RateLimiter,
    Records,
    Sessions,
)
from keepstate.recipes.messages import as_entry, as_messages

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
UNUSED: Client[Any] = Client("localhost:1")

users = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable())
zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@given(st.integers(0, 2**33), st.integers(0, 999_999), zones, st.text())
def test_a_message_is_kept_and_read_as_it_was(seconds: int, micros: int, zone: timezone, content: str) -> None:
    timestamp = datetime.fromtimestamp(seconds, zone).replace(microsecond=micros)
    message = Message(timestamp=timestamp, role="user", content=content)
    entry = as_entry(message)
    assert entry["timestamp"].endswith("Z")
    assert as_messages([entry]) == [message]


@given(users, users, users, users)
def test_no_two_conversations_share_a_key(user: str, conversation: str, other_user: str, other: str) -> None:
    conversations = Conversations(UNUSED)
    one, another = conversations.key(user, conversation), conversations.key(other_user, other)
    assert (one == another) == ((user, conversation) == (other_user, other))


def test_the_dashes_of_a_user_are_escaped_and_those_of_a_conversation_are_not() -> None:
    key = Conversations(UNUSED).key("a-b:c", "4f-5a")
    assert key == "conversation-a%2Db%3Ac-4f-5a"
    assert parse_key(key) == ("conversation-a-b:c-4f-5a",)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Lock, "lease"),
        (Leader, "lease"),
        (Queue, "lease"),
        (Cache, "ttl"),
        (Cache, "fill_within"),
        (Records, "ttl"),
        (Sessions, "ttl"),
        (partial(RateLimiter, limit=1), "per"),
    ],
)
def test_a_number_of_seconds_is_not_taken_for_a_length_of_time(kind: Callable[..., object], named: str) -> None:
    with pytest.raises(TypeError, match=f"{named} must be a timedelta, not a int"):
        kind(UNUSED, "report", **{named: 30})


@given(users, users, users, users)
def test_no_two_events_of_prefixes_that_end_with_a_colon_share_a_mark(
    source: str, event: str, other_source: str, other: str
) -> None:
    one, another = (Once(UNUSED, prefix=f"{each}:") for each in (source, other_source))
    assert (one.key(event) == another.key(other)) == ((source, event) == (other_source, other))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Message(timestamp=datetime(2026, 1, 1), role="user", content=""), "timestamp"),  # noqa: DTZ001 - the case
        (lambda: ChatHistory(UNUSED, keep=0), "keep must be at least 1, not 0"),
        (lambda: Conversations(UNUSED, keep=0), "keep"),
        (lambda: Conversations(UNUSED).key("", "7"), "empty"),
        (lambda: Counters(UNUSED), "part"),
        (lambda: Records(UNUSED, "user", ttl=timedelta()), "ttl must be positive, not 0:00:00"),
        (lambda: Records(UNUSED, "user", sliding=True), "sliding needs a ttl"),
        (lambda: Sessions(UNUSED, "session", ttl=timedelta(-1)), "ttl must be positive"),
        (lambda: FormDrafts(UNUSED, "draft", ttl=timedelta()), "ttl must be positive, not 0"),
    ],
)
def test_what_is_out_of_bounds_is_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


@pytest.mark.parametrize("named", ["role", "content"])
def test_a_message_is_of_text(named: str) -> None:
    texts: dict[str, Any] = {"role": "user", "content": "hello", named: ["hello"]}
    with pytest.raises(TypeError, match=f"{named} must be a str, not a list"):
        Message(timestamp=NOW, **texts)


async def test_the_last_none_of_a_history_are_not_all_of_it() -> None:
    with pytest.raises(ValueError, match="last must be at least 1, not 0"):
        await ChatHistory(UNUSED).read("ada", last=0)
