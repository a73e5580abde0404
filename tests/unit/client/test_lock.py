"""What a lock does by clocks and answers that a real service seldom gives."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from typing import Any

import grpc
import pytest

import keepstate.recipes.sync
from keepstate import Client, Unavailable, sync
from keepstate.recipes import Leader, Lease, LeaseLost, Lock
from tests.unit.client.fake_service import FakeService, refusal

HOUR = timedelta(hours=1)


async def taken(state: Client[Any]) -> Lease:
    lease = await Lock(state, "report", lease=HOUR).try_acquire()
    assert lease is not None
    return lease


@pytest.mark.parametrize("clock", ["monotonic", "time"])
async def test_a_lease_is_over_when_either_clock_says_so(
    state: Client[Any], monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    lease = await taken(state)
    tell = getattr(time, clock)
    monkeypatch.setattr(time, clock, lambda: tell() + 3599)
    assert timedelta() < lease.left <= timedelta(seconds=1)
    monkeypatch.setattr(time, clock, lambda: tell() + 3601)
    assert lease.left == timedelta()
    assert not lease.held


async def test_a_clock_that_is_set_back_does_not_make_a_lease_longer(
    state: Client[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await taken(state)
    tell = time.time
    monkeypatch.setattr(time, "time", lambda: tell() - 3600)
    assert lease.left <= HOUR


async def test_the_time_that_the_call_took_is_not_held(
    state: Client[Any], service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = time.time

    async def slow(request: Any, context: Any) -> None:
        monkeypatch.setattr(time, "time", lambda: tell() + 600)

    service.script.append(slow)
    lease = await taken(state)
    assert lease.left <= HOUR - timedelta(minutes=10)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_lock_whose_answers_were_lost_is_its_holders(
    state: Client[Any], service: FakeService, pauses: list[float], times: int
) -> None:
    service.lose_replies(times)
    lease = await taken(state)
    assert lease.token == 1
    await lease.renew()


async def test_a_lock_that_may_be_anybodys_is_not_taken_for_ones_own(state: Client[Any], service: FakeService) -> None:
    unknown = refusal(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", metadata={"for_good": "true"})
    service.script.append(unknown)
    assert await Lock(state, "report").try_acquire() is None, "nobody has it, as far as can be told"
    await state.put("lock:report", {"holder": "another"})
    service.script.append(unknown)
    assert await Lock(state, "report").try_acquire() is None


async def test_a_lease_that_could_not_be_renewed_is_as_long_as_before(state: Client[Any], service: FakeService) -> None:
    lease = await taken(state)
    left = lease.left
    service.script.extend([refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")] * 100)
    with pytest.raises(Unavailable):
        await lease.renew(timeout=timedelta(milliseconds=50))
    assert lease.held
    assert lease.left < left


async def test_a_renewed_lease_is_held_its_whole_length_from_then_on(
    state: Client[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await taken(state)
    tell = time.time
    monkeypatch.setattr(time, "time", lambda: tell() + 2400)
    assert lease.left <= timedelta(minutes=20)
    await lease.renew()
    assert lease.left > timedelta(minutes=59)


async def test_one_that_leads_is_cancelled_when_it_loses_the_lead_and_runs_anew(state: Client[Any]) -> None:
    tokens: list[int] = []

    async def work(lease: Lease) -> str:
        tokens.append(lease.token)
        if len(tokens) == 1:
            await state.delete("lock:report")
            await asyncio.Event().wait()  # it never looks at its lease
        return "done"

    leader = Leader(state, "report", lease=timedelta(milliseconds=500))
    assert await asyncio.wait_for(leader.run(work), 20) == "done"
    assert tokens == [1, 2]


@pytest.mark.parametrize("milliseconds", [0, 1, 300])
async def test_who_waits_for_others_waits_as_long_as_it_said(
    state: Client[Any], monkeypatch: pytest.MonkeyPatch, milliseconds: int
) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: most)  # the pauses are as long as they may be
    timeout = timedelta(milliseconds=milliseconds)
    await taken(state)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await Lock(state, "report").acquire(timeout=timeout)
    assert time.monotonic() - began >= timeout.total_seconds()


async def test_a_lease_that_was_released_is_not_renewed(address: str, service: FakeService) -> None:
    async with Client(address, retry=None) as impatient:
        lease = await taken(impatient)
        service.script.append(refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"))
        with pytest.raises(Unavailable):
            await lease.release()
        with pytest.raises(LeaseLost):
            await lease.renew()
        assert await lease.release() is True, "another attempt"


async def test_bad_arguments_are_named(state: Client[Any], address: str) -> None:
    with pytest.raises(ValueError, match="lease must be positive"):
        Lock(state, "report", lease=timedelta())
    with pytest.raises(ValueError, match="part 2 of the key is empty"):
        Lock(state, "")
    async with Client(address) as other:
        lease = await taken(state)
        with pytest.raises(ValueError, match="another client's"):
            await other.transaction(lease.guard_in)


async def test_an_interrupt_in_the_body_releases_the_lock_and_ends_nothing_else(address: str) -> None:
    def story() -> None:
        with sync.Client(address) as state:
            with pytest.raises(KeyboardInterrupt), keepstate.recipes.sync.Lock(state, "report").hold() as lease:
                raise KeyboardInterrupt
            assert not lease.held
            assert state.get("lock:report") is None

    await asyncio.wait_for(asyncio.to_thread(story), 20)


async def test_an_interrupt_of_one_that_leads_releases_the_lock_though_its_client_is_closed_then(
    address: str, service: FakeService
) -> None:
    """As by Ctrl-C, which ends the program."""

    def interrupt(lease: Any) -> None:
        raise KeyboardInterrupt

    def story() -> None:
        with pytest.raises(KeyboardInterrupt), sync.Client(address) as state:
            keepstate.recipes.sync.Leader(state, "report").run(interrupt)

    await asyncio.wait_for(asyncio.to_thread(story), 20)
    assert [key for _, _, key in service.records] == ["lock:report:token"]
