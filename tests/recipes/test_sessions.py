"""Promises 7, 9 and 12 as sessions and drafts of forms have them."""

from __future__ import annotations

import asyncio
import itertools
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from keepstate import DecodeError, State, recipes
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

AT_ONCE = 64
AUTH = ("session", "auth")
TEMP = ("session", "temp")


async def expiry(state: State[Any], name: str) -> datetime:
    record = await state.get_record(name)
    assert record is not None
    assert record.expire_time is not None
    return record.expire_time


async def until_gone(state: State[Any], name: str) -> None:
    async with asyncio.timeout(10):
        while await state.get(name) is not None:
            await asyncio.sleep(0.05)


async def test_ids_are_unguessable_and_no_two_are_one(made: Any, one: View, other: View) -> None:
    both = [made(recipes.Sessions, view, *TEMP) for view in (one, other)]
    ids = await asyncio.gather(*(both[number % 2].create({}) for number in range(AT_ONCE)))
    assert len(set(ids)) == AT_ONCE
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", each) for each in ids)


async def test_a_session_is_plain_json_under_its_id(made: Any, one: View, other: View, state: State[Any]) -> None:
    session = await made(recipes.Sessions, one, *AUTH).create({"user": "ada"})
    assert await state.get(f"session:auth:{session}") == {"user": "ada"}
    assert await made(recipes.Sessions, other, *AUTH).get(session) == {"user": "ada"}
    assert await made(recipes.Sessions, other, *TEMP).get(session) is None


async def test_a_session_lives_on_while_it_is_read(made: Any, one: View, other: View, state: State[Any]) -> None:
    sessions = made(recipes.Sessions, one, *AUTH, ttl=timedelta(hours=1))
    session = await sessions.create({})
    await state.touch(sessions.key(session), ttl=timedelta(seconds=2))
    first = await expiry(state, sessions.key(session))
    assert await made(recipes.Sessions, other, *AUTH, ttl=timedelta(hours=1)).get(session) == {}
    async with asyncio.timeout(10):
        while await state.now() <= first:
            await asyncio.sleep(0.05)
    assert await sessions.get(session) == {}


async def test_a_session_that_nobody_uses_ends_and_does_not_begin_again(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    session = await made(recipes.Sessions, one, *AUTH, ttl=timedelta(seconds=1)).create({"user": "ada"})
    await until_gone(state, f"session:auth:{session}")
    sessions = made(recipes.Sessions, other, *AUTH)
    assert await sessions.get(session) is None
    assert await sessions.update(session, {"user": "eve"}) is None
    assert await sessions.rotate(session) is None
    assert await sessions.end(session) is False
    assert await sessions.get(session) is None


async def test_changes_at_once_lose_nothing(made: Any, one: View, other: View, state: State[Any]) -> None:
    both = [made(recipes.Sessions, view, *AUTH) for view in (one, other)]
    session = await both[0].create({"user": "ada"})
    await asyncio.gather(*(both[number % 2].update(session, {f"n{number}": number}) for number in range(32)))
    assert await both[1].get(session) == {"user": "ada"} | {f"n{number}": number for number in range(32)}


async def test_a_change_renews_the_session(made: Any, one: View, state: State[Any]) -> None:
    sessions = made(recipes.Sessions, one, *AUTH)
    session = await sessions.create({})
    await state.touch(sessions.key(session), ttl=timedelta(minutes=1))
    await sessions.update(session, {"a": 1})
    assert await expiry(state, sessions.key(session)) - await state.now() > timedelta(minutes=59)


async def test_members_are_set_as_they_are_given_and_removed_by_name(made: Any, one: View) -> None:
    sessions = made(recipes.Sessions, one, *AUTH)
    session = await sessions.create({"cart": {"apples": 1}, "note": "x", "user": "ada"})
    left = await sessions.update(session, {"cart": {"pears": 2}, "note": None}, remove=["user", "nobody"])
    assert left == {"cart": {"pears": 2}, "note": None}
    assert await sessions.get(session) == left
    with pytest.raises(TypeError, match="remove must be a list"):
        await sessions.update(session, {}, remove="cart")


async def test_what_is_no_session_is_said_to_be_none(made: Any, one: View, state: State[Any]) -> None:
    sessions = made(recipes.Sessions, one, *AUTH)
    await state.put("session:auth:list", [1])
    for call in (sessions.get, lambda name: sessions.update(name, {"a": 1}), sessions.rotate):
        with pytest.raises(DecodeError, match="session:auth:list"):
            await call("list")
        for name in ("", "x" * 600, "\ud800"):
            with pytest.raises(ValueError, match="key"):
                await call(name)
    assert await state.get("session:auth:list") == [1]


async def test_of_many_who_give_a_session_a_new_id_one_does(made: Any, one: View, other: View) -> None:
    both = [made(recipes.Sessions, view, *AUTH) for view in (one, other)]
    session = await both[0].create({"cart": [1]})
    told = await asyncio.gather(*(both[number % 2].rotate(session, {"user": number}) for number in range(16)))
    assert await both[0].get(session) is None
    (new,) = [each for each in told if each is not None]
    assert new != session
    assert await both[1].get(new) == {"cart": [1], "user": told.index(new)}


async def test_what_comes_after_the_end_does_not_bring_a_session_back(made: Any, one: View, other: View) -> None:
    here, there = (made(recipes.Sessions, view, *AUTH) for view in (one, other))
    session = await here.create({"user": "ada"})
    changes = [asyncio.ensure_future(there.update(session, {f"n{number}": number})) for number in range(16)]
    await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert await here.end(session) is True
    await asyncio.gather(*changes)
    assert await here.get(session) is None
    assert await there.update(session, {"user": "ada"}) is None


async def test_of_calls_whose_answers_were_lost_each_is_done_once(made: Any, lossy: Mortal, other: View) -> None:
    sessions = made(recipes.Sessions, lossy, *AUTH)
    seen = [await sessions.create({})]
    for number in range(6):
        assert await sessions.update(seen[-1], {f"n{number}": number}) is not None
        seen.append(await sessions.rotate(seen[-1], {"at": number}))
    assert lossy.network.lost >= 6
    elsewhere = made(recipes.Sessions, other, *AUTH)
    assert await elsewhere.get(seen[-1]) == {"at": 5} | {f"n{number}": number for number in range(6)}
    assert [await elsewhere.get(each) for each in seen[:-1]] == [None] * 6
    assert await sessions.end(seen[-1]) is True


async def test_of_a_program_that_dies_all_changes_that_were_acknowledged_are_there(
    made: Any, mortal: Mortal, other: View
) -> None:
    sessions = made(recipes.Sessions, mortal, *AUTH)
    session = await sessions.create({"user": "ada"})
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def write(writer: int) -> None:
        for number in itertools.count():
            name = f"{writer}-{number}"
            await sessions.update(session, {name: number})
            acknowledged.add(name)
            if len(acknowledged) == 20:
                enough.set()

    writers = [asyncio.create_task(write(writer)) for writer in range(4)]
    async with asyncio.timeout(30):
        await enough.wait()
    await mortal.die()
    ended = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(each, Exception | asyncio.CancelledError) for each in ended)
    kept = await made(recipes.Sessions, other, *AUTH).get(session)
    assert kept is not None
    assert acknowledged | {"user"} <= kept.keys()
    assert len(kept) <= len(acknowledged) + 1 + len(writers)


async def test_of_a_program_that_dies_at_a_login_one_id_at_most_is_a_session(
    made: Any, mortal: Mortal, other: View
) -> None:
    sessions = made(recipes.Sessions, mortal, *AUTH)
    seen = [await sessions.create({"user": "ada"})]

    async def rotate() -> None:
        while True:
            seen.append(await sessions.rotate(seen[-1], {"at": len(seen)}))

    rotating = asyncio.create_task(rotate())
    async with asyncio.timeout(30):
        while len(seen) < 10:
            await asyncio.sleep(0.01)
    await mortal.die()
    await asyncio.gather(rotating, return_exceptions=True)
    elsewhere = made(recipes.Sessions, other, *AUTH)
    assert [await elsewhere.get(each) for each in seen[:-1]] == [None] * (len(seen) - 1)
    # The last one that was told, unless the next was applied and could not be told any more.
    assert await elsewhere.get(seen[-1]) in (None, {"user": "ada", "at": len(seen) - 1})


async def test_fields_that_are_saved_at_once_are_all_in_the_draft(made: Any, one: View, other: View) -> None:
    both = [made(recipes.FormDrafts, view, "draft", "signup") for view in (one, other)]
    await asyncio.gather(*(both[number % 2].save("ada", {f"f{number}": number}) for number in range(AT_ONCE)))
    assert await both[0].get("ada") == {f"f{number}": number for number in range(AT_ONCE)}
    assert await both[0].get("bob") is None


async def test_a_draft_is_merged_and_none_removes_a_field(made: Any, one: View, state: State[Any]) -> None:
    drafts = made(recipes.FormDrafts, one, "draft", "signup")
    await drafts.save("ada", {"name": "Ada", "address": {"city": "London"}})
    assert await drafts.save("ada", {"name": None, "address": {"zip": "N1"}}) == {
        "address": {"city": "London", "zip": "N1"}
    }
    assert await state.get("draft:signup:ada") == {"address": {"city": "London", "zip": "N1"}}
    assert await drafts.delete("ada") is True
    assert await drafts.get("ada") is None


async def test_a_draft_lives_on_while_it_is_used_and_ends_then(made: Any, one: View, state: State[Any]) -> None:
    drafts = made(recipes.FormDrafts, one, "draft", "signup", ttl=timedelta(hours=1))
    for use in (drafts.save("ada", {"a": 1}), drafts.get("ada")):
        await use
        assert await expiry(state, drafts.key("ada")) - await state.now() > timedelta(minutes=59)
        await state.touch(drafts.key("ada"), ttl=timedelta(minutes=1))
    await state.touch(drafts.key("ada"), ttl=timedelta(seconds=1))
    await until_gone(state, drafts.key("ada"))
    assert await drafts.get("ada") is None
