"""All or nothing on a store that rolls back and does its worst otherwise."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
)
from keepstate_server.domain.operations import (
    Answer,
    Check,
    Delete,
    Deleted,
    Found,
    Get,
    Put,
    TransactionOperation,
    Written,
)
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, Request, Version, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.transactions import Transactor
from keepstate_server.engine.writer import Writer
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, HandClock, HandDeadline, Requests, again
from tests.unit.server.model_store import ModelStore, ReadFault, WriteFault

OTHER = Version(b"an old version..")


@dataclass
class Bench:
    clock: HandClock = field(default_factory=HandClock)
    instances: int = 0

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock)
        self.requests = Requests(self.clock)
        self.hints = Hints(size=100, life_ms=SETTINGS.dead_life_ms // 2)

    def deadline(self, seconds: float = 30.0) -> HandDeadline:
        return HandDeadline(self.clock, seconds)

    def source(self) -> random.Random:
        self.instances += 1
        return random.Random(self.instances)

    async def run(
        self,
        *operations: TransactionOperation,
        request: Request | None = None,
        deadline: HandDeadline | None = None,
    ) -> Sequence[Answer] | KeepstateError:
        """Runs a transaction through an instance of its own."""
        transactor = Transactor(self.store, hints=self.hints, settings=SETTINGS, clock=self.clock, source=self.source())
        keyed = [(operation.name.key, operation) for operation in operations]
        try:
            return await transactor.run(keyed, request, deadline or self.deadline())
        except KeepstateError as error:
            return error

    def writer(self) -> Writer:
        hints = Hints(size=0, life_ms=1)
        return Writer(self.store, hints=hints, settings=SETTINGS, clock=self.clock, source=self.source())

    async def put(self, key: str, value: bytes = b"v", **more: Instant) -> Version:
        group = Group(key, [Put(name=name(key), value=value, expiry=more.get("expiry"))], SETTINGS)
        await self.writer().run([group], self.deadline())
        assert group.results is not None
        assert isinstance(group.results[0], Written)
        return group.results[0].version

    async def value(self, key: str) -> bytes | None:
        group = Group(key, [Get(name=name(key))], SETTINGS)
        await self.writer().run([group], self.deadline())
        assert group.results is not None
        return group.results[0].record.value if isinstance(group.results[0], Found) else None

    async def values(self, keys: str) -> list[bytes | None]:
        return [await self.value(key) for key in keys]

    def transactions(self) -> int:
        return self.store.count("transact")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def put(key: str, value: bytes = b"new") -> Put:
    return Put(name=name(key), value=value)


LOST = [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE]


# All or nothing


async def test_all_are_written_in_one_call(bench: Bench) -> None:
    version = await bench.put("b")
    bench.store.calls.clear()
    answers = await bench.run(
        Check(name=name("c"), precondition=ABSENT),
        put("a"),
        Delete(name=name("b"), precondition=version),
        Delete(name=name("d")),
    )
    assert not isinstance(answers, KeepstateError)
    assert [type(answer) for answer in answers] == [Written, Written, Deleted, Deleted]
    assert answers[2:] == [Deleted(existed=True), Deleted(existed=False)]
    assert await bench.values("abcd") == [b"new", None, None, None]
    assert bench.transactions() == 1


async def test_the_answers_are_the_new_etags(bench: Bench) -> None:
    answers = await bench.run(put("a"), put("b"))
    assert not isinstance(answers, KeepstateError)
    for answer, key in zip(answers, "ab", strict=True):
        assert isinstance(answer, Written)
        assert isinstance(await bench.run(Put(name=name(key), value=b"next", precondition=answer.version)), list)


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        (Check(name=name("there"), precondition=ABSENT), RecordExists),
        (Check(name=name("there"), precondition=OTHER), RecordChanged),
        (Check(name=name("none"), precondition=EXISTS), RecordMissing),
        (Put(name=name("there"), value=b"", precondition=ABSENT), RecordExists),
        (Delete(name=name("there"), precondition=OTHER), RecordChanged),
        (Delete(name=name("none"), precondition=EXISTS), RecordMissing),
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_one_failed_precondition_leaves_everything_as_it_was(
    bench: Bench, failing: TransactionOperation, error: type[KeepstateError], first: bool
) -> None:
    version = await bench.put("there", b"old")
    before = dict(bench.store.items)
    operations: list[TransactionOperation] = [put("a"), put("b")]
    operations.insert(0 if first else 2, failing)
    result = await bench.run(*operations, request=bench.requests.new())
    assert isinstance(result, error)
    assert isinstance(result, RecordChanged | RecordExists | RecordMissing)
    assert result.name == failing.name
    assert result.etag == ("" if failing.name.key == "none" else etag_of(version))
    assert bench.store.items == before


async def test_a_check_leaves_its_record_as_it_was(bench: Bench) -> None:
    at = Instant(bench.clock.now() + MINUTE)
    version = await bench.put("a", b"checked", expiry=at)
    before = decode(bench.store.items["a"].data)
    etag = bench.store.items["a"].etag
    answers = await bench.run(Check(name=name("a"), precondition=version), put("b"))
    assert isinstance(answers, list)
    assert decode(bench.store.items["a"].data) == before
    assert bench.store.items["a"].etag != etag


async def test_a_check_of_an_absence_holds_until_the_end(bench: Bench) -> None:
    """Between the read and the write another creates the record that was checked to be absent."""

    async def others() -> None:
        await bench.put("a", b"others'")

    bench.store.before_write.append(others)
    result = await bench.run(Check(name=name("a"), precondition=ABSENT), put("b"))
    assert isinstance(result, RecordExists)
    assert await bench.value("b") is None


async def test_a_transaction_of_checks_alone_is_judged_at_one_moment(bench: Bench) -> None:
    versions = {key: await bench.put(key) for key in "ab"}
    checks = [Check(name=name(key), precondition=version) for key, version in versions.items()]

    async def others() -> None:
        await bench.put("a", b"others'")

    assert isinstance(await bench.run(*checks), list)
    bench.store.before_write.append(others)
    assert isinstance(await bench.run(*checks), RecordChanged)


async def test_a_check_lengthens_no_life(bench: Bench) -> None:
    version = await bench.put("a", b"v", expiry=Instant(bench.clock.now() + SECOND))
    await bench.run(Check(name=name("a"), precondition=version), put("b"))
    bench.clock.advance(SECOND)
    assert await bench.value("a") is None


async def test_another_programs_value_can_be_checked_and_keeps_its_etag(bench: Bench) -> None:
    bench.store.put_raw("a", b"raw")
    group = Group("a", [Get(name=name("a"))], SETTINGS)
    await bench.writer().run([group], bench.deadline())
    assert group.results is not None
    found = group.results[0]
    assert isinstance(found, Found)
    check = Check(name=name("a"), precondition=found.record.version)
    assert isinstance(await bench.run(check, put("b")), list)
    assert isinstance(await bench.run(check, put("c")), list)
    assert await bench.values("abc") == [b"raw", b"new", b"new"]


async def test_an_expiry_is_kept_or_cleared_as_by_a_single_put(bench: Bench) -> None:
    at = Instant(bench.clock.now() + MINUTE)
    for key in "ab":
        await bench.put(key, b"v", expiry=at)
    await bench.run(Put(name=name("a"), value=b"kept", expiry=KEEP_EXPIRY), put("b"))
    bench.clock.advance(MINUTE)
    assert await bench.values("ab") == [None, b"new"]


async def test_a_likely_absence_is_confirmed_before_it_is_relied_on(bench: Bench) -> None:
    await bench.put("b", b"old")
    bench.store.read_faults.append(ReadFault.BROKEN_OFF)
    assert isinstance(await bench.run(put("a"), Put(name=name("b"), value=b"new", precondition=ABSENT)), RecordExists)


# Conflicts


async def test_a_transaction_that_others_overtake_begins_anew(bench: Bench) -> None:
    async def others() -> None:
        await bench.put("b", b"others'")

    bench.store.before_write.extend([others] * 3)
    assert isinstance(await bench.run(put("a"), put("b")), list)
    assert await bench.values("ab") == [b"new", b"new"]
    assert bench.transactions() == 2  # the second `others` ran before its own write


async def test_a_transaction_that_others_overtake_again_and_again_ends_in_a_conflict(bench: Bench) -> None:
    busy = bench.writer()

    async def others() -> None:
        group = Group("b", [put("b", b"others'")], SETTINGS)
        steps = bench.store.before_write.copy()
        bench.store.before_write.clear()
        await busy.run([group], bench.deadline())
        bench.store.before_write.extend(steps)

    bench.store.before_write.extend([others] * 100)
    assert isinstance(await bench.run(put("a"), put("b")), TransactionConflict)
    bench.store.before_write.clear()
    assert await bench.values("ab") == [None, b"others'"]
    assert bench.transactions() == SETTINGS.transaction_attempts


async def test_of_many_transactions_with_one_etag_one_wins(bench: Bench) -> None:
    version = await bench.put("a")
    results = await asyncio.gather(
        *(
            bench.run(Put(name=name("a"), value=b"mine", precondition=version), put(f"b{number}"))
            for number in range(16)
        )
    )
    assert sum(isinstance(result, list) for result in results) == 1
    assert sum(isinstance(result, RecordChanged) for result in results) == 15
    assert sum([await bench.value(f"b{number}") is not None for number in range(16)]) == 1


# Lost replies


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("with_request", [False, True])
async def test_a_lost_reply_never_makes_a_false_conflict(bench: Bench, fault: WriteFault, with_request: bool) -> None:
    version = await bench.put("a")
    bench.store.applied.clear()
    bench.store.write_faults.append(fault)
    request = bench.requests.new() if with_request else None
    answers = await bench.run(
        Put(name=name("a"), value=b"mine", precondition=version),
        Put(name=name("b"), value=b"mine", precondition=ABSENT),
        Delete(name=name("c")),
        request=request,
    )
    bench.store.deliver()
    assert isinstance(answers, list)
    assert answers[2] == Deleted(existed=False)
    assert await bench.values("ab") == [b"mine", b"mine"]
    assert [write.key for write in bench.store.applied] == ["a", "b", "c"]
    for answer, key in zip(answers, "ab", strict=False):
        envelope = decode(bench.store.items[key].data)
        assert envelope is not None
        assert envelope.version == answer.version


@pytest.mark.parametrize("fault", LOST)
async def test_a_lost_reply_of_checks_alone_is_asked_again(bench: Bench, fault: WriteFault) -> None:
    version = await bench.put("a")
    bench.store.write_faults.append(fault)
    assert isinstance(await bench.run(Check(name=name("a"), precondition=version)), list)


async def test_an_outage_under_checks_alone_is_no_conflict(bench: Bench) -> None:
    """Nobody else wrote: ABORTED would be a lie."""
    version = await bench.put("a")
    bench.store.write_faults.extend([WriteFault.REQUEST_LOST] * 100)
    assert isinstance(await bench.run(Check(name=name("a"), precondition=version)), StoreUnavailable)


async def test_an_outage_that_lasts_is_unknown_once_something_was_sent(bench: Bench) -> None:
    version = await bench.put("a")
    bench.store.write_faults.extend([WriteFault.REQUEST_LOST] * 100)
    result = await bench.run(Put(name=name("a"), value=b"mine", precondition=version), put("b"))
    assert isinstance(result, OutcomeUnknown)


async def test_reads_that_fail_after_a_lost_reply_never_make_a_guess(bench: Bench) -> None:
    bench.store.write_faults.append(WriteFault.REPLY_LOST)
    bench.store.read_faults.extend([ReadFault.NONE, ReadFault.NONE, *[ReadFault.FAILS] * 100])
    assert isinstance(await bench.run(put("a"), put("b")), OutcomeUnknown)


async def test_a_read_that_fails_before_anything_was_sent_says_so(bench: Bench) -> None:
    bench.store.read_faults.append(ReadFault.FAILS)
    result = await bench.run(put("a"))
    assert isinstance(result, StoreUnavailable)
    assert result.nothing_sent


async def test_a_transaction_that_never_left_is_unavailable(bench: Bench) -> None:
    bench.store.write_faults.append(WriteFault.NOT_SENT)
    assert isinstance(await bench.run(put("a"), put("b")), StoreUnavailable)
    assert bench.store.applied == []


async def test_a_late_arrival_makes_no_answer_wrong(bench: Bench) -> None:
    """The record expires while the first attempt is under way: a refusal could turn out wrong when it arrives."""
    version = await bench.put("a", b"v", expiry=Instant(bench.clock.now() + SECOND))

    async def expires() -> None:
        bench.clock.advance(2 * SECOND)

    bench.store.write_faults.append(WriteFault.LATE)
    bench.store.before_write.append(expires)
    result = await bench.run(Put(name=name("a"), value=b"mine", precondition=version))
    assert isinstance(result, OutcomeUnknown)


async def test_an_overflow_after_a_lost_reply_is_unknown_never_a_guess(bench: Bench) -> None:
    await bench.put("a")
    bench.store.write_faults.append(WriteFault.REPLY_LOST)
    quiet = bench.store.before_read

    async def nothing() -> None:
        pass

    async def others() -> None:
        for _ in range(20):
            await bench.put("a", b"others'")

    quiet.extend([nothing, nothing, others])
    bench.store.read_faults.clear()
    assert isinstance(await bench.run(put("a"), put("b")), OutcomeUnknown)


# Deadlines


async def test_a_deadline_that_passed_sends_nothing(bench: Bench) -> None:
    assert isinstance(await bench.run(put("a"), deadline=bench.deadline(0)), DeadlineExceeded)
    assert bench.store.calls == []


async def test_a_caller_that_goes_during_the_read_has_nothing_sent(bench: Bench) -> None:
    deadline = bench.deadline()

    async def leaves() -> None:
        deadline.abandon()

    bench.store.before_read.append(leaves)
    assert isinstance(await bench.run(put("a"), put("b"), deadline=deadline), DeadlineExceeded)
    assert bench.transactions() == 0


# Repeats


async def test_a_repeat_gets_the_first_answers_and_applies_nothing(bench: Bench) -> None:
    await bench.put("b")
    request = bench.requests.new()
    operations = (
        Check(name=name("c"), precondition=ABSENT),
        put("a"),
        Delete(name=name("b")),
        Delete(name=name("d")),
    )
    first = await bench.run(*operations, request=request)
    assert isinstance(first, list)
    await bench.put("a", b"others'")
    await bench.put("b", b"others'")
    await bench.put("c", b"others'")
    for each in (request, again(request)):
        repeated = await bench.run(*operations, request=each)
        assert isinstance(repeated, list)
        assert repeated[1:] == first[1:]
    assert await bench.values("abc") == [b"others'"] * 3


async def test_a_refused_repeat_keeps_its_first_attempt_from_being_applied_later(bench: Bench) -> None:
    request = bench.requests.new()
    await bench.put("a", b"others'")
    operations = (Put(name=name("a"), value=b"mine", precondition=ABSENT), put("b"))
    assert isinstance(await bench.run(*operations, request=again(request)), RecordExists)
    await bench.run(Delete(name=name("a")))
    first = await bench.run(*operations, request=request)
    assert isinstance(first, TransactionConflict)
    assert await bench.values("ab") == [None, None]


async def test_a_first_attempt_under_way_meets_the_refusal_that_its_repeat_left(bench: Bench) -> None:
    version = await bench.put("a")
    request = bench.requests.new()
    writes = put("b")

    async def overtakes() -> None:
        repeat = (Check(name=name("a"), precondition=OTHER), writes)
        assert isinstance(await bench.run(*repeat, request=again(request)), RecordChanged)

    bench.store.before_write.append(overtakes)
    result = await bench.run(Check(name=name("a"), precondition=version), writes, request=request)
    assert isinstance(result, KeepstateError)
    assert await bench.value("b") is None


async def test_a_refused_repeat_leaves_the_records_as_they_are(bench: Bench) -> None:
    version = await bench.put("a", b"old")
    request = again(bench.requests.new())
    operations = (Put(name=name("a"), value=b"mine", precondition=OTHER), Delete(name=name("b")))
    assert isinstance(await bench.run(*operations, request=request), RecordChanged)
    envelope = decode(bench.store.items["a"].data)
    assert envelope is not None
    assert (envelope.version, envelope.value) == (version, b"old")
    assert envelope.trail.find(request) is not None


async def test_a_repeat_after_the_trail_forgot_is_unknown_and_applies_nothing(bench: Bench) -> None:
    request = bench.requests.new()
    await bench.run(put("a"), put("b"), request=request)
    for key in "ab":
        for _ in range(20):
            await bench.put(key, b"others'")
    assert isinstance(await bench.run(put("a"), put("b"), request=again(request)), OutcomeUnknown)
    assert await bench.values("ab") == [b"others'"] * 2


async def test_a_repeat_is_found_in_any_of_its_records(bench: Bench) -> None:
    """The first record's trail overflowed; the second one's still tells."""
    request = bench.requests.new()
    first = await bench.run(put("a"), put("b"), request=request)
    for _ in range(20):
        await bench.put("a", b"others'")
    assert await bench.run(put("a"), put("b"), request=again(request)) == first


async def test_a_repeat_of_checks_alone_needs_no_memory(bench: Bench) -> None:
    version = await bench.put("a")
    for _ in range(20):
        version = await bench.put("a")
    request = again(bench.requests.new())
    assert isinstance(await bench.run(Check(name=name("a"), precondition=version), request=request), list)


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("refused", [False, True])
async def test_a_repeat_whose_own_reply_is_lost_counts_once(bench: Bench, fault: WriteFault, refused: bool) -> None:
    await bench.put("a")
    bench.store.applied.clear()
    bench.store.write_faults.append(fault)
    condition = OTHER if refused else None
    request = again(bench.requests.new())
    operations = (Put(name=name("a"), value=b"mine", precondition=condition), put("b"))
    result = await bench.run(*operations, request=request)
    bench.store.deliver()
    assert isinstance(result, RecordChanged if refused else list)
    assert len(bench.store.applied) == (1 if refused else 2)


async def test_more_repeats_than_can_be_kept_are_turned_away(bench: Bench) -> None:
    """A repeat's note outlives the overflow: without a limit a record would grow with each."""
    repeats = [Put(name=name("a"), value=b"v", request=again(Requests(bench.clock, n).new())) for n in range(1, 400)]
    group = Group("a", repeats, SETTINGS)
    await bench.writer().run([group], bench.deadline())
    request = again(bench.requests.new())
    assert isinstance(await bench.run(put("b"), put("a"), request=request), Overloaded)
    assert await bench.values("ab") == [b"v", None]
    bench.clock.advance(SETTINGS.repeat_life_ms)
    assert isinstance(await bench.run(put("b"), put("a"), request=request), list)
    assert await bench.values("ab") == [b"new", b"new"]


async def test_hints_of_what_a_transaction_wrote_are_forgotten(bench: Bench) -> None:
    for key in "ab":
        await bench.put(key)
        writer = Writer(bench.store, hints=bench.hints, settings=SETTINGS, clock=bench.clock, source=bench.source())
        await writer.run([Group(key, [Get(name=name(key))], SETTINGS)], bench.deadline())
        assert bench.hints.get("model", key, bench.clock.now()) is not None
    await bench.run(put("a"), Check(name=name("b"), precondition=EXISTS))
    assert bench.hints.get("model", "a", bench.clock.now()) is None
    assert bench.hints.get("model", "b", bench.clock.now()) is None


async def test_records_too_large_for_one_call_are_refused_for_good(bench: Bench) -> None:
    """A check writes its record again as it is: seventeen of a mebibyte are no message."""
    keys = [f"k{number}" for number in range(17)]
    for key in keys:
        await bench.put(key, bytes(1024 * 1024))
    calls = bench.transactions()
    checks = [Check(name=name(key), precondition=EXISTS) for key in keys]
    result = await bench.run(*checks, put("a"))
    assert isinstance(result, UnsupportedByStore)
    assert result.capability == "transactions of this size"
    assert bench.transactions() == calls


async def test_a_fault_of_ours_after_sending_is_looked_into_like_a_lost_reply(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = bench.store.transact

    async def broken(*arguments: object, **more: object) -> None:
        await apply(*arguments, **more)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(bench.store, "transact", broken)
    assert isinstance(await bench.run(put("a"), put("b")), list)
    assert bench.transactions() == 1
    assert await bench.values("ab") == [b"new", b"new"]
