"""Promises 9 and 12 as an outbox has them."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from keepstate import KeepstateError, State, recipes
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

SHORT = timedelta(seconds=1)


class Published:
    """What was published, in order, by whichever relay."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.messages: list[Any] = []

    async def publish(self, identifier: str, message: Any) -> None:
        self.ids.append(identifier)
        self.messages.append(message)


async def add(view: Any, outbox: Any, *messages: Any) -> list[str]:
    async def change(tx: Any) -> list[str]:
        return list(outbox.add_in(tx, *messages))

    return list(await view.transaction(change))


async def relay_until_empty(outbox: Any, publish: Any) -> int:
    """How many this relay published. It asks again as long as another is at work, or a lease of one that died lasts."""
    published = 0
    async with asyncio.timeout(30):
        while await outbox.size() > 0:
            published += await outbox.relay(publish)
            await asyncio.sleep(0.02)
    return published


async def test_a_message_is_published_if_and_only_if_the_change_was_made(
    made: Any, calls: Any, one: View, other: View, state: State[Any]
) -> None:
    outbox, seen = made(recipes.Outbox, one), Published()

    async def rename(tx: Any) -> list[str]:
        tx.put("user", "Ada")
        return list(outbox.add_in(tx, {"user": "Ada"}, {"mail": "welcome"}))

    async def fail(tx: Any) -> None:
        await rename(tx)
        raise LookupError

    with pytest.raises(LookupError):
        await calls(one).transaction(fail)
    theirs = made(recipes.Outbox, other)
    assert await theirs.relay(seen.publish) == 0
    assert await state.get("user") is None
    ids = await calls(one).transaction(rename)
    assert await state.get("user") == "Ada"
    assert await theirs.size() == 2
    assert await theirs.relay(seen.publish) == 2
    assert await outbox.relay(seen.publish) == 0
    assert seen.messages == [{"user": "Ada"}, {"mail": "welcome"}]
    assert seen.ids == ids


async def test_messages_are_published_in_the_order_of_the_changes(
    made: Any, calls: Any, one: View, other: View
) -> None:
    both = [(calls(view), made(recipes.Outbox, view)) for view in (one, other)]
    seen = Published()

    async def count(view: Any, outbox: Any) -> None:
        async def change(tx: Any) -> None:
            number = await tx.get("number", default=0) + 1
            tx.put("number", number)
            outbox.add_in(tx, number)

        await view.transaction(change, tries=1000)

    async with asyncio.timeout(30):
        await asyncio.gather(*(count(*both[number % 2]) for number in range(16)))
    assert await both[0][1].relay(seen.publish) == 16
    assert seen.messages == list(range(1, 17))


async def test_transactions_that_share_nothing_but_the_outbox_do_not_overtake_each_other(
    made: Any, calls: Any, one: View, other: View
) -> None:
    both = [(calls(view), made(recipes.Outbox, view)) for view in (one, other)]
    runs = 0

    async def write(number: int) -> None:
        view, outbox = both[number % 2]

        async def change(tx: Any) -> None:
            nonlocal runs
            runs += 1
            tx.put(f"record:{number}", await tx.get(f"record:{number}", default=0) + 1)
            outbox.add_in(tx, number)

        await view.transaction(change)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(write, range(32)))
    assert runs < 48, "each ran once, but now and then one"
    assert await both[0][1].size() == 32


async def test_what_a_dying_relay_published_and_did_not_remove_comes_again_under_its_id(
    made: Any, calls: Any, one: View, mortal: Mortal
) -> None:
    outbox, dying = (made(recipes.Outbox, view, lease=SHORT) for view in (one, mortal))
    ids = await add(calls(one), outbox, "a", "b", "c")
    seen = Published()

    async def publish_and_die(identifier: str, message: Any) -> None:
        await seen.publish(identifier, message)
        if message == "b":
            await mortal.die()

    began = time.monotonic()
    with pytest.raises((KeepstateError, RuntimeError)):
        await dying.relay(publish_and_die)
    assert seen.messages == ["a", "b"]
    assert await relay_until_empty(outbox, seen.publish) == 2
    assert time.monotonic() - began > SHORT.total_seconds() - 0.1
    assert seen.messages == ["a", "b", "b", "c"]
    assert seen.ids == [ids[0], ids[1], ids[1], ids[2]]


async def test_two_relays_at_once_publish_each_message_once_and_in_order(
    made: Any, calls: Any, one: View, other: View
) -> None:
    both = [(calls(view), made(recipes.Outbox, view)) for view in (one, other)]
    seen, under_way = Published(), 0

    async def publish(identifier: str, message: Any) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1, "one relay at a time"
        await seen.publish(identifier, message)
        await asyncio.sleep(0)
        under_way -= 1

    async def write() -> None:
        for number in range(24):
            await add(*both[number % 2], number)

    writing = asyncio.ensure_future(write())
    while not writing.done():
        await asyncio.gather(*(outbox.relay(publish) for _, outbox in both))
    await writing
    await asyncio.gather(*(relay_until_empty(outbox, publish) for _, outbox in both))
    assert seen.messages == list(range(24))
    assert len(set(seen.ids)) == 24


async def test_a_message_that_cannot_be_published_stays_the_first(
    made: Any, calls: Any, one: View, other: View
) -> None:
    outbox, theirs = made(recipes.Outbox, one), made(recipes.Outbox, other)
    await add(calls(one), outbox, "a", "b")
    seen = Published()

    async def fail(identifier: str, message: Any) -> None:
        raise ConnectionError(f"nobody takes {message}")

    with pytest.raises(ConnectionError, match="nobody takes a"):
        await outbox.relay(fail)
    assert await theirs.relay(seen.publish) == 2, "at once, not when the lease ends"
    assert seen.messages == ["a", "b"]


async def test_what_publishing_raised_is_told_also_where_the_client_was_closed(
    made: Any, calls: Any, one: View, mortal: Mortal
) -> None:
    await add(calls(one), made(recipes.Outbox, one), "a")

    async def die_and_fail(identifier: str, message: str) -> None:
        await mortal.die()
        raise ConnectionError(f"nobody takes {message}")

    with pytest.raises(ConnectionError, match="nobody takes a"):
        await made(recipes.Outbox, mortal).relay(die_and_fail)


async def test_a_relay_that_is_cancelled_leaves_its_message_to_another_at_once(
    made: Any, calls: Any, one: View, other: View
) -> None:
    dying: recipes.Outbox[str] = recipes.Outbox(one.asynchronous)  # a thread cannot be cancelled
    await add(calls(one), made(recipes.Outbox, one), "a", "b")
    seen, publishing = Published(), asyncio.Event()

    async def hang(identifier: str, message: str) -> None:
        publishing.set()
        await asyncio.Event().wait()

    relay = asyncio.ensure_future(dying.relay(hang))
    async with asyncio.timeout(10):
        await publishing.wait()
    relay.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relay
    assert await made(recipes.Outbox, other).relay(seen.publish) == 2, "at once, not when the lease ends"
    assert seen.messages == ["a", "b"]


async def test_a_relay_gives_way_to_one_at_work(made: Any, calls: Any, one: View, other: View) -> None:
    outbox, theirs = made(recipes.Outbox, one), made(recipes.Outbox, other)
    await add(calls(one), outbox, "a", "b")
    seen = Published()

    async def publish(identifier: str, message: Any) -> None:
        assert await theirs.relay(seen.publish) == 0
        await seen.publish(identifier, message)

    assert await outbox.relay(publish) == 2
    assert seen.messages == ["a", "b"]


async def test_consumers_that_mark_ids_process_each_message_once(
    made: Any, calls: Any, one: View, other: View, mortal: Mortal, state: State[Any]
) -> None:
    outbox, dying = (made(recipes.Outbox, view, lease=SHORT) for view in (one, mortal))
    once = made(recipes.Once, other)
    await add(calls(one), outbox, 5, 7)

    async def consume(identifier: str, message: int) -> None:
        async def pay(tx: Any) -> None:
            tx.increment("paid", message)

        await once.run(identifier, pay)

    async def consume_and_die(identifier: str, message: int) -> None:
        await consume(identifier, message)
        await mortal.die()

    with pytest.raises((KeepstateError, RuntimeError)):
        await dying.relay(consume_and_die)
    assert await relay_until_empty(outbox, consume) == 2
    assert await state.get("paid") == 12
