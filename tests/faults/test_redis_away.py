"""Redis paused and killed under writes: what callers are told is true (promises 13 and 14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.contract.api import ABSENT, Api, Refused, if_etag
from tests.support.servers import DaprContainer, RedisContainer

ALLOWED = {("UNAVAILABLE", "STORE_UNAVAILABLE"), ("UNKNOWN", "OUTCOME_UNKNOWN")}

Write = Callable[[Api, str, str], Awaitable[object]]

WRITES: dict[str, Write] = {
    "put": lambda api, key, etag: api.put(key, b"new", timeout=7),
    "put with an etag": lambda api, key, etag: api.put(key, b"new", when=if_etag(etag), timeout=7),
    "delete": lambda api, key, etag: api.delete(key, timeout=7),
    "delete with an etag": lambda api, key, etag: api.delete(key, when=if_etag(etag), timeout=7),
    "touch": lambda api, key, etag: api.touch(key, timeout=7),
}


async def settled(api: Api, key: str) -> bytes | None:
    """What stands once Redis goes on; a late write may still arrive, so ask until two writes agree."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await api.value(key)
            except Refused as refused:
                assert refused.what in ALLOWED
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("write", WRITES)
async def test_an_outage_is_never_called_a_conflict(api: Api, redis: RedisContainer, write: str) -> None:
    """The record's header is known from the put before, so that the write itself meets the outage."""
    key = api.key()
    etag = await api.put(key, b"old")
    await asyncio.to_thread(redis.pause)
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        await asyncio.wait_for(WRITES[write](api, key, etag), timeout=30)
    took = time.monotonic() - began
    assert refused.value.what in ALLOWED
    assert took < 7.5, "answered within the caller's deadline"
    if refused.value.code.name == "UNAVAILABLE":
        assert refused.value.retry_after, "an outage says when to try again"
    await asyncio.to_thread(redis.unpause)
    stands = await settled(api, key)
    assert stands in (b"old", b"new", None)
    # Whatever became of it, the record is whole and goes on.
    again = await api.put(key, b"again")
    assert (await api.get(key)).etag == again


async def test_a_create_that_was_applied_late_is_never_called_a_conflict(api: Api, redis: RedisContainer) -> None:
    key = api.key()
    await asyncio.to_thread(redis.pause)
    with pytest.raises(Refused) as refused:
        await api.put(key, when=ABSENT, timeout=7)
    assert refused.value.what in ALLOWED
    await asyncio.to_thread(redis.unpause)
    await settled(api, key)


async def test_reads_during_an_outage_are_unavailable_and_then_true(api: Api, redis: RedisContainer) -> None:
    key = api.key()
    await api.put(key, b"kept")
    await asyncio.to_thread(redis.pause)
    with pytest.raises(Refused) as refused:
        await api.get(key, timeout=7)
    assert refused.value.what == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert refused.value.retry_after
    await asyncio.to_thread(redis.unpause)
    assert await settled(api, key) == b"kept"


async def test_a_write_that_was_answered_survives_a_kill_of_redis(api: Api, redis: RedisContainer) -> None:
    keys = [api.key() for _ in range(20)]
    acknowledged: dict[str, bytes] = {}

    async def write(key: str) -> None:
        for number in range(200):
            try:
                await api.put(key, str(number).encode(), timeout=7)
            except Refused as refused:
                assert refused.what in ALLOWED
                return
            acknowledged[key] = str(number).encode()

    writing = asyncio.gather(*map(write, keys))
    while sum(map(int, acknowledged.values())) < 100:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(redis.kill)
    await writing
    await asyncio.to_thread(redis.start)
    for key in keys:
        stands = await settled(api, key)
        assert stands is not None
        # A kill of the process alone loses nothing that was written to the file, as each write was before its answer.
        assert int(stands) - int(acknowledged[key]) in (0, 1), "at most the write in flight came on top"


async def test_with_etags_nothing_is_applied_twice_over_pauses(api: Api, redis: RedisContainer) -> None:
    """Sixteen writers count by etag while Redis is paused twice: ok <= value <= ok + unknown."""
    key = api.key()
    await api.put(key, b"0")
    sure = unknown = 0

    async def count(number: int) -> None:
        nonlocal sure, unknown
        for _ in range(20):
            try:
                record = await api.get(key, timeout=7)
                await api.put(key, str(int(record.value) + 1).encode(), when=if_etag(record.etag), timeout=7)
                sure += 1
            except Refused as refused:
                if refused.reason == "OUTCOME_UNKNOWN":
                    unknown += 1
                else:
                    assert refused.reason in ("ETAG_MISMATCH", "STORE_UNAVAILABLE")

    counting = asyncio.gather(*map(count, range(16)))
    for _ in range(2):
        await asyncio.sleep(0.1)
        await asyncio.to_thread(redis.pause)
        await asyncio.sleep(4)  # longer than the sidecar's time limit for Redis
        await asyncio.to_thread(redis.unpause)
    await counting
    final = await settled(api, key)
    assert final is not None
    assert sure <= int(final) <= sure + unknown
    assert sure > 0


async def test_the_service_survives_a_restart_of_the_sidecar(api: Api, sidecar: DaprContainer) -> None:
    key = api.key()
    etag = await api.put(key, b"before")
    await asyncio.to_thread(sidecar.kill)
    with pytest.raises(Refused) as refused:
        await api.put(key, b"lost", timeout=5)
    assert refused.value.what in ALLOWED
    await asyncio.to_thread(sidecar.start)
    assert await settled(api, key) == b"before"
    await api.put(key, b"after", when=if_etag(etag))


async def test_a_full_redis_is_unavailable_at_once_and_loses_nothing(api: Api, redis: RedisContainer) -> None:
    key, other = api.key(), api.key()
    etag = await api.put(key, b"before")
    await asyncio.to_thread(redis.cli, "CONFIG", "SET", "maxmemory", "1")
    try:
        for write in (
            api.put(key, b"new"),
            api.put(key, b"new", when=if_etag(etag)),
            api.put(other, when=ABSENT),
            api.delete(key),
        ):
            began = time.monotonic()
            with pytest.raises(Refused) as refused:
                await write
            assert refused.value.what == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            assert refused.value.retry_after
            assert time.monotonic() - began < 5
        assert await api.value(key) == b"before"
    finally:
        await asyncio.to_thread(redis.cli, "CONFIG", "SET", "maxmemory", "0")
    assert await api.value(other) is None
    await api.put(key, b"after", when=if_etag(etag))
