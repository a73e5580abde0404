"""Promises 3, 4, 7, 9 and 11 as a lock has them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from keepstate import Conflict, Put, State, recipes
from keepstate.recipes import LeaseLost
from tests.recipes.conftest import Mortal, View

pytestmark = pytest.mark.containers

SECOND = timedelta(seconds=1)
SHORT = timedelta(milliseconds=300)
HOUR = timedelta(hours=1)


async def lost(lease: Any) -> None:
    """Wait until the lease is."""
    async with asyncio.timeout(10):
        while lease.held:
            await asyncio.sleep(0.02)


async def test_of_64_that_try_at_once_one_gets_the_lock(made: Any, one: View, other: View) -> None:
    locks = [made(recipes.Lock, view, "report") for view in (one, other)]
    leases = await asyncio.gather(*(locks[number % 2].try_acquire() for number in range(64)))
    [lease] = [each for each in leases if each is not None]
    assert lease.held
    assert await lease.release() is True
    assert not lease.held
    assert await lease.release() is False


async def test_who_holds_it_excludes_all_others(made: Any, one: View, other: View, state: State[Any]) -> None:
    async def add(view: View) -> None:
        async with made(recipes.Lock, view, "count").hold(timeout=timedelta(minutes=1)):
            count = await state.get("count", default=0)
            await state.put("count", count + 1)  # it overwrites what others would have put meanwhile

    await asyncio.gather(*(add(view) for view in [one, other] * 8))
    assert await state.get("count") == 16


async def test_each_lease_has_a_greater_token_than_all_before(made: Any, one: View, other: View) -> None:
    tokens = []
    for view in (one, other, one):
        lease = await made(recipes.Lock, view, "report").acquire()
        tokens.append(lease.token)
        await lease.release()
    assert tokens == [1, 2, 3]


async def test_the_lock_of_a_holder_that_died_is_free_after_its_lease(made: Any, one: View, other: View) -> None:
    dead = await made(recipes.Lock, one, "report", lease=SHORT).acquire()
    lease = await made(recipes.Lock, other, "report").acquire(timeout=10 * SECOND)
    assert lease.token == dead.token + 1
    assert not dead.held, "its own clock began before the service's"
    with pytest.raises(LeaseLost, match="lock:report") as told:
        dead.check()
    assert told.value.token == dead.token
    with pytest.raises(LeaseLost):
        await dead.renew()
    assert await dead.release() is False
    assert lease.held
    await lease.renew()


async def test_who_waits_too_long_is_told(made: Any, one: View, other: View) -> None:
    lease = await made(recipes.Lock, one, "report").acquire()
    with pytest.raises(TimeoutError, match="lock:report"):
        await made(recipes.Lock, other, "report").acquire(timeout=SECOND / 10)
    waiting = asyncio.ensure_future(made(recipes.Lock, other, "report").acquire(timeout=20 * SECOND))
    await lease.release()
    assert (await waiting).token > lease.token


async def test_a_renewed_lease_lasts_its_whole_length_again(made: Any, one: View, state: State[Any]) -> None:
    lease = await made(recipes.Lock, one, "report", lease=HOUR).acquire()
    await state.touch("lock:report", ttl=timedelta(minutes=1))
    await lease.renew()
    record = await state.get_record("lock:report")
    assert record is not None
    assert record.expire_time is not None
    assert record.expire_time - await state.now() > lease.left - SECOND > HOUR - timedelta(minutes=1)


async def test_what_is_held_is_renewed_in_the_background(made: Any, one: View, other: View, state: State[Any]) -> None:
    async def expires() -> datetime:
        record = await state.get_record("lock:report")
        assert record is not None
        assert record.expire_time is not None
        return record.expire_time

    async with made(recipes.Lock, one, "report", lease=2 * SECOND).hold() as lease:
        first = await expires()
        async with asyncio.timeout(20):
            while await expires() < first + SECOND:  # more than one renewal moves it
                assert await made(recipes.Lock, other, "report").try_acquire() is None
                lease.check()
                await asyncio.sleep(0.05)
    assert await made(recipes.Lock, other, "report").try_acquire() is not None


async def test_who_holds_a_lock_that_is_lost_is_told_at_the_end(made: Any, one: View, state: State[Any]) -> None:
    async def work() -> None:
        async with made(recipes.Lock, one, "report", lease=SECOND / 2).hold() as lease:
            await state.delete("lock:report")
            await lost(lease)

    with pytest.raises(LeaseLost):
        await work()


async def test_what_the_body_raises_counts_more_than_the_lock(
    made: Any, one: View, other: View, state: State[Any]
) -> None:
    async def work(*, loses: bool) -> None:
        async with made(recipes.Lock, one, "report", lease=SECOND / 2).hold() as lease:
            if loses:
                await state.delete("lock:report")
                await lost(lease)
            raise LookupError

    with pytest.raises(LookupError):
        await work(loses=False)
    assert await state.get("lock:report") is None, "it is released"
    with pytest.raises(LookupError):
        await work(loses=True)


async def write(calls: Any, view: View, lease: Any) -> None:
    """Write, from another namespace, what the lease guards."""

    async def work(tx: Any) -> None:
        tx.namespace("reports").put("report", lease.token)
        await lease.guard_in(tx.namespace("reports"))

    await calls(view).transaction(work)


async def test_what_a_lease_guards_is_applied_only_while_it_holds(
    made: Any, calls: Any, one: View, other: View, state: State[Any]
) -> None:
    dead = await made(recipes.Lock, one, "report", lease=HOUR).acquire()
    reports = state.namespace("reports")
    await write(calls, one, dead)
    await reports.transact(checks=[dead.guard()], puts=[Put("report", dead.token)])
    await state.touch("lock:report", ttl=SHORT)  # by its own clock it goes on holding the lock
    lease = await made(recipes.Lock, other, "report").acquire(timeout=10 * SECOND)
    assert dead.held
    await write(calls, other, lease)
    with pytest.raises(LeaseLost):
        await write(calls, one, dead)
    with pytest.raises(Conflict) as refused:
        await reports.transact(checks=[dead.guard()], puts=[Put("report", dead.token)])
    assert refused.value.name is not None
    assert refused.value.name.key == "lock:report"
    assert await reports.get("report") == lease.token


async def test_a_lease_that_is_lost_during_a_transaction_has_nothing_applied(
    made: Any, calls: Any, one: View, state: State[Any]
) -> None:
    lease = await made(recipes.Lock, one, "report").acquire()

    async def work(tx: Any) -> None:
        await lease.guard_in(tx)
        await state.delete("lock:report")
        tx.put("report", 1)

    with pytest.raises(LeaseLost):
        await calls(one).transaction(work)
    assert await state.get("report") is None
    assert not lease.held


async def test_renewing_does_not_disturb_what_is_guarded(made: Any, one: View, state: State[Any]) -> None:
    lease = await made(recipes.Lock, one, "report").acquire()
    guard = lease.guard()
    await lease.renew()
    await state.transact(checks=[guard], puts=[Put("report", 1)])
    await asyncio.gather(*(lease.renew() for _ in range(8)), write_guarded(state, guard))


async def write_guarded(state: State[Any], guard: Any) -> None:
    for number in range(8):
        await state.transact(checks=[guard], puts=[Put("report", number)])


async def test_a_lock_whose_answer_was_lost_is_its_holders(made: Any, mortal: Mortal, other: View) -> None:
    mortal.network.loses = lambda number: number == 1
    lease = await made(recipes.Lock, mortal, "report").try_acquire()
    assert mortal.network.lost == 1
    assert (lease.held, lease.token) == (True, 1)
    assert await made(recipes.Lock, other, "report").try_acquire() is None
    await lease.renew()
    assert await lease.release() is True
    assert (await made(recipes.Lock, other, "report").try_acquire()).token == 2


async def test_a_lock_is_free_after_the_lease_of_a_program_that_is_killed_while_it_renews(
    made: Any, mortal: Mortal, other: View
) -> None:
    async def work() -> None:
        async with made(recipes.Lock, mortal, "report", lease=SHORT).hold():
            await mortal.die()
            lease = await made(recipes.Lock, other, "report").acquire(timeout=10 * SECOND)
            assert lease.token == 2

    with pytest.raises(RuntimeError, match="the client is closed"):
        await work()
