"""Transactions that are sent again."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import (
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    RecordChanged,
    RecordExists,
)
from keepstate_server.domain.operations import Append, Check, Delete, Put, Update, Updated
from keepstate_server.domain.records import ABSENT
from keepstate_server.engine.envelope import decode
from tests.unit.server.cases import name
from tests.unit.server.hand import SETTINGS, Requests, again
from tests.unit.server.model_store import WriteFault
from tests.unit.server.parts import performed
from tests.unit.server.transactions.conftest import LOST, OTHER, Bench, put


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
    assert isinstance(first, RecordExists)
    assert (first.name, first.etag) == (name("a"), "")
    assert await bench.values("ab") == [None, None]


async def test_a_refusal_is_of_the_same_record_when_it_is_repeated(bench: Bench) -> None:
    """By the time of the repeat another record would be at fault."""
    first = bench.requests.new()
    await bench.put("c")
    operations = (put("a"), Check(name=name("b"), precondition=ABSENT), Check(name=name("c"), precondition=ABSENT))
    await bench.put("b")
    for request in (again(first), again(first)):
        refused = await bench.run(*operations, request=request)
        assert isinstance(refused, RecordExists)
        assert refused.name == name("b")
        await bench.run(Delete(name=name("b")))


async def test_a_repeat_of_updates_has_the_room_that_the_first_attempt_had(bench: Bench) -> None:
    large = b'["' + b"v" * 1_000_000 + b'"]'
    operations = [Update(name=name(key), change=Append(items=(b"1",), max_length=9)) for key in "abcdefgh"]
    for each in operations:
        await bench.put(each.name.key, large)
    request = bench.requests.new()
    assert isinstance(await bench.run(*operations, request=request), list)
    repeated = await bench.run(*operations, request=again(request))
    assert isinstance(repeated, list)
    assert all(isinstance(each, Updated) and each.repeated for each in repeated)


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
    result = await bench.run(put("a"), put("b"), request=again(request))
    assert isinstance(result, OutcomeUnknown)
    assert result.for_good
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
    await performed(bench.writer(), repeats, bench.deadline())
    request = again(bench.requests.new())
    assert isinstance(await bench.run(put("b"), put("a"), request=request), Overloaded)
    assert await bench.values("ab") == [b"v", None]
    bench.clock.advance(SETTINGS.repeat_life_ms)
    assert isinstance(await bench.run(put("b"), put("a"), request=request), list)
    assert await bench.values("ab") == [b"new", b"new"]
