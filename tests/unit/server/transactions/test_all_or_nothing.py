"""All or nothing, whatever others write meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.errors import (
    KeepstateError,
    OutcomeUnknown,
    RecordChanged,
    RecordExists,
    RecordMissing,
    TransactionConflict,
)
from keepstate_server.domain.operations import Check, Delete, Deleted, Found, Get, Put, TransactionOperation, Written
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from keepstate_server.engine.writer import Writer
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, again
from tests.unit.server.model_store import ReadFault
from tests.unit.server.parts import performed
from tests.unit.server.transactions.conftest import OTHER, Bench, put

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

    async def nothing() -> None:
        """The first reading finds what was expected, the second does not."""

    assert isinstance(await bench.run(*checks), list)
    bench.store.before_read.extend((nothing, others))
    assert isinstance(await bench.run(*checks), RecordChanged)


async def test_a_check_lengthens_no_life(bench: Bench) -> None:
    version = await bench.put("a", b"v", expiry=Instant(bench.clock.now() + SECOND))
    await bench.run(Check(name=name("a"), precondition=version), put("b"))
    bench.clock.advance(SECOND)
    assert await bench.value("a") is None


async def test_another_programs_value_can_be_checked_and_keeps_its_etag(bench: Bench) -> None:
    bench.store.put_raw("a", b"raw")
    (found,) = await performed(bench.writer(), [Get(name=name("a"))], bench.deadline())
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


async def test_hints_of_what_a_transaction_wrote_are_forgotten(bench: Bench) -> None:
    for key in "ab":
        await bench.put(key)
        source = bench.source()
        writer = Writer(
            bench.store,
            hints=bench.hints,
            resolver=bench.resolver(source),
            noting=bench.noting(source),
            clock=bench.clock,
            source=source,
        )
        await performed(writer, [Get(name=name(key))], bench.deadline())
        assert bench.hints.get(bench.store.scope, key, bench.clock.now()) is not None
    await bench.run(put("a"), Check(name=name("b"), precondition=EXISTS))
    assert bench.hints.get(bench.store.scope, "a", bench.clock.now()) is None
    assert bench.hints.get(bench.store.scope, "b", bench.clock.now()) is None


async def test_records_too_large_for_one_call_are_written_in_stages(bench: Bench) -> None:
    """A check writes its record again as it is: seventeen of a mebibyte are no message."""
    keys = [f"k{number}" for number in range(17)]
    for key in keys:
        await bench.put(key, bytes(1024 * 1024))
    calls = bench.transactions()
    checks = [Check(name=name(key), precondition=EXISTS) for key in keys]
    result = await bench.run(*checks, put("a"))
    assert isinstance(result, list)
    assert bench.transactions() == calls
    assert await bench.value("a") == b"new"


# Conflicts


async def test_a_transaction_that_others_overtake_begins_anew(bench: Bench) -> None:
    async def others() -> None:
        await bench.put("b", b"others'")

    bench.store.before_write.extend([others] * 3)
    assert isinstance(await bench.run(put("a"), put("b")), list)
    assert await bench.values("ab") == [b"new", b"new"]
    assert bench.transactions() == 2  # the second `others` ran before its own write


@pytest.mark.parametrize(("repeated", "error"), [(False, TransactionConflict), (True, OutcomeUnknown)])
async def test_a_transaction_that_others_overtake_again_and_again_ends_in_a_conflict(
    bench: Bench, repeated: bool, error: type[KeepstateError]
) -> None:
    """But of a repeat the first attempt may still be running: it is not told to begin anew."""
    busy = bench.writer()

    async def others() -> None:
        steps = bench.store.before_write.copy()
        bench.store.before_write.clear()
        await performed(busy, [put("b", b"others'")], bench.deadline())
        bench.store.before_write.extend(steps)

    bench.store.before_write.extend([others] * 100)
    request = bench.requests.new()
    result = await bench.run(put("a"), put("b"), request=again(request) if repeated else request)
    assert isinstance(result, error)
    assert not getattr(result, "for_good", False)
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
