"""Promises 9 and 11 as conversations have them."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from keepstate import DecodeError, InvalidArgument, State, recipes
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


async def test_a_conversation_is_kept_as_json_with_the_time_of_its_last_message(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    conversations = made(recipes.Conversations, one)
    first = await conversations.append("ada", 7, "user", "hello")
    second = await made(recipes.Conversations, other).append("ada", 7, "assistant", "good day")
    kept: Any = await state.get("conversation-ada-7")
    assert kept["messages"][0] == {
        "timestamp": first.timestamp.isoformat().removesuffix("+00:00") + "Z",
        "role": "user",
        "content": "hello",
    }
    assert kept["updated_at"] == second.timestamp.isoformat().removesuffix("+00:00") + "Z"
    assert await conversations.read("ada", 7) == recipes.Conversation(
        messages=(first, second), updated_at=second.timestamp
    )
    record = await state.get_record("conversation-ada-7")
    assert record is not None
    assert record.expire_time is None


async def test_of_many_writers_at_once_nothing_is_lost_or_torn_apart(made: Any, one: View, other: View) -> None:
    """Each writes a question and its answer, through either instance."""
    both = made(recipes.Conversations, one), made(recipes.Conversations, other)
    writers = 16
    await asyncio.gather(
        *(
            conversations.extend("ada", 7, [("user", f"{number}"), ("assistant", f"{number}")])
            for number, conversations in zip(range(writers), itertools.cycle(both))
        )
    )
    found = await both[0].read("ada", 7)
    assert [message.role for message in found.messages] == ["user", "assistant"] * writers
    assert [each.content for each in found.messages[::2]] == [each.content for each in found.messages[1::2]]
    assert {int(each.content) for each in found.messages} == set(range(writers))


async def test_a_message_whose_answer_was_lost_is_there_once(made: Any, lossy: Mortal, other: View) -> None:
    conversations = made(recipes.Conversations, lossy)
    for number in range(12):
        await conversations.append("ada", 7, "user", f"{number}")
    assert lossy.network.lost >= 4
    found = await made(recipes.Conversations, other).read("ada", 7)
    assert [each.content for each in found.messages] == [f"{number}" for number in range(12)]


async def test_a_conversation_keeps_its_last_messages_and_each_renews_its_time_to_live(
    made: Any, one: View, other: View
) -> None:
    short = made(recipes.Conversations, one, keep=3, ttl=timedelta(seconds=1))
    for number in range(5):
        await short.append("ada", 7, "user", f"{number}")
    assert [each.content for each in (await short.read("ada", 7)).messages] == ["2", "3", "4"]
    async with asyncio.timeout(10):
        while await made(recipes.Conversations, other).read("ada", 7) is not None:
            await asyncio.sleep(0.05)


async def test_conversations_of_users_with_a_dash_are_told_apart(made: Any, one: View) -> None:
    conversations = made(recipes.Conversations, one)
    await conversations.append("a-b", "c", "user", "one")
    assert await conversations.read("a", "b-c") is None
    assert await conversations.delete("a", "b-c") is False
    assert await conversations.delete("a-b", "c") is True


async def test_what_other_programs_keep_in_it_stays(made: Any, one: View, state: State[Any]) -> None:
    theirs = {"timestamp": "2026-11-23T09:00:00Z", "role": "user", "content": "hello", "tokens": 3}
    await state.put(
        "conversation-ada-7", {"title": "Engines", "messages": [theirs], "updated_at": "2026-11-23T09:00:00"}
    )
    await made(recipes.Conversations, one).append("ada", 7, "assistant", "good day")
    kept: Any = await state.get("conversation-ada-7")
    assert kept["title"] == "Engines"
    assert kept["messages"][0] == theirs
    assert len(kept["messages"]) == 2


@pytest.mark.parametrize("other_value", [[], {"messages": []}, {"messages": ["secret"], "updated_at": "secret"}])
async def test_what_is_no_conversation_is_neither_read_nor_overwritten(
    made: Any, one: View, state: State[Any], other_value: object
) -> None:
    await state.put("conversation-ada-7", other_value)
    conversations = made(recipes.Conversations, one)
    for call in conversations.read("ada", 7), conversations.append("ada", 7, "user", "hello"):
        with pytest.raises(DecodeError, match="conversation-ada-7") as failed:
            await call
        assert "secret" not in str(failed.value)
    assert await state.get("conversation-ada-7") == other_value


async def test_a_message_is_there_with_all_else_that_its_transaction_writes(
    made: Any, calls: Any, one: View, state: State[Any]
) -> None:
    conversations = made(recipes.Conversations, one)

    async def say(tx: Any) -> None:
        tx.increment("credit", -1, initial=1, minimum=0)
        await conversations.append_in(tx, "ada", 7, "user", "one")
        await conversations.append_in(tx, "ada", 7, "user", "two")
        await conversations.append_in(tx, "ada", 8, "user", "three")

    await calls(one).transaction(say)
    assert [each.content for each in (await conversations.read("ada", 7)).messages] == ["one", "two"]
    assert await state.get("credit") == 0


async def test_a_conversation_that_would_be_larger_than_a_value_is_refused_and_stays(made: Any, one: View) -> None:
    conversations = made(recipes.Conversations, one)
    await conversations.append("ada", 7, "user", "x" * 600_000)
    with pytest.raises(InvalidArgument, match="value"):
        await conversations.append("ada", 7, "user", "y" * 600_000)
    assert len((await conversations.read("ada", 7)).messages) == 1
