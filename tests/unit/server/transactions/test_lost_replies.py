"""Transactions whose reply is lost, and whose time runs out."""

from __future__ import annotations

import pytest

from keepstate_server.domain.errors import DeadlineExceeded, OutcomeUnknown, StoreUnavailable
from keepstate_server.domain.operations import Check, Delete, Deleted, Put
from keepstate_server.domain.records import ABSENT
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from tests.unit.server.cases import name
from tests.unit.server.hand import SECOND
from tests.unit.server.model_store import ReadFault, WriteFault
from tests.unit.server.transactions.conftest import LOST, Bench, put

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


async def test_an_outage_under_checks_alone_is_no_conflict(bench: Bench) -> None:
    """Nobody else wrote: ABORTED would be a lie."""
    version = await bench.put("a")
    bench.store.read_faults.extend([ReadFault.FAILS] * 100)
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
