"""What a write knows before it goes out, and what that saves: hints, and absences that are only likely."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import KeepstateError, RecordMissing
from keepstate_server.domain.operations import Delete, Deleted, Found, Get, Operation, Put, Written
from keepstate_server.domain.records import ABSENT, KEEP_EXPIRY, Version
from tests.unit.server.cases import name
from tests.unit.server.model_store import ReadFault, WriteFault
from tests.unit.server.writer.conftest import Bench

# Costs


async def test_a_cold_write_costs_two_calls_and_a_hinted_one_costs_one(redis: Bench) -> None:
    await redis.put()
    assert [call.kind for call in redis.store.calls] == ["read", "write"]
    redis.fresh()
    version = await redis.put()
    assert [call.kind for call in redis.store.calls] == ["write"]
    redis.fresh()
    assert isinstance(await redis.one(Put(name=name(), value=b"", precondition=version)), Written)
    assert await redis.one(Delete(name=name())) == Deleted(existed=True)
    assert isinstance(await redis.one(Put(name=name(), value=b"", precondition=ABSENT)), Written)
    assert [call.kind for call in redis.store.calls] == ["write", "write", "write"]


async def test_a_write_after_a_read_costs_one_call(bench: Bench) -> None:
    await bench.put()
    await bench.one(Get(name=name()))
    bench.fresh()
    await bench.put()
    assert [call.kind for call in bench.store.calls] == ["write"]


async def test_a_get_costs_one_call(bench: Bench) -> None:
    await bench.put()
    bench.fresh()
    await bench.one(Get(name=name()))
    await bench.one(Get(name=name("none")))
    assert [call.kind for call in bench.store.calls] == ["read", "read"]


async def test_many_keys_are_read_and_written_in_one_call_each(bench: Bench) -> None:
    await bench.keys(*(Put(name=name(f"k{number}"), value=b"v") for number in range(50)))
    assert [call.kind for call in bench.store.calls] == ["read", "write"]


# Hints


@pytest.mark.parametrize(
    "operation",
    [
        Put(name=name(), value=b"x", precondition=ABSENT),
        Put(name=name(), value=b"x", precondition=Version(b"an old version..")),
        Delete(name=name(), precondition=Version(b"an old version..")),
    ],
)
async def test_no_is_never_answered_without_a_read(bench: Bench, operation: Operation) -> None:
    await bench.put()
    await bench.one(Get(name=name()))
    bench.fresh()
    assert isinstance(await bench.one(operation), KeepstateError)
    assert [call.kind for call in bench.store.calls] == ["read"]


async def test_a_hint_that_others_made_wrong_is_no_ground_for_a_no(bench: Bench) -> None:
    """This instance still believes what it read; another deleted the record."""
    await bench.put()
    await bench.one(Get(name=name()))
    await bench.one(Delete(name=name()), writer=bench.instance())
    assert isinstance(await bench.one(Put(name=name(), value=b"new", precondition=ABSENT)), Written)


async def test_a_hint_that_others_made_wrong_costs_a_refusal_and_a_read(bench: Bench) -> None:
    await bench.put()
    await bench.one(Get(name=name()))
    await bench.put(b"others'", writer=bench.instance())
    bench.fresh()
    await bench.put(b"mine")
    assert [call.kind for call in bench.store.calls] == ["write", "read", "write"]
    assert await bench.value() == b"mine"


async def test_nothing_to_delete_is_never_answered_from_a_hint(bench: Bench) -> None:
    await bench.put()
    await bench.one(Delete(name=name()))
    await bench.one(Get(name=name()))
    await bench.put(b"others'", writer=bench.instance())
    assert await bench.one(Delete(name=name())) == Deleted(existed=True)


# Likely absences


async def test_a_likely_absence_is_confirmed_before_a_no(sql: Bench) -> None:
    await sql.put(key="a")
    await sql.put(key="b")
    writer = sql.instance()
    sql.fresh()
    sql.store.read_faults.append(ReadFault.BROKEN_OFF)
    results = await sql.keys(Get(name=name("a")), Get(name=name("b")), Get(name=name("c")), writer=writer)
    assert [type(result) for result in results] == [Found, Found, RecordMissing]
    assert [(call.keys, call.sure) for call in sql.store.calls] == [(("a", "b", "c"), False), (("b", "c"), True)]


async def test_a_write_upon_a_likely_absence_that_is_none_is_refused_and_done_right(sql: Bench) -> None:
    await sql.put(b"old", key="a")
    created = (await sql.one(Get(name=name("a"))),)
    sql.store.read_faults.extend([ReadFault.BROKEN_OFF] * 3)
    writer = sql.instance()
    results = await sql.keys(
        Put(name=name("z"), value=b"new"), Put(name=name("a"), value=b"new", expiry=KEEP_EXPIRY), writer=writer
    )
    assert all(isinstance(result, Written) for result in results)
    found = await sql.one(Get(name=name("a")))
    assert isinstance(found, Found)
    assert isinstance(created[0], Found)
    assert found.record.create_time == created[0].record.create_time
    assert found.record.value == b"new"


async def test_what_was_sent_is_not_judged_by_an_absence_that_was_not_sure(sql: Bench) -> None:
    """A query that broke off must not make a write that was applied look like somebody else's."""
    first = {key: await sql.put(b"first", key=key) for key in ("a", "b")}
    writer = sql.instance()
    sql.store.write_faults.append(WriteFault.REPLY_LOST)
    sql.store.read_faults.extend([ReadFault.NONE, ReadFault.BROKEN_OFF])
    results = await sql.keys(
        *(Put(name=name(key), value=b"mine", precondition=version) for key, version in first.items()), writer=writer
    )
    assert [type(result) for result in results] == [Written, Written]
    assert len(sql.store.applied) == 4


async def test_a_read_that_keeps_breaking_off_does_not_hold_up_a_write_for_long(sql: Bench) -> None:
    await sql.put(key="a")
    sql.fresh()
    sql.store.read_faults.extend([ReadFault.BROKEN_OFF] * 1000)
    results = await sql.keys(*(Put(name=name(key), value=b"v") for key in ("z", "a")), writer=sql.instance())
    assert [type(result) for result in results] == [Written, Written]
    assert sql.store.count("read") <= 3
