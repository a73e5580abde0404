"""What Redis alone does under Dapr, seen on a real sidecar: evidence for docs/stores.md, as test_store_facts.py is."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.containers.facts import ABORTED, INTERNAL, Ask, Odd, code_of, expired, value
from tests.contract.conftest import eventually
from tests.support.containers import Containers
from tests.unit.embedded.driver import FIRST_WRITE, LAST_WRITE, Caller, failure_of, item

pytestmark = pytest.mark.containers


# Single keys


async def test_redis_counts_etags_up_from_one(redis: Caller, key: str) -> None:
    etags = []
    for number in range(3):
        await redis.save(item(key, b"%d" % number))
        etags.append((await redis.get(key)).etag)
    assert etags == ["1", "2", "3"]


async def test_a_key_prefix_that_is_no_strategy_is_the_prefix_itself(odd: Odd, ask: Ask, key: str) -> None:
    """So a component finds what the app of that id wrote under its default prefix."""
    await odd("redis-by-app").save(item(key, b"the app odd's"))
    assert ask("EXISTS", key, store="odd") == "1"
    assert await value(odd("redis-of-odd"), key) == b"the app odd's"


# What was there, and for each kind of save what becomes of it: "OK", or the code of its refusal; after the slash,
# whether the hash has the field "first-write" then, which makes later saves without etag fail.
REDIS_MATRIX = {
    "no etag, unset": {"absent": "OK", "no flag": "OK", "flag": "INTERNAL/flag"},
    "no etag, last write": {"absent": "OK", "no flag": "OK", "flag": "INTERNAL/flag"},
    "no etag, first write": {"absent": "OK/flag", "no flag": "OK/flag", "flag": "INTERNAL/flag"},
    "present etag, unset": {"no flag": "OK", "flag": "OK/flag"},
    "present etag, first write": {"no flag": "OK/flag", "flag": "OK/flag"},
    "present etag, last write": {"no flag": "OK", "flag": "ABORTED/flag"},
    "other etag, unset": {"absent": "OK", "no flag": "ABORTED", "flag": "ABORTED/flag"},
    "other etag, first write": {"absent": "OK/flag", "no flag": "ABORTED", "flag": "ABORTED/flag"},
    "other etag, last write": {"absent": "OK", "no flag": "OK", "flag": "ABORTED/flag"},
    "etag -1, unset": {"absent": "OK", "no flag": "ABORTED", "flag": "ABORTED/flag"},
    "etag 0, unset": {"absent": "OK", "no flag": "OK", "flag": "ABORTED/flag"},
}


CONCURRENCY = {"unset": None, "first write": FIRST_WRITE, "last write": LAST_WRITE}


@pytest.mark.parametrize("kind", REDIS_MATRIX)
async def test_what_a_save_does_on_redis(redis: Caller, kind: str, ask: Ask) -> None:
    which, concurrency = kind.split(", ")
    seen = {}
    for before in REDIS_MATRIX[kind]:
        key = uuid.uuid4().hex
        if before != "absent":
            await redis.save(item(key, b"old", concurrency=FIRST_WRITE if before == "flag" else None))
        etag = {"no etag": None, "present etag": "1", "other etag": "9", "etag -1": "-1", "etag 0": "0"}[which]
        code = await code_of(redis.save(item(key, b"new", etag=etag, concurrency=CONCURRENCY[concurrency])))
        assert await value(redis, key) == (b"new" if code == "OK" else b"old")
        seen[before] = code + ("/flag" if "first-write" in ask("HKEYS", key).split() else "")
    assert seen == REDIS_MATRIX[kind]


# Time to live


async def test_a_refused_operation_of_a_redis_transaction_still_expires_somebody_elses_record(
    redis: Caller, key: str, ask: Ask
) -> None:
    await redis.save(item(key, b"theirs, for ever"))
    refused = await failure_of(redis.transact(("upsert", item(key, b"ours", etag="-1", ttl="1"))))
    assert "failed to set key" in refused.text
    assert await value(redis, key) == b"theirs, for ever"
    await expired(redis, key)


async def test_a_refused_single_save_on_redis_expires_nothing(redis: Caller, key: str, ask: Ask) -> None:
    await redis.save(item(key, b"theirs, for ever"))
    assert await code_of(redis.save(item(key, b"ours", etag="-1", ttl="1"))) == ABORTED
    assert ask("PTTL", key) == "-1"


async def test_a_refused_operation_of_a_redis_transaction_with_ttl_minus_one_clears_the_expiry(
    redis: Caller, key: str, ask: Ask
) -> None:
    await redis.save(item(key, b"theirs", ttl="100"))
    assert await code_of(redis.transact(("upsert", item(key, b"ours", etag="-1", ttl="-1")))) == INTERNAL
    assert (await value(redis, key), ask("PTTL", key)) == (b"theirs", "-1")


async def test_ttl_minus_one_beats_a_ttl_of_the_redis_component(odd: Odd, key: str, ask: Ask) -> None:
    caller = odd("redis-with-ttl")
    await caller.save(item(key, b"value"))
    assert ask("TTL", key, "redis-with-ttl") == "100"
    await caller.transact(("upsert", item(key, b"value", ttl="-1")))
    assert ask("TTL", key, "redis-with-ttl") == "-1"


# Transactions


async def test_a_redis_transaction_obeys_the_flag_that_it_never_sets(redis: Caller, key: str, ask: Ask) -> None:
    await redis.transact(("upsert", item(key, b"1", concurrency=FIRST_WRITE)))
    assert "first-write" not in ask("HKEYS", key).split()
    await redis.save(item(key, b"2", concurrency=FIRST_WRITE))
    assert await code_of(redis.transact(("upsert", item(key, b"3")))) == INTERNAL


async def test_deletes_of_a_redis_transaction_stand_for_themselves(redis: Caller, key: str) -> None:
    gone, changed, absent = (f"{key}-{each}" for each in ("gone", "changed", "absent"))
    await redis.save(item(gone, b"value"), item(changed, b"value"))
    await redis.transact(("delete", item(absent, etag="1")))
    steps = [("delete", item(each, etag=etag)) for each, etag in ((changed, "7"), (gone, "1"), (absent, "1"))]
    refused = await failure_of(redis.transact(*steps))
    assert refused.code.name == INTERNAL
    assert "failed to delete" in refused.text
    assert [await value(redis, each) for each in (gone, changed, absent)] == [None, b"value", None]


# Outages


async def test_what_a_paused_redis_was_sent_is_called_a_mismatch_and_applied_later(
    containers: Containers, redis: Caller
) -> None:
    created, staged, deleted = (uuid.uuid4().hex for _ in range(3))
    await redis.save(item(deleted, b"value"))
    # One open connection for each of the calls: on a new one nothing would be sent before Redis says hello.
    await asyncio.gather(*(redis.get(deleted) for _ in range(30)))
    await asyncio.to_thread(containers.redis.pause)
    try:
        async with asyncio.timeout(30):
            save, transaction, delete = await asyncio.gather(
                failure_of(redis.save(item(created, b"late", etag="-1"))),
                failure_of(redis.transact(("upsert", item(staged, b"late", etag="-1", ttl="-1")))),
                failure_of(redis.delete(deleted)),
            )
    finally:
        await asyncio.to_thread(containers.redis.unpause)
    assert [each.code.name for each in (save, transaction, delete)] == [ABORTED, INTERNAL, ABORTED]
    assert ["etag mismatch" in each.text for each in (save, transaction, delete)] == [True, False, True]
    assert all("i/o timeout" in each.text for each in (save, transaction, delete))

    async def applied() -> bool:
        return [await value(redis, key) for key in (created, staged, deleted)] == [b"late", b"late", None]

    await eventually(applied)


async def test_a_redis_that_is_gone_is_called_a_mismatch_too(containers: Containers, redis: Caller, key: str) -> None:
    await redis.get(key)
    await asyncio.to_thread(containers.redis.kill)
    try:
        async with asyncio.timeout(30):
            save = await failure_of(redis.save(item(key, b"value", etag="-1")))
            read = await failure_of(redis.get(key))
            (found,) = await redis.get_many([key])
    finally:
        await asyncio.to_thread(containers.redis.start)
    assert (save.code.name, "etag mismatch" in save.text, "failed to set key" in save.text) == (ABORTED, True, False)
    assert (read.code.name, bool(found.error)) == (INTERNAL, True)

    async def answers() -> bool:
        return await code_of(redis.get(key)) == "OK"

    await eventually(answers)


async def test_a_full_redis_is_called_a_mismatch_and_nothing_is_applied(
    containers: Containers, redis: Caller, key: str
) -> None:
    containers.redis.cli("CONFIG", "SET", "maxmemory", "1")
    try:
        save = await failure_of(redis.save(item(key, b"value", etag="-1")))
        transaction = await failure_of(redis.transact(("upsert", item(key, b"value", etag="-1"))))
    finally:
        containers.redis.cli("CONFIG", "SET", "maxmemory", "0")
    assert (save.code.name, "OOM" in save.text, "failed to set key" in save.text) == (ABORTED, True, False)
    assert (transaction.code.name, "EXECABORT" in transaction.text) == (INTERNAL, True)
    assert await value(redis, key) is None
