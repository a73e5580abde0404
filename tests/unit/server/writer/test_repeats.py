"""Requests that are sent again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepstate_server.domain.errors import OutcomeUnknown, RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.operations import Delete, Get, Put, Written
from keepstate_server.domain.records import ABSENT, EXISTS
from tests.unit.server.cases import name
from tests.unit.server.hand import again
from tests.unit.server.model_store import WriteFault
from tests.unit.server.writer.conftest import LOST, Bench


async def test_a_repeat_gets_the_first_answer_through_any_instance(bench: Bench) -> None:
    put = Put(name=name(), value=b"mine", precondition=ABSENT, request=bench.requests.new())
    first = await bench.one(put)
    await bench.put(b"others'", writer=bench.instance())
    repeat = replace(put, request=again(bench.requests.new()) if put.request is None else again(put.request))
    for _ in range(2):
        assert await bench.one(repeat, writer=bench.instance()) == first
    assert await bench.value() == b"others'"


async def test_a_repeat_reads_also_where_there_is_a_hint(redis: Bench) -> None:
    await redis.put()
    redis.fresh()
    await redis.one(Put(name=name(), value=b"mine", request=again(redis.requests.new())))
    assert [call.kind for call in redis.store.calls] == ["read", "write"]


async def test_a_refused_repeat_keeps_its_first_attempt_from_being_applied_later(bench: Bench) -> None:
    """The first attempt still runs somewhere; the record comes to be as it demands only afterwards."""
    first = Put(name=name(), value=b"mine", precondition=ABSENT, request=bench.requests.new())
    assert first.request is not None
    await bench.put(b"others'")
    repeat = await bench.one(replace(first, request=again(first.request)), writer=bench.instance())
    assert isinstance(repeat, RecordExists)
    await bench.one(Delete(name=name()), writer=bench.instance())
    late = await bench.one(first, writer=bench.instance())
    assert isinstance(late, RecordExists)
    assert await bench.value() is None


async def test_a_refused_repeat_on_nothing_leaves_a_tombstone_that_says_so(bench: Bench) -> None:
    first = Put(name=name(), value=b"mine", precondition=EXISTS, request=bench.requests.new())
    assert first.request is not None
    repeat = await bench.one(replace(first, request=again(first.request)))
    assert isinstance(repeat, RecordMissing)
    assert not bench.envelope().lives(bench.clock.now())
    await bench.put(b"others'", writer=bench.instance())
    assert isinstance(await bench.one(first, writer=bench.instance()), RecordMissing)
    assert await bench.value() == b"others'"


async def test_a_first_attempt_under_way_meets_the_refusal_that_its_repeat_left(bench: Bench) -> None:
    """Both at once: the repeat is refused and says no, so the first attempt must not be applied."""
    version = await bench.put(b"first")
    other = await bench.put(b"second")
    first = Put(name=name(), value=b"mine", precondition=version, request=bench.requests.new())
    assert first.request is not None
    await bench.one(Get(name=name()))
    repeat = replace(first, request=again(first.request))

    async def overtakes() -> None:
        assert isinstance(await bench.one(repeat, writer=bench.instance()), RecordChanged)

    # The first attempt's own request, with a precondition that holds: as if it had read an older state.
    bench.store.before_write.append(overtakes)
    result = await bench.one(replace(first, precondition=other))
    assert isinstance(result, RecordChanged)
    assert await bench.value() == b"second"


async def test_a_repeat_after_the_trail_forgot_is_answered_unknown_and_applies_nothing(bench: Bench) -> None:
    put = Put(name=name(), value=b"mine", request=bench.requests.new())
    assert put.request is not None
    await bench.one(put)
    for _ in range(20):
        await bench.put(b"others'", writer=bench.instance())
    assert isinstance(await bench.one(replace(put, request=again(put.request))), OutcomeUnknown)
    assert await bench.value() == b"others'"


@pytest.mark.parametrize("fault", LOST)
async def test_a_repeat_whose_own_reply_is_lost_is_applied_once(bench: Bench, fault: WriteFault) -> None:
    await bench.put(b"first")
    bench.store.write_faults.append(fault)
    put = Put(name=name(), value=b"mine", request=again(bench.requests.new()))
    assert isinstance(await bench.one(put), Written)
    bench.store.deliver()
    assert len(bench.store.applied) == 2
