"""Chat history as LangChain documents it: by its interface, and in a chain."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables.history import RunnableWithMessageHistory

from keepstate import DecodeError, EncodeError, State
from keepstate.adapters.langchain import AsyncKeepstateChatMessageHistory, KeepstateChatMessageHistory
from keepstate.recipes import ChatHistory
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers


def history_of(view: View, style: str, session: str, **named: Any) -> BaseChatMessageHistory:
    if style == "asynchronous":
        return AsyncKeepstateChatMessageHistory(view.asynchronous, session, **named)
    return KeepstateChatMessageHistory(view.synchronous, session, **named)


async def test_messages_of_every_kind_come_back_as_they_were(one: View, other: View, style: str) -> None:
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call-1", "type": "tool_call"}
    said = [
        SystemMessage("Be short."),
        HumanMessage([{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": "https://e.org/i.png"}]),
        AIMessage("", tool_calls=[call], id="message-1", additional_kwargs={"reason": "ünïcode"}),
        ToolMessage("4 °C", tool_call_id="call-1", artifact={"celsius": 4.5}),
    ]
    await history_of(one, style, "a").aadd_messages(said)
    assert await history_of(other, style, "a").aget_messages() == said


async def test_an_empty_history_is_empty_and_no_session_is_taken_for_another(one: View, style: str) -> None:
    history = history_of(one, style, "a")
    assert await history.aget_messages() == []
    await history.aadd_messages([])
    await history_of(one, style, "a:b").aadd_messages([HumanMessage("x")])
    assert await history.aget_messages() == []
    await history.aclear()  # where there is none, too
    await history_of(one, style, "a:b").aclear()
    assert await history_of(one, style, "a:b").aget_messages() == []


async def test_of_64_writers_through_two_instances_none_loses_anothers_message(
    one: View, other: View, style: str
) -> None:
    views = [one, other] * 32
    pairs = [(HumanMessage(f"{number}?"), AIMessage(f"{number}!")) for number in range(64)]
    await asyncio.gather(
        *(history_of(view, style, "a").aadd_messages(pair) for view, pair in zip(views, pairs, strict=True))
    )
    found = await history_of(one, style, "a").aget_messages()
    together = list(zip(found[::2], found[1::2], strict=True))  # a question is followed by its own answer
    assert sorted(together, key=lambda pair: int(pair[0].text[:-1])) == pairs


async def test_the_newest_are_kept(one: View, style: str) -> None:
    history = history_of(one, style, "a", keep=3)
    await history.aadd_messages([HumanMessage(str(number)) for number in range(5)])
    await history.aadd_messages([AIMessage("5")])
    assert [message.text for message in await history.aget_messages()] == ["3", "4", "5"]


async def test_a_message_begins_the_time_to_live_anew(one: View, style: str, state: State[Any]) -> None:
    history = history_of(one, style, "a", ttl=timedelta(hours=1))
    await history.aadd_messages([HumanMessage("1")])
    await state.touch("langchain:messages:a", ttl=timedelta(minutes=1))
    await history.aadd_messages([AIMessage("2")])
    record = await state.get_record("langchain:messages:a")
    assert record is not None
    assert record.expire_time is not None
    assert record.expire_time - await state.now() > timedelta(minutes=59)


async def test_with_the_prefix_of_the_recipe_it_is_still_another_history(
    one: View, style: str, state: State[Any]
) -> None:
    recipe, history = ChatHistory(state), history_of(one, style, "a", prefix="chat")
    await recipe.append("a", "user", "1")
    await history.aadd_messages([HumanMessage("2")])
    assert [message.content for message in await recipe.read("a")] == ["1"]
    assert [message.text for message in await history.aget_messages()] == ["2"]


@pytest.mark.parametrize("other_value", [[{"role": "user"}], [{"type": "odd", "data": {}}], ["x"], 7])
async def test_what_is_no_history_of_langchain_is_refused_by_its_key(
    one: View, style: str, state: State[Any], other_value: Any
) -> None:
    await state.put("langchain:messages:a", other_value)
    with pytest.raises(DecodeError, match="langchain:messages:a"):
        await history_of(one, style, "a").aget_messages()


async def test_what_json_cannot_say_is_refused_before_anything_is_sent(one: View, style: str) -> None:
    history = history_of(one, style, "a")
    with pytest.raises(EncodeError, match="langchain:messages:a"):
        await history.aadd_messages([HumanMessage("1"), HumanMessage("2", additional_kwargs={"file": b"\0"})])
    assert await history.aget_messages() == []


async def test_without_asyncio_it_is_a_plain_history(one: View) -> None:
    history = KeepstateChatMessageHistory(one.synchronous, "a")

    def use() -> None:
        history.add_user_message("Hello")
        history.add_ai_message("Hello Ada")
        assert history.messages == [HumanMessage("Hello"), AIMessage("Hello Ada")]
        assert str(history) == "Human: Hello\nAI: Hello Ada"
        history.clear()
        assert history.messages == []

    await asyncio.to_thread(use)


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")  # in favour of LangGraph's checkpoints
async def test_a_chain_goes_on_with_the_history_through_another_instance(one: View, other: View, style: str) -> None:
    async def say(view: View, text: str, answer: str) -> None:
        model = FakeListChatModel(responses=[answer])
        chat = RunnableWithMessageHistory(model, lambda session: history_of(view, style, session))
        config: Any = {"configurable": {"session_id": "ada"}}
        if style == "asynchronous":
            said = await chat.ainvoke([HumanMessage(text)], config)
        else:
            said = await asyncio.to_thread(chat.invoke, [HumanMessage(text)], config)
        assert said.content == answer

    await say(one, "I am Ada", "Hello Ada")
    await say(other, "Who am I?", "Ada")
    found = await history_of(one, style, "ada").aget_messages()
    assert [message.text for message in found] == ["I am Ada", "Hello Ada", "Who am I?", "Ada"]


async def test_the_asynchronous_one_refuses_to_wait_and_says_what_to_use(one: View) -> None:
    history = AsyncKeepstateChatMessageHistory(one.asynchronous, "a")
    with pytest.raises(NotImplementedError, match="KeepstateChatMessageHistory"):
        _ = history.messages
    with pytest.raises(NotImplementedError, match="KeepstateChatMessageHistory"):
        history.add_user_message("x")
    with pytest.raises(NotImplementedError, match="KeepstateChatMessageHistory"):
        history.clear()


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"session_id": ""}, {"prefix": ""}])
async def test_wrong_arguments_are_refused_when_it_is_made(one: View, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be at least 1|is empty"):
        AsyncKeepstateChatMessageHistory(one.asynchronous, **{"session_id": "a"} | wrong)
