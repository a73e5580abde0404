"""Intents whose transaction nobody ends, and coordinators that come back too late."""

from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.errors import DeadlineExceeded, RecordMissing, StoreUnavailable
from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Check, Delete, Get, Put
from keepstate_server.domain.records import ABSENT, EXISTS
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service
from tests.unit.server.hand import MINUTE, SECOND, again
from tests.unit.server.model_store import WriteFault
from tests.unit.server.transactions.conftest import OTHER, Bench, put


@pytest.mark.parametrize(("late", "value"), [(1 * SECOND, b"new"), (20 * SECOND, None)])
async def test_intents_that_came_late_do_not_count_if_a_record_has_expired_since(
    staged: Bench, late: int, value: bytes | None
) -> None:
    """Somebody may have seen the lease gone, and the other record as it was."""
    await staged.put("lease", expiry=Instant(staged.clock.now() + 10 * SECOND))
    lease = Check(name=name("lease"), precondition=EXISTS)
    staged.store.write_faults.append(WriteFault.LATE)

    async def decides_nothing() -> None:
        staged.store.prepare_faults.extend(["silent"] * 1000)

    staged.store.before_write.append(decides_nothing)
    coordinator = asyncio.create_task(staged.run(lease, put("x")))
    async with asyncio.timeout(5):
        while len(staged.store.prepare_faults) in (0, 1000):
            await asyncio.sleep(0)
    coordinator.cancel()
    await asyncio.gather(coordinator, return_exceptions=True)
    staged.store.prepare_faults.clear()
    staged.clock.advance(late)
    staged.store.deliver()
    assert await staged.value("x") == value


async def test_a_coordinator_that_slept_for_long_commits_nothing_any_more() -> None:
    """The transaction was aborted meanwhile, and nobody remembers that: the outcome is not kept for so long."""
    service = Service(counts=False)

    async def sleeps() -> None:
        service.clock.advance(10 * SECOND)
        with pytest.raises(RecordMissing):
            await service.instance().perform(Get(name=name("a")), service.deadline())
        service.clock.advance(120 * MINUTE)

    async def passes() -> None:
        return

    # Its second look shows both intents; one is gone by the time that it has both answers.
    service.second.before_read.extend([passes, sleeps])
    operations = [Put(name=name("a"), value=b"new"), Put(name=name("b", store="second"), value=b"new")]
    with pytest.raises(DeadlineExceeded):
        await service.engine.transact(operations, None, service.deadline())
    await service.engine.drain(timeout=5)
    assert not service.second.before_read
    records = await service.engine.snapshot([each.name for each in operations], service.deadline())
    assert records == [None, None]


async def test_a_coordinator_that_slept_for_long_brings_no_collected_record_back(staged: Bench) -> None:
    """On Redis a compare-and-set upon a key that is gone creates it."""
    transaction = staged.transaction(put("a"))
    await transaction.run()
    await staged.run(Delete(name=name("a")))
    staged.clock.advance(120 * MINUTE)
    staged.store.delete_raw("a")
    await transaction.clean_up()
    assert staged.store.stands("a") is None


async def test_a_refusal_is_noted_on_another_programs_value_only_when_that_cannot_expire(staged: Bench) -> None:
    """On Redis the note would bring an expired value back."""
    staged.store.put_raw("a", b"raw", gone_at=Instant(staged.clock.now() + SECOND))

    async def expires() -> None:
        staged.clock.advance(SECOND)

    staged.store.before_write.append(expires)
    request = again(staged.requests.new())
    await staged.run(Put(name=name("a"), value=b"mine", precondition=OTHER), request=request)
    envelope = decode(staged.store.stands("a") or b"")
    assert envelope is not None
    assert envelope.trail.find(request) is not None
    assert await staged.value("a") is None


async def test_another_programs_value_is_adopted_again_when_it_has_changed(staged: Bench) -> None:
    staged.store.put_raw("a", b"first")

    async def writes() -> None:
        staged.store.put_raw("a", b"second")

    async def passes() -> None:
        return

    staged.store.before_read.extend([passes, writes])
    assert isinstance(await staged.run(put("a")), list)
    assert staged.store.count("adopt") == 2


async def test_adopting_is_not_taken_for_the_write_of_somebody_else(staged: Bench) -> None:
    """Nobody else won: the caller is not told that others came between."""
    staged.store.adopting_rewrites = True
    staged.store.put_raw("a", b"raw")

    async def lose_all() -> None:
        staged.store.write_faults.extend([WriteFault.REQUEST_LOST] * 20)

    staged.store.before_write.extend([lose_all])
    assert isinstance(await staged.run(put("a"), put("b")), StoreUnavailable)


async def test_a_conflict_on_redis_leaves_no_outcome(staged: Bench) -> None:
    """One intent was refused and none is under way: nobody can ever commit, and nobody need remember that."""
    for key in "ab":
        await staged.put(key)

    async def others() -> None:
        await staged.put("b", b"others'")

    staged.store.before_write.append(others)
    assert isinstance(await staged.run(put("a"), put("b")), list)
    assert await staged.values("ab") == [b"new", b"new"]
    outcomes = [key for key in staged.store.items if key.startswith(internal_key("outcome/"))]
    assert len(outcomes) == 1, "that of the attempt that was committed"


async def test_what_redis_was_sent_twice_is_no_refusal(staged: Bench) -> None:
    """By default its client sends again what it had no answer to, and then hears that its own first try won."""
    staged.store.write_faults.append(WriteFault.SENT_AGAIN)
    operations = [Put(name=name("a"), value=b"new", precondition=ABSENT), put("b")]
    assert isinstance(await staged.run(*operations), list)
    assert await staged.values("ab") == [b"new", b"new"]
