"""Groups of operations on their way to a store that does its worst."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreUnavailable,
    UnsupportedByStore,
)
from keepstate_server.domain.operations import Delete, Deleted, Found, Get, Operation, Put, Touch, Touched, Written
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, Version, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from keepstate_server.engine.envelope import Envelope, decode
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.writer import Writer, pause
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, HandClock, HandDeadline, Requests, again, chance
from tests.unit.server.model_store import ModelStore, ReadFault, WriteFault


@dataclass
class Bench:
    """A store and instances of the service before it."""

    counts: bool
    clock: HandClock = field(default_factory=HandClock)
    instances: int = 0

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock, counts=self.counts)
        self.requests = Requests(self.clock)
        self.writer = self.instance()

    def instance(self) -> Writer:
        """One more instance, which knows nothing yet."""
        hints = Hints(size=100, life_ms=SETTINGS.dead_life_ms // 2)
        self.instances += 1
        source = random.Random(self.instances)
        return Writer(self.store, hints=hints, settings=SETTINGS, clock=self.clock, source=source)

    def deadline(self, seconds: float = 30.0) -> HandDeadline:
        return HandDeadline(self.clock, seconds)

    async def all(
        self, *operations: Operation, writer: Writer | None = None, deadline: HandDeadline | None = None
    ) -> Sequence[Result]:
        """Performs operations on one key."""
        group = Group(operations[0].name.key, operations, SETTINGS)
        await (writer or self.writer).run([group], deadline or self.deadline())
        assert group.results is not None
        return group.results

    async def one(
        self, operation: Operation, *, writer: Writer | None = None, deadline: HandDeadline | None = None
    ) -> Result:
        return (await self.all(operation, writer=writer, deadline=deadline))[0]

    async def keys(self, *operations: Operation, writer: Writer | None = None) -> Sequence[Result]:
        """Performs operations on as many keys at once."""
        groups = [Group(operation.name.key, [operation], SETTINGS) for operation in operations]
        await (writer or self.writer).run(groups, self.deadline())
        return [result for group in groups for result in group.results or ()]

    async def put(self, value: bytes = b"v", *, writer: Writer | None = None, key: str = "k") -> Version:
        result = await self.one(Put(name=name(key), value=value), writer=writer)
        assert isinstance(result, Written)
        return result.version

    async def known(self, value: bytes = b"first", *, expiry: Instant | None = None) -> Version:
        """Puts a record and reads it, so that its next write goes out upon a hint."""
        written = await self.one(Put(name=name(), value=value, expiry=expiry))
        assert isinstance(written, Written)
        await self.one(Get(name=name()))
        self.fresh()
        return written.version

    async def value(self, key: str = "k") -> bytes | None:
        """What stands there by a fresh instance's reading."""
        result = await self.one(Get(name=name(key)), writer=self.instance())
        return result.record.value if isinstance(result, Found) else None

    def fresh(self) -> None:
        """Forgets which calls were made."""
        self.store.calls.clear()

    def envelope(self, key: str = "k") -> Envelope:
        envelope = decode(self.store.stands(key) or b"")
        assert envelope is not None
        return envelope


@pytest.fixture(params=["sql", "redis"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(counts=request.param == "redis")


@pytest.fixture
def redis() -> Bench:
    return Bench(counts=True)


@pytest.fixture
def sql() -> Bench:
    return Bench(counts=False)


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


# Lost replies and lost requests

LOST = [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE, WriteFault.UNTOLD]


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


# Deadlines


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


# Repeats


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


# Other programs' values


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
