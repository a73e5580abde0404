"""What operations do, alone, in batches and against each other."""

from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.errors import RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.operations import Delete, Deleted, Found, Get, Put, Touch, Touched, Written
from keepstate_server.domain.records import ABSENT, EXISTS, Version, etag_of
from keepstate_server.domain.times import Instant
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS
from tests.unit.server.model_store import WriteFault
from tests.unit.server.writer.conftest import LOST, Bench

# Plain operation


async def test_what_was_put_is_read_and_what_was_deleted_is_not(bench: Bench) -> None:
    version = await bench.put(b"v")
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    assert (found.record.value, found.record.version) == (b"v", version)
    assert await bench.one(Delete(name=name())) == Deleted(existed=True)
    assert isinstance(await bench.one(Get(name=name())), RecordMissing)
    assert await bench.one(Delete(name=name())) == Deleted(existed=False)


async def test_a_value_of_zero_bytes_exists(bench: Bench) -> None:
    await bench.put(b"")
    assert await bench.value() == b""
    assert isinstance(await bench.one(Put(name=name(), value=b"x", precondition=ABSENT)), RecordExists)


async def test_an_etag_never_matches_a_later_life(bench: Bench) -> None:
    seen: list[Version] = []
    for _ in range(3):
        seen.append(await bench.put())
        await bench.one(Delete(name=name()))
        for version in seen:
            result = await bench.one(Put(name=name(), value=b"", precondition=version))
            assert isinstance(result, RecordChanged)
            assert result.etag == ""
    seen_now = await bench.put()
    for version in seen:
        result = await bench.one(Put(name=name(), value=b"", precondition=version))
        assert isinstance(result, RecordChanged)
        assert result.etag == etag_of(seen_now)


async def test_an_etag_never_matches_after_an_expiry(bench: Bench) -> None:
    written = await bench.one(Put(name=name(), value=b"v", expiry=Instant(bench.clock.now() + SECOND)))
    assert isinstance(written, Written)
    bench.clock.advance(SECOND)
    for writer in (bench.writer, bench.instance()):
        result = await bench.one(Put(name=name(), value=b"", precondition=written.version), writer=writer)
        assert isinstance(result, RecordChanged)
    assert isinstance(await bench.one(Get(name=name())), RecordMissing)
    assert isinstance(await bench.one(Put(name=name(), value=b"", precondition=ABSENT)), Written)


async def test_a_record_without_expiry_survives_any_number_of_refused_writes_with_a_ttl(bench: Bench) -> None:
    version = await bench.put(b"for ever")
    for _ in range(20):
        expiry = Instant(bench.clock.now() + SECOND)
        put = Put(name=name(), value=b"", precondition=Version(b"x" * 16), expiry=expiry)
        assert isinstance(await bench.one(put), RecordChanged)
        bench.clock.advance(MINUTE)
    found = await bench.one(Get(name=name()))
    assert isinstance(found, Found)
    assert (found.record.version, found.record.expire_time) == (version, None)


async def test_a_touch_keeps_the_etag_and_the_value(bench: Bench) -> None:
    version = await bench.put(b"v")
    at = Instant(bench.clock.now() + SECOND)
    assert await bench.one(Touch(name=name(), expire_at=at)) == Touched(version=version, expire_at=at)
    assert await bench.value() == b"v"
    assert isinstance(await bench.one(Put(name=name(), value=b"w", precondition=version)), Written)


async def test_a_sliding_read_moves_the_expiry_and_keeps_the_etag(bench: Bench) -> None:
    version = await bench.put(b"v")
    for step in range(1, 4):
        at = Instant(bench.clock.now() + 10 * SECOND)
        found = await bench.one(Get(name=name(), slide_to=at))
        assert isinstance(found, Found)
        assert (found.record.version, found.record.expire_time) == (version, at)
        bench.clock.advance(9 * SECOND)
        assert await bench.value() == b"v", step
    bench.clock.advance(SECOND)
    assert await bench.value() is None


async def test_a_dead_record_stays_in_a_store_for_its_dead_life(sql: Bench) -> None:
    await sql.one(Put(name=name(), value=b"v", expiry=Instant(sql.clock.now() + SECOND)))
    sql.clock.advance(SETTINGS.dead_life_ms)
    assert sql.store.stands("k") is not None
    sql.clock.advance(SECOND)
    assert sql.store.stands("k") is None


# One of many wins


async def test_of_64_instances_with_one_etag_one_wins_and_63_learn_the_current_etag(bench: Bench) -> None:
    version = await bench.put(b"first")
    put = Put(name=name(), value=b"mine", precondition=version)
    results = await asyncio.gather(*(bench.one(put, writer=bench.instance()) for _ in range(64)))
    won = [result for result in results if isinstance(result, Written)]
    lost = [result for result in results if isinstance(result, RecordChanged)]
    assert (len(won), len(lost)) == (1, 63)
    assert {result.etag for result in lost} == {etag_of(won[0].version)}


async def test_of_64_instances_that_create_one_wins(bench: Bench) -> None:
    put = Put(name=name(), value=b"mine", precondition=ABSENT)
    results = await asyncio.gather(*(bench.one(put, writer=bench.instance()) for _ in range(64)))
    assert sum(isinstance(result, Written) for result in results) == 1
    assert sum(isinstance(result, RecordExists) for result in results) == 63


async def test_of_64_instances_without_precondition_all_succeed(bench: Bench) -> None:
    puts = [Put(name=name(), value=str(number).encode()) for number in range(64)]
    deadlines = [bench.deadline(3600) for _ in puts]
    results = await asyncio.gather(
        *(bench.one(put, writer=bench.instance(), deadline=deadlines[seed]) for seed, put in enumerate(puts))
    )
    assert all(isinstance(result, Written) for result in results)
    assert len(bench.store.applied) == 64


# Batches


async def test_a_failed_item_fails_alone_and_results_come_in_order(bench: Bench) -> None:
    version = await bench.put(b"v", key="b")
    results = await bench.keys(
        Put(name=name("a"), value=b"1", precondition=EXISTS),
        Put(name=name("b"), value=b"2", precondition=version),
        Get(name=name("c")),
        Put(name=name("d"), value=b"4", precondition=version),
        Put(name=name("e"), value=b"5"),
        Delete(name=name("f")),
    )
    assert [type(result) for result in results] == [
        RecordMissing,
        Written,
        RecordMissing,
        RecordChanged,
        Written,
        Deleted,
    ]
    assert (await bench.value("b"), await bench.value("e")) == (b"2", b"5")


async def test_an_item_that_others_overtook_fails_alone(bench: Bench) -> None:
    """The store's answer does not tell which of the writes was refused."""
    versions = {key: await bench.put(b"first", key=key) for key in ("a", "b", "c")}

    async def others() -> None:
        await bench.put(b"others'", key="b", writer=bench.instance())

    bench.store.before_write.append(others)
    results = await bench.keys(
        *(Put(name=name(key), value=b"mine", precondition=version) for key, version in versions.items())
    )
    assert [type(result) for result in results] == [Written, RecordChanged, Written]
    assert [await bench.value(key) for key in ("a", "b", "c")] == [b"mine", b"others'", b"mine"]
    assert len(bench.store.applied) == 6


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_reply_of_many_is_looked_into_for_each(bench: Bench, fault: WriteFault) -> None:
    bench.store.write_faults.append(fault)
    results = await bench.keys(*(Put(name=name(key), value=b"v", precondition=ABSENT) for key in "abcdef"))
    bench.store.deliver()
    assert [type(result) for result in results] == [Written] * 6
    assert [await bench.value(key) for key in "abcdef"] == [b"v"] * 6
    assert len(bench.store.applied) == 6


async def test_writes_to_one_key_become_one_write_in_order(bench: Bench) -> None:
    results = await bench.all(
        Put(name=name(), value=b"1"),
        Put(name=name(), value=b"2", precondition=ABSENT),
        Put(name=name(), value=b"3"),
        Get(name=name()),
    )
    assert [type(result) for result in results] == [Written, RecordExists, Written, Found]
    assert len(bench.store.applied) == 1
    assert await bench.value() == b"3"
