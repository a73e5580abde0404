"""Values that other programs wrote."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import (
    OutcomeUnknown,
    RecordChanged,
    RecordExists,
    StoreUnavailable,
    UnsupportedByStore,
)
from keepstate_server.domain.operations import Found, Get, Put, Touch, Touched, Written
from keepstate_server.domain.records import ABSENT, KEEP_EXPIRY
from keepstate_server.domain.times import Instant
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, again
from tests.unit.server.model_store import WriteFault
from tests.unit.server.writer.conftest import LOST, Bench


async def test_another_programs_value_is_read_as_it_is_and_never_written_by_a_read(bench: Bench) -> None:
    bench.store.put_raw("k", b'{"a": 1}')
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    assert (found.record.value, found.record.content_type, found.record.create_time) == (b'{"a": 1}', "", None)
    assert bench.store.stands("k") == b'{"a": 1}'
    again_found = await bench.one(Get(name=name()))
    assert isinstance(again_found, Found)
    assert again_found.record.version == found.record.version


async def test_another_programs_value_takes_the_envelope_at_its_first_write(bench: Bench) -> None:
    bench.store.put_raw("k", b"raw")
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    result = await bench.one(Put(name=name(), value=b"mine", precondition=found.record.version))
    assert isinstance(result, Written)
    assert bench.envelope().value == b"mine"
    conflict = await bench.one(Put(name=name(), value=b"late", precondition=found.record.version))
    assert isinstance(conflict, RecordChanged)


async def test_a_touch_of_another_programs_value_keeps_value_and_etag(bench: Bench) -> None:
    bench.store.put_raw("k", b"raw")
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    at = Instant(bench.clock.now() + SECOND)
    assert await bench.one(Touch(name=name(), expire_at=at)) == Touched(version=found.record.version, expire_at=at)
    after = await bench.one(Get(name=name()))
    assert isinstance(after, Found)
    assert (after.record.value, after.record.version) == (b"raw", found.record.version)


async def test_a_refused_write_leaves_another_programs_value_alone(bench: Bench) -> None:
    gone = Instant(bench.clock.now() + MINUTE)
    bench.store.put_raw("k", b"raw", gone_at=gone)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine", precondition=ABSENT)), RecordExists)
    assert bench.store.stands("k") == b"raw"
    assert bench.store.items["k"].gone_at == gone


async def test_an_expiry_that_the_store_does_not_tell_is_not_kept_by_halves(redis: Bench) -> None:
    gone = Instant(redis.clock.now() + MINUTE)
    redis.store.put_raw("k", b"raw", gone_at=gone)
    result = await redis.one(Put(name=name(), value=b"mine", expiry=KEEP_EXPIRY))
    assert isinstance(result, UnsupportedByStore)
    assert redis.store.items["k"].gone_at == gone
    assert redis.store.count("write") + redis.store.count("adopt") == 0


async def test_an_expiry_that_the_store_tells_is_kept(sql: Bench) -> None:
    gone = Instant(sql.clock.now() + MINUTE)
    sql.store.put_raw("k", b"raw", gone_at=gone)
    await sql.one(Put(name=name(), value=b"mine", expiry=KEEP_EXPIRY))
    found = await sql.one(Get(name=name()))
    assert isinstance(found, Found)
    assert found.record.expire_time == gone


async def test_what_another_programs_expiry_would_remove_stays_once_it_is_written(bench: Bench) -> None:
    bench.store.put_raw("k", b"raw", gone_at=Instant(bench.clock.now() + SECOND))
    await bench.put(b"mine")
    bench.clock.advance(24 * 60 * MINUTE)
    assert await bench.value() == b"mine"


async def test_another_programs_value_that_expires_during_its_adoption_counts_as_gone(redis: Bench) -> None:
    redis.store.put_raw("k", b"raw", gone_at=Instant(redis.clock.now() + SECOND))
    found = await redis.one(Get(name=name()))
    assert isinstance(found, Found)

    async def expires() -> None:
        redis.clock.advance(2 * SECOND)

    redis.store.before_write.append(expires)
    result = await redis.one(Put(name=name(), value=b"mine", precondition=found.record.version))
    assert isinstance(result, RecordChanged)
    assert await redis.value() is None


async def test_an_adoption_that_fails_is_unavailable_and_changes_nothing(redis: Bench) -> None:
    redis.store.put_raw("k", b"raw")
    redis.store.adopt_faults.append("no answer")
    assert isinstance(await redis.one(Put(name=name(), value=b"mine")), StoreUnavailable)
    assert redis.store.stands("k") == b"raw"


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_reply_upon_another_programs_value_is_looked_into(bench: Bench, fault: WriteFault) -> None:
    bench.store.put_raw("k", b"raw")
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    bench.store.write_faults.append(fault)
    assert isinstance(await bench.one(Put(name=name(), value=b"mine", precondition=found.record.version)), Written)
    bench.store.deliver()
    assert len(bench.store.applied) == 1


@pytest.mark.parametrize("fault", LOST)
async def test_an_adoption_that_rewrites_the_value_makes_no_false_conflict(redis: Bench, fault: WriteFault) -> None:
    """With Dapr's encryption a value is adopted by a save, which changes the store's etag."""
    redis.store.adopting_rewrites = True
    redis.store.put_raw("k", b"raw")
    found = await redis.one(Get(name=name()))
    assert isinstance(found, Found)
    redis.store.write_faults.append(fault)
    put = Put(name=name(), value=b"mine", precondition=found.record.version)
    assert isinstance(await redis.one(put), Written)
    redis.store.deliver()
    assert len(redis.store.applied) == 1


async def test_a_value_that_another_program_wrote_after_the_adoption_is_adopted_too(redis: Bench) -> None:
    gone = Instant(redis.clock.now() + MINUTE)
    redis.store.put_raw("k", b"raw")

    async def nothing() -> None:
        pass

    async def writes() -> None:
        redis.store.put_raw("k", b"another", gone_at=gone)

    redis.store.before_write.extend([nothing, writes])  # before the adoption, before the write
    assert isinstance(await redis.one(Put(name=name(), value=b"mine")), Written)
    assert [call.kind for call in redis.store.calls] == ["read", "adopt", "write", "read", "adopt", "write"]
    redis.clock.advance(MINUTE)
    assert await redis.value() == b"mine"


# Where that program goes on writing


async def test_a_repeat_after_another_programs_write_is_not_guessed_in_a_shared_store(bench: Bench) -> None:
    bench.store.shared = True
    request = bench.requests.new()
    assert isinstance(await bench.one(Put(name=name(), value=b"mine", request=request)), Written)
    bench.store.put_raw("k", b"raw")
    result = await bench.one(Put(name=name(), value=b"mine", request=again(request)))
    assert isinstance(result, OutcomeUnknown)
    assert result.for_good
    assert bench.store.stands("k") == b"raw"


async def test_what_a_shared_store_forgot_stays_forgotten_in_the_envelope(bench: Bench) -> None:
    bench.store.shared = True
    request = bench.requests.new()
    bench.store.put_raw("k", b"raw")
    await bench.put(b"mine")
    assert isinstance(await bench.one(Put(name=name(), value=b"late", request=again(request))), OutcomeUnknown)
    bench.clock.advance(MINUTE)
    request = bench.requests.new()
    assert isinstance(await bench.one(Put(name=name(), value=b"new", request=again(request))), Written)


async def test_a_lost_reply_under_another_programs_write_is_not_guessed_in_a_shared_store(bench: Bench) -> None:
    bench.store.shared = True
    bench.store.put_raw("k", b"raw")

    async def writes() -> None:
        bench.store.put_raw("k", b"another")

    async def nothing() -> None:
        pass

    bench.store.write_faults.append(WriteFault.REPLY_LOST)
    bench.store.before_read.extend([nothing, writes])
    assert isinstance(await bench.one(Put(name=name(), value=b"mine")), OutcomeUnknown)
    assert bench.store.stands("k") == b"another"
