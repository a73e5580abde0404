"""Promise 7: time to live."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.testing import MovableClock
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, Api, Refused, duration, if_etag
from tests.contract.conftest import eventually

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.promise(7)


def near(stamp: Timestamp, clock: MovableClock, ttl: timedelta) -> bool:
    return abs(stamp.ToMilliseconds() - clock.now() - ttl / timedelta(milliseconds=1)) < 20_000


async def test_a_record_expires_when_it_should_and_not_before(api: Api, clock: MovableClock) -> None:
    key = api.key()
    await api.put(key, ttl=HOUR)
    record = await api.get(key)
    assert near(record.expire_time, clock, HOUR)
    clock.advance(HOUR - timedelta(minutes=1))
    assert await api.value(key) == b"value"
    clock.advance(timedelta(minutes=1))
    assert await api.value(key) is None


async def test_expiry_may_be_given_as_a_time(api: Api, clock: MovableClock) -> None:
    key = api.key()
    when = Timestamp()
    when.FromMilliseconds(clock.now() + 3_600_000)
    await api.put(key, expire_time=when)
    assert (await api.get(key)).expire_time.ToMilliseconds() == when.ToMilliseconds()
    when.FromMilliseconds(clock.now() + 7_200_000)
    touch = pb.TouchRequest(name=api.name(key), expire_time=when)
    assert (await api.call(api.state.Touch(touch, timeout=20))).expire_time == when
    assert (await api.get(key)).expire_time == when


async def test_touch_and_a_sliding_read_may_bring_the_expiry_nearer(api: Api, clock: MovableClock) -> None:
    touched, slid = api.key(), api.key()
    for key in (touched, slid):
        await api.put(key, ttl=HOUR)
    await api.touch(touched, ttl=2 * SECOND)
    await api.get(slid, slide=2 * SECOND)
    clock.advance(2 * SECOND)
    assert await api.value(touched) is None
    assert await api.value(slid) is None


async def test_a_sliding_read_gives_an_expiry_to_a_record_that_has_none(api: Api, clock: MovableClock) -> None:
    key = api.key()
    etag = await api.put(key)
    record = await api.get(key, slide=HOUR)
    assert (record.value, record.etag) == (b"value", etag)
    assert near(record.expire_time, clock, HOUR)
    clock.advance(HOUR)
    assert await api.value(key) is None


async def test_in_a_batch_each_operation_finds_the_expiry_that_the_last_one_left(api: Api, clock: MovableClock) -> None:
    key, absent = api.key(), api.key()
    name = api.name(key)
    get = pb.BatchOperation(get=pb.GetRequest(name=name))
    slide = pb.BatchOperation(get=pb.GetRequest(name=name, slide_ttl=duration(3 * HOUR)))
    results = await api.batch(
        [
            pb.BatchOperation(put=api.put_request(key, b"1", ttl=HOUR)),
            pb.BatchOperation(put=api.put_request(key, b"2", keep_expiry=True)),
            get,
            pb.BatchOperation(touch=pb.TouchRequest(name=name, ttl=duration(2 * HOUR))),
            pb.BatchOperation(update=api.update_request(key, pb.Increment(delta=1), keep_expiry=True)),
            pb.BatchOperation(touch=pb.TouchRequest(name=name)),
            get,
            slide,
            pb.BatchOperation(put=api.put_request(key, b"4")),
            get,
            slide,
            pb.BatchOperation(put=api.put_request(absent, b"5", keep_expiry=True)),
            pb.BatchOperation(get=pb.GetRequest(name=api.name(absent))),
        ]
    )
    assert not any(each.HasField("error") for each in results)
    _, _, kept, touched, counted, cleared, lasting, slid, put, plain, last, _, new = results
    assert near(kept.get.record.expire_time, clock, HOUR)
    assert near(touched.touch.expire_time, clock, 2 * HOUR)
    assert counted.update.record.expire_time == touched.touch.expire_time
    assert not cleared.touch.HasField("expire_time")
    assert not lasting.get.record.HasField("expire_time")
    assert near(slid.get.record.expire_time, clock, 3 * HOUR)
    assert {each.get.record.etag for each in (lasting, slid)} == {counted.update.record.etag}
    assert not plain.get.record.HasField("expire_time")
    assert {each.get.record.etag for each in (plain, last)} == {put.put.etag}
    assert not new.get.record.HasField("expire_time")
    clock.advance(3 * HOUR)
    assert await api.value(key) is None
    assert await api.value(absent) == b"5"


async def test_a_write_without_expiry_clears_it(api: Api, clock: MovableClock) -> None:
    key = api.key()
    await api.put(key, b"1", ttl=SECOND)
    await api.put(key, b"2")
    assert not (await api.get(key)).HasField("expire_time")
    clock.advance(2 * SECOND)
    assert await api.value(key) == b"2"


async def test_a_write_may_keep_the_expiry(api: Api, clock: MovableClock) -> None:
    key, other = api.key(), api.key()
    await api.put(key, b"1", ttl=HOUR)
    before = (await api.get(key)).expire_time
    await api.put(key, b"2", keep_expiry=True)
    assert (await api.get(key)).expire_time == before
    await api.put(other, keep_expiry=True)
    assert not (await api.get(other)).HasField("expire_time")
    clock.advance(HOUR)
    assert await api.value(key) is None
    await api.put(key, b"3", keep_expiry=True)
    assert not (await api.get(key)).HasField("expire_time"), "a new life has no expiry to keep"


async def test_touch_moves_the_expiry_and_not_the_etag(api: Api, clock: MovableClock) -> None:
    key = api.key()
    etag = await api.put(key, b"kept", ttl=SECOND)
    touched = await api.touch(key, ttl=HOUR)
    assert touched.etag == etag
    assert near(touched.expire_time, clock, HOUR)
    clock.advance(2 * SECOND)
    record = await api.get(key)
    assert (record.value, record.etag, record.content_type) == (b"kept", etag, "text/plain")
    assert not (await api.touch(key)).HasField("expire_time")
    clock.advance(2 * HOUR)
    assert await api.value(key) == b"kept"
    await api.put(key, when=if_etag(etag))


async def test_touch_of_what_is_not_there_is_not_found(api: Api, clock: MovableClock) -> None:
    key = api.key()
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await api.touch(key, ttl=HOUR)
        assert refused.value.what == ("NOT_FOUND", "RECORD_NOT_FOUND")
        await api.put(key, ttl=SECOND)
        clock.advance(2 * SECOND)
    assert await api.value(key) is None


async def test_touch_may_demand_an_etag(api: Api) -> None:
    key = api.key()
    old = await api.put(key, b"1")
    new = await api.put(key, b"2")
    with pytest.raises(Refused) as refused:
        await api.touch(key, ttl=SECOND, when=if_etag(old))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata["etag"] == new
    assert not (await api.get(key)).HasField("expire_time")


async def test_a_read_may_slide_the_expiry(api: Api, clock: MovableClock) -> None:
    key = api.key()
    etag = await api.put(key, ttl=HOUR)
    for _ in range(3):
        clock.advance(HOUR - timedelta(minutes=1))
        record = await api.get(key, slide=HOUR)
        assert record.etag == etag
        assert near(record.expire_time, clock, HOUR)
    clock.advance(HOUR)
    assert await api.value(key, slide=HOUR) is None


async def test_refused_writes_with_a_ttl_never_remove_a_record_without_one(api: Api, clock: MovableClock) -> None:
    key = api.key()
    old = await api.put(key, b"0")
    await api.put(key, b"immortal")

    async def refused_write() -> None:
        for when in (if_etag(old), ABSENT):
            with pytest.raises(Refused) as refused:
                await api.put(key, b"mortal", when=when, ttl=timedelta(milliseconds=500))
            assert refused.value.code.name in ("ABORTED", "ALREADY_EXISTS")

    await asyncio.gather(*(refused_write() for _ in range(10)))
    # Longer than the ttl that the store may have been left with, in the store's own time.
    began = asyncio.get_running_loop().time()

    async def two_seconds_have_passed() -> bool:
        assert await api.value(key) == b"immortal"
        return asyncio.get_running_loop().time() - began > 2

    await eventually(two_seconds_have_passed)
    clock.advance(2 * SECOND)
    assert await api.value(key) == b"immortal"
