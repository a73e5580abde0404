"""Promises 7, 11 and 12 as sessions, contexts and histories of a chat have them."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keepstate import DecodeError, State, UpdateNotApplicable, recipes
from keepstate.recipes import Message
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers


def contents(messages: list[Message]) -> list[str]:
    return [message.content for message in messages]


async def time_left(state: State[Any], name: str) -> timedelta | None:
    record = await state.get_record(name)
    assert record is not None
    return None if record.expire_time is None else record.expire_time - await state.now()


def about(ttl: timedelta, left: timedelta | None) -> bool:
    return left is not None and timedelta(0) <= ttl - left < timedelta(minutes=1)


async def test_a_session_lives_an_hour_and_a_context_for_ever(made: Any, one: View, state: State[Any]) -> None:
    sessions, contexts = made(recipes.ChatSessions, one), made(recipes.ChatContexts, one)
    await sessions.put("ada", {"topic": "engines"})
    await contexts.put("ada", {"language": "en"})
    assert await state.get("chat:session:ada") == await sessions.get("ada") == {"topic": "engines"}
    assert await state.get("chat:context:ada") == await contexts.get("ada") == {"language": "en"}
    assert about(timedelta(hours=1), await time_left(state, "chat:session:ada"))
    assert await time_left(state, "chat:context:ada") is None
    assert await sessions.delete("ada") is True
    assert await sessions.get("ada") is None


async def test_a_history_keeps_the_last_50_and_reads_the_last_20(made: Any, one: View, other: View) -> None:
    history = made(recipes.ChatHistory, one)
    for number in range(60):
        await history.append("ada", "user", f"{number}")
    history = made(recipes.ChatHistory, other)
    assert contents(await history.read("ada")) == [f"{number}" for number in range(40, 60)]
    assert contents(await history.read("ada", last=3)) == ["57", "58", "59"]
    assert contents(await history.read("ada", last=1000)) == [f"{number}" for number in range(10, 60)]


async def test_a_message_is_kept_as_json_with_the_services_time(made: Any, one: View, state: State[Any]) -> None:
    message = await made(recipes.ChatHistory, one).append("ada", "user", "héllo")
    assert abs(message.timestamp - await state.now()) < timedelta(seconds=5)
    text = message.timestamp.isoformat().removesuffix("+00:00") + "Z"
    assert await state.get("chat:history:ada") == [{"timestamp": text, "role": "user", "content": "héllo"}]
    assert await made(recipes.ChatHistory, one).read("ada") == [message]


async def test_each_append_renews_the_day(made: Any, one: View, state: State[Any]) -> None:
    history = made(recipes.ChatHistory, one)
    await history.append("ada", "user", "hello")
    await state.touch("chat:history:ada", ttl=timedelta(minutes=5))
    await history.append("ada", "assistant", "hello")
    assert about(timedelta(days=1), await time_left(state, "chat:history:ada"))


async def test_a_history_ends_with_its_time_to_live(made: Any, one: View, other: View) -> None:
    history = made(recipes.ChatHistory, one, ttl=timedelta(seconds=1))
    await history.append("ada", "user", "hello")
    async with asyncio.timeout(10):
        while await made(recipes.ChatHistory, other).read("ada") != []:
            await asyncio.sleep(0.05)


async def test_of_64_writers_at_once_nothing_is_lost_or_torn_apart(made: Any, one: View, other: View) -> None:
    """Each writes a question and its answer, through either instance."""
    histories = made(recipes.ChatHistory, one, keep=128), made(recipes.ChatHistory, other, keep=128)
    await asyncio.gather(
        *(
            history.extend("ada", [("user", f"{number}"), ("assistant", f"{number}")])
            for number, history in zip(range(64), itertools.cycle(histories))
        )
    )
    kept = await histories[0].read("ada", last=128)
    assert [message.role for message in kept] == ["user", "assistant"] * 64
    assert contents(kept[::2]) == contents(kept[1::2])
    assert sorted(map(int, contents(kept[::2]))) == list(range(64))


async def test_a_message_whose_answer_was_lost_is_there_once(made: Any, lossy: Mortal, other: View) -> None:
    history = made(recipes.ChatHistory, lossy)
    for number in range(12):
        await history.append("ada", "user", f"{number}")
    assert lossy.network.lost >= 4
    assert contents(await made(recipes.ChatHistory, other).read("ada")) == [f"{number}" for number in range(12)]


async def test_of_a_program_that_dies_all_that_was_acknowledged_is_there_and_nothing_twice(
    made: Any, mortal: Mortal, other: View
) -> None:
    history = made(recipes.ChatHistory, mortal, keep=10_000)
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        for number in itertools.count():
            await history.append("ada", "user", f"{writer}-{number}")
            acknowledged.append(f"{writer}-{number}")
            if len(acknowledged) == 40:
                enough.set()

    writers = [asyncio.create_task(write(writer)) for writer in range(4)]
    async with asyncio.timeout(30):
        await enough.wait()
    await mortal.die()
    ended = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(each, Exception | asyncio.CancelledError) for each in ended)
    kept = contents(await made(recipes.ChatHistory, other).read("ada", last=10_000))
    assert len(set(kept)) == len(kept)
    assert set(acknowledged) <= set(kept)
    assert len(kept) <= len(acknowledged) + len(writers)


async def test_a_history_is_cleared_and_of_another_user_is_not(made: Any, one: View) -> None:
    history = made(recipes.ChatHistory, one)
    await history.append("a:b", "user", "hello")
    await history.append("a", "user", "good day")
    assert await history.clear("a") is True
    assert await history.clear("a") is False
    assert await history.read("a") == []
    assert contents(await history.read("a:b")) == ["hello"]


async def test_no_messages_change_nothing(made: Any, one: View, state: State[Any]) -> None:
    history = made(recipes.ChatHistory, one)
    assert await history.extend("ada", []) == []
    assert await state.get_record("chat:history:ada") is None


async def test_a_transactions_messages_are_there_with_all_else_that_it_writes_or_not_at_all(
    made: Any, calls: Any, one: View
) -> None:
    history, counters = made(recipes.ChatHistory, one), made(recipes.Counters, one, "count")

    async def say(tx: Any) -> Message:
        tx.increment("credit", -1, initial=1, minimum=0)
        counters.increment_in(tx, "ada", 2)
        said: list[Message] = await history.extend_in(tx, "ada", [("user", "add"), ("assistant", "added")])
        return said[-1]

    message = await calls(one).transaction(say)
    assert (await history.read("ada"))[-1] == message
    with pytest.raises(UpdateNotApplicable):
        await calls(one).transaction(say)
    assert contents(await history.read("ada")) == ["add", "added"]
    assert await counters.read("ada") == 2


async def test_a_transaction_of_another_view_writes_where_the_history_is(made: Any, calls: Any, one: View) -> None:
    history = made(recipes.ChatHistory, one)

    async def say(tx: Any) -> None:
        await history.append_in(tx, "ada", "user", "hello")

    elsewhere = View(
        asynchronous=one.asynchronous.namespace("elsewhere"), synchronous=one.synchronous.namespace("elsewhere")
    )
    await calls(elsewhere).transaction(say)
    assert contents(await history.read("ada")) == ["hello"]


async def test_a_history_that_would_be_larger_than_a_value_is_refused_and_stays(made: Any, one: View) -> None:
    history = made(recipes.ChatHistory, one)
    await history.append("ada", "user", "x" * 600_000)
    with pytest.raises(UpdateNotApplicable):
        await history.append("ada", "user", "y" * 600_000)
    await history.append("ada", "user", "short")
    assert [len(message.content) for message in await history.read("ada")] == [600_000, 5]
    smaller = made(recipes.ChatHistory, one, keep=1)
    await smaller.append("ada", "user", "y" * 600_000)
    assert [len(message.content) for message in await history.read("ada")] == [600_000]


async def test_messages_of_other_programs_are_read(made: Any, one: View, state: State[Any]) -> None:
    theirs: list[dict[str, Any]] = [
        {"timestamp": "2026-11-23T09:00:00.123456789Z", "role": "user", "content": "of Go", "more": 1},
        {"timestamp": "2026-11-23T11:00:01+02:00", "role": "user", "content": "of Java"},
        {"timestamp": "2026-11-23T09:00:02.5", "role": "user", "content": "without a zone"},
    ]
    await state.put("chat:history:ada", theirs)
    found = await made(recipes.ChatHistory, one).read("ada")
    assert contents(found) == [each["content"] for each in theirs]
    assert [message.timestamp for message in found] == [
        datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC),
        datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC),
        datetime(2026, 11, 23, 9, 0, 2, 500000, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    "other_value",
    [
        {"a": 1},
        ["secret"],
        [{"role": "user", "content": "secret"}],
        [{"timestamp": "secret", "role": "user", "content": "secret"}],
        [{"timestamp": "2026-11-23T09:00:00Z", "role": "user", "content": ["secret"]}],
    ],
)
async def test_what_is_no_history_is_no_empty_one(made: Any, one: View, state: State[Any], other_value: object) -> None:
    await state.put("chat:history:ada", other_value)
    with pytest.raises(DecodeError, match="chat:history:ada") as failed:
        await made(recipes.ChatHistory, one).read("ada")
    assert "secret" not in str(failed.value)
