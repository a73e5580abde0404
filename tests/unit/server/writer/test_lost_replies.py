"""Replies and requests that are lost, and outages."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import OutcomeUnknown, RecordChanged, RecordMissing, StoreUnavailable
from keepstate_server.domain.operations import Delete, Deleted, Get, Put, Written
from keepstate_server.domain.records import ABSENT
from keepstate_server.domain.times import Instant
from tests.unit.server.cases import name
from tests.unit.server.hand import SECOND
from tests.unit.server.model_store import ReadFault, WriteFault
from tests.unit.server.writer.conftest import LOST, Bench


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("with_request", [False, True])
async def test_a_lost_reply_never_makes_a_false_conflict(bench: Bench, fault: WriteFault, with_request: bool) -> None:
    version = await bench.put(b"first")
    bench.store.write_faults.append(fault)
    request = bench.requests.new() if with_request else None
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version, request=request))
    bench.store.deliver()
    assert isinstance(result, Written)
    assert await bench.value() == b"mine"
    assert bench.envelope().version == result.version
    assert len(bench.store.applied) == 2


@pytest.mark.parametrize("fault", LOST)
async def test_a_creation_whose_reply_was_lost_does_not_meet_itself(bench: Bench, fault: WriteFault) -> None:
    bench.store.write_faults.append(fault)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=ABSENT))
    bench.store.deliver()
    assert isinstance(result, Written)
    assert bench.envelope().version == result.version
    assert len(bench.store.applied) == 1


@pytest.mark.parametrize("fault", LOST)
async def test_a_delete_whose_reply_was_lost_says_that_the_record_was_there(bench: Bench, fault: WriteFault) -> None:
    await bench.put()
    bench.store.write_faults.append(fault)
    assert await bench.one(Delete(name=name())) == Deleted(existed=True)
    bench.store.deliver()
    assert await bench.value() is None
    assert len(bench.store.applied) == 2


@pytest.mark.parametrize("others", [1, 5, 14])
async def test_a_lost_reply_is_found_behind_the_writes_of_others(bench: Bench, others: int) -> None:
    version = await bench.known()
    bench.store.write_faults.append(WriteFault.REPLY_LOST)

    async def meanwhile() -> None:
        for _ in range(others):
            await bench.put(b"others'", writer=bench.instance())

    bench.store.before_read.append(meanwhile)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, Written)
    assert await bench.value() == b"others'"
    assert len(bench.store.applied) == 2 + others


async def test_a_lost_request_whose_ground_others_took_is_a_conflict(bench: Bench) -> None:
    version = await bench.known()
    bench.store.write_faults.append(WriteFault.REQUEST_LOST)

    async def meanwhile() -> None:
        await bench.put(b"others'", writer=bench.instance())

    bench.store.before_read.append(meanwhile)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine", precondition=version)), RecordChanged)
    assert await bench.value() == b"others'"


async def test_a_late_request_loses_to_the_one_that_was_sent_after_it(bench: Bench) -> None:
    await bench.put(b"first")
    bench.store.write_faults.append(WriteFault.LATE)
    await bench.put(b"second")
    await bench.put(b"third")
    bench.store.deliver()
    assert await bench.value() == b"third"


async def test_a_late_request_that_arrives_while_its_repeat_is_on_its_way_counts_once(bench: Bench) -> None:
    version = await bench.put(b"first")
    bench.store.write_faults.append(WriteFault.LATE)

    async def arrives() -> None:
        bench.store.deliver()

    async def nothing() -> None:
        pass

    bench.store.before_write.extend([nothing, arrives])
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, Written)
    assert bench.envelope().version == result.version
    assert len(bench.store.applied) == 2


@pytest.mark.parametrize("fault", [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE])
async def test_where_the_trail_overflowed_the_outcome_is_unknown_never_a_guess(bench: Bench, fault: WriteFault) -> None:
    version = await bench.known()
    bench.store.write_faults.append(fault)

    async def meanwhile() -> None:
        for _ in range(20):
            await bench.put(b"others'", writer=bench.instance())

    bench.store.before_read.append(meanwhile)
    put = Put(name=name(), value=b"mine", precondition=version, request=bench.requests.new())
    assert isinstance(await bench.one(put), OutcomeUnknown)


@pytest.mark.parametrize("fault", [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST])
async def test_an_expiry_in_between_never_makes_a_false_conflict(bench: Bench, fault: WriteFault) -> None:
    """The precondition held when it was sent. What was sent may yet arrive: any other answer could turn out wrong."""
    version = await bench.known(expiry=Instant(bench.clock.now() + SECOND))
    bench.store.write_faults.append(fault)

    async def expires() -> None:
        bench.clock.advance(2 * SECOND)

    bench.store.before_read.append(expires)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, Written if fault is WriteFault.REPLY_LOST else OutcomeUnknown)


async def test_reads_that_fail_after_a_lost_reply_are_asked_again(bench: Bench) -> None:
    version = await bench.known()
    bench.store.write_faults.append(WriteFault.REPLY_LOST)
    bench.store.read_faults.extend([ReadFault.FAILS] * 5)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, Written)
    assert len(bench.store.applied) == 2


async def test_a_read_that_fails_before_anything_was_sent_says_so(bench: Bench) -> None:
    bench.store.read_faults.append(ReadFault.FAILS)
    result = await bench.one(Put(name=name(), value=b"mine"))
    assert isinstance(result, StoreUnavailable)
    assert result.nothing_sent
    assert bench.store.count("write") == 0


async def test_a_write_that_never_left_is_unavailable_and_not_applied(bench: Bench) -> None:
    bench.store.write_faults.append(WriteFault.NOT_SENT)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine")), StoreUnavailable)
    assert bench.store.applied == []


async def test_a_write_that_never_left_after_one_that_may_have_is_looked_into(bench: Bench) -> None:
    version = await bench.put(b"first")
    bench.store.write_faults.extend([WriteFault.LATE, WriteFault.NOT_SENT, WriteFault.NONE])
    assert isinstance(await bench.one(Put(name=name(), value=b"mine", precondition=version)), Written)
    bench.store.deliver()
    assert len(bench.store.applied) == 2


async def test_an_outage_that_lasts_is_unknown_once_something_was_sent(bench: Bench) -> None:
    version = await bench.put(b"first")
    bench.store.write_faults.extend([WriteFault.REQUEST_LOST] * 10_000)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, OutcomeUnknown)


async def test_an_outage_of_reads_and_writes_never_makes_a_conflict(bench: Bench) -> None:
    version = await bench.known()
    bench.store.write_faults.append(WriteFault.REQUEST_LOST)
    bench.store.read_faults.extend([ReadFault.FAILS] * 10_000)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=version))
    assert isinstance(result, OutcomeUnknown)


async def test_a_store_that_is_not_ready_is_unavailable_before_anything_is_sent(bench: Bench) -> None:
    bench.store.prepare_faults.append("no probe")
    result = await bench.one(Put(name=name(), value=b"mine"))
    assert isinstance(result, StoreUnavailable)
    assert result.nothing_sent
    assert bench.store.count("write") == 0


async def test_a_store_that_is_not_ready_can_be_read(bench: Bench) -> None:
    bench.store.prepare_faults.append("no probe")
    assert isinstance(await bench.one(Get(name=name())), RecordMissing)


async def test_what_redis_was_sent_twice_is_no_refusal(redis: Bench) -> None:
    """By default its client sends again what it had no answer to, and then hears that its own first try won."""
    redis.store.write_faults.append(WriteFault.SENT_AGAIN)
    assert isinstance(await redis.one(Put(name=name(), value=b"mine", precondition=ABSENT)), Written)
    assert len(redis.store.applied) == 1


async def test_what_was_refused_is_not_unknown_because_the_trail_forgot(redis: Bench) -> None:
    """The store said that it was not applied; that others wrote so often since tells nothing else."""
    await redis.known()

    async def others() -> None:
        for _ in range(20):
            await redis.put(b"others'", writer=redis.instance())

    redis.store.before_write.append(others)
    assert isinstance(await redis.one(Put(name=name(), value=b"mine")), Written)
    assert await redis.value() == b"mine"
