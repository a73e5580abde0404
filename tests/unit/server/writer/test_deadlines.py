"""Times that run out, and callers that go."""

from __future__ import annotations

from keepstate_server.domain.errors import DeadlineExceeded, OutcomeUnknown, RecordMissing
from keepstate_server.domain.operations import Found, Get, Put
from keepstate_server.domain.times import Instant
from keepstate_server.engine.deadline import pause
from tests.unit.server.cases import name
from tests.unit.server.hand import SECOND, chance
from tests.unit.server.model_store import WriteFault
from tests.unit.server.writer.conftest import Bench


async def test_a_deadline_that_passed_before_anything_was_sent_sends_nothing(bench: Bench) -> None:
    result = await bench.one(Put(name=name(), value=b"mine"), deadline=bench.deadline(0))
    assert isinstance(result, DeadlineExceeded)
    assert bench.store.calls == []


async def test_a_deadline_that_passes_during_the_read_sends_no_write(bench: Bench) -> None:
    async def slow() -> None:
        bench.clock.advance(31 * SECOND)

    bench.store.before_read.append(slow)
    result = await bench.one(Put(name=name(), value=b"mine"))
    assert isinstance(result, DeadlineExceeded)
    assert bench.store.count("write") == 0


async def test_a_caller_that_goes_during_the_read_has_no_write_sent(bench: Bench) -> None:
    deadline = bench.deadline()

    async def leaves() -> None:
        deadline.abandon()

    bench.store.before_read.append(leaves)
    result = await bench.one(Put(name=name(), value=b"mine"), deadline=deadline)
    assert isinstance(result, DeadlineExceeded)
    assert bench.store.count("write") == 0


async def test_a_caller_that_goes_during_the_read_has_nothing_adopted(redis: Bench) -> None:
    redis.store.put_raw("k", b"raw")
    deadline = redis.deadline()

    async def leaves() -> None:
        deadline.abandon()

    redis.store.before_read.append(leaves)
    result = await redis.one(Put(name=name(), value=b"mine"), deadline=deadline)
    assert isinstance(result, DeadlineExceeded)
    assert [call.kind for call in redis.store.calls] == ["read"]


async def test_a_deadline_that_passes_during_the_write_leaves_the_outcome_unknown(bench: Bench) -> None:
    await bench.known()
    bench.store.write_faults.append(WriteFault.REPLY_LOST)

    async def slow() -> None:
        bench.clock.advance(31 * SECOND)

    bench.store.before_write.append(slow)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine")), OutcomeUnknown)
    assert await bench.value() == b"mine"


async def test_a_read_that_was_answered_is_answered_though_the_time_is_up(bench: Bench) -> None:
    await bench.put(b"v")

    async def slow() -> None:
        bench.clock.advance(31 * SECOND)

    bench.store.before_read.append(slow)
    assert isinstance(await bench.one(Get(name=name())), Found)


async def test_a_refusal_and_then_the_deadline_is_no_unknown_outcome(bench: Bench) -> None:
    """Nothing that was sent can have been applied: each was refused."""
    await bench.put()
    await bench.one(Get(name=name()))

    async def others() -> None:
        await bench.put(b"others'", writer=bench.instance())
        bench.clock.advance(31 * SECOND)

    bench.store.before_write.append(others)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine")), DeadlineExceeded)
    assert await bench.value() == b"others'"


def test_pauses_grow_to_a_second_and_the_first_try_again_is_at_once() -> None:
    source = chance()
    assert [pause(tries, source) for tries in (0, 1)] == [0.0, 0.0]
    for tries in range(2, 40):
        assert 0 <= pause(tries, source) <= min(0.002 * 2**tries, 1.0)


async def test_a_record_that_expires_while_its_reading_is_on_the_way_back_was_there(bench: Bench) -> None:
    """Somebody may have moved the expiry meanwhile: then there was no moment at which the record was not there."""
    await bench.one(Put(name=name(), value=b"v", expiry=Instant(bench.clock.now() + SECOND)))

    async def slow() -> None:
        bench.clock.advance(2 * SECOND)

    bench.store.before_read.append(slow)
    assert isinstance(await bench.one(Get(name=name()), writer=bench.instance()), Found)
    assert isinstance(await bench.one(Get(name=name()), writer=bench.instance()), RecordMissing)
