"""The engine as callers see it: many tasks, many stores, callers that go away."""

from __future__ import annotations

import asyncio

import pytest

from keepstate_server.domain.errors import (
    OutcomeUnknown,
    Overloaded,
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreNotFound,
    StoreUnavailable,
)
from keepstate_server.domain.operations import Delete, Deleted, Found, Get, Operation, Put, Touch, Touched, Written
from keepstate_server.domain.records import ABSENT, etag_of
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Gate, Service
from tests.unit.server.hand import SECOND
from tests.unit.server.model_store import ReadFault, WriteFault


async def test_of_64_callers_with_one_etag_one_wins_and_63_learn_the_current_etag(service: Service) -> None:
    first = await service.one(Put(name=name(), value=b"first"))
    assert isinstance(first, Written)
    put = Put(name=name(), value=b"mine", precondition=first.version)
    results = await asyncio.gather(*(service.one(put) for _ in range(64)))
    won = [result for result in results if isinstance(result, Written)]
    lost = [result for result in results if isinstance(result, RecordChanged)]
    assert (len(won), len(lost)) == (1, 63)
    assert {result.etag for result in lost} == {etag_of(won[0].version)}
    assert len(service.store.applied) == 2


async def test_callers_of_one_instance_do_not_refuse_each_other(service: Service) -> None:
    """64 writers of a hot key cost two writes: that of the first, and one of all who came while it was under way."""
    await service.one(Put(name=name(), value=b"first"))
    service.store.calls.clear()
    results = await asyncio.gather(*(service.one(Put(name=name(), value=b"v")) for _ in range(64)))
    assert all(isinstance(result, Written) for result in results)
    assert service.store.count("write") == 2
    assert service.store.count("read") == (0 if service.store.counts else 2)


async def test_results_come_in_the_order_asked_also_over_several_stores(service: Service) -> None:
    operations: list[Operation] = []
    for number in range(40):
        store = "second" if number % 3 else "model"
        operations.append(Put(name=name(f"k{number}", store=store), value=str(number).encode()))
    written = await service.all(operations)
    assert all(isinstance(result, Written) for result in written)
    found = await service.all([Get(name=operation.name) for operation in reversed(operations)])
    values = [result.record.value for result in found if isinstance(result, Found)]
    assert values == [str(number).encode() for number in range(39, -1, -1)]


async def test_an_unknown_store_fails_its_own_operations_alone(service: Service) -> None:
    results = await service.all(
        [
            Put(name=name("a"), value=b"v"),
            Put(name=name("b", store="nowhere"), value=b"v"),
            Get(name=name("c", store="second")),
        ]
    )
    assert [type(result) for result in results] == [Written, StoreNotFound, RecordMissing]


async def test_an_outage_of_one_store_fails_its_own_operations_alone(service: Service) -> None:
    service.second.read_faults.append(ReadFault.FAILS)
    results = await service.all([Put(name=name("a"), value=b"v"), Put(name=name("b", store="second"), value=b"v")])
    assert [type(result) for result in results] == [Written, StoreUnavailable]


async def test_writes_to_one_key_in_a_batch_apply_in_order(service: Service) -> None:
    puts = [Put(name=name(), value=str(number).encode()) for number in range(200)]
    results = await service.all(puts)
    assert len({result.version for result in results if isinstance(result, Written)}) == 200
    assert service.envelope().value == b"199"
    assert len(service.store.applied) == 1


async def test_a_thousand_keys_go_out_in_pieces_of_at_most_128(service: Service) -> None:
    results = await service.all([Put(name=name(f"k{number}"), value=b"v") for number in range(1000)])
    assert all(isinstance(result, Written) for result in results)
    # The first piece is small: it shows how large values are.
    assert [len(call.keys) for call in service.store.calls[::2]] == [16, *[128] * 7, 88]
    assert len(service.store.calls) == 18


async def test_large_values_go_out_in_pieces_of_a_mebibyte(service: Service) -> None:
    await service.all([Put(name=name(f"k{number}"), value=bytes(400_000)) for number in range(6)])
    assert [len(call.keys) for call in service.store.calls if call.kind == "write"] == [2, 2, 2]


async def test_touched_values_go_out_in_pieces_of_a_mebibyte(service: Service) -> None:
    names = [name(f"k{number}") for number in range(20)]
    for each in names:
        await service.one(Put(name=each, value=bytes(400_000)))
    service.store.calls.clear()
    results = await service.all([Touch(name=each) for each in names])
    assert all(isinstance(result, Touched) for result in results)
    assert max(len(call.keys) for call in service.store.calls if call.kind == "write") == 2


async def test_an_answer_carries_what_fits_and_says_that_the_rest_is_to_be_asked_for_again(service: Service) -> None:
    large = bytes(1024 * 1024)
    await service.one(Put(name=name("large"), value=large))
    operations: list[Operation] = [Get(name=name("large")) for _ in range(600)]
    operations += [Put(name=name("other"), value=b"v"), Get(name=name("small"))]
    *reads, put, _ = await service.all(operations)
    told = [result for result in reads if isinstance(result, Found)]
    refused = [result for result in reads if isinstance(result, Overloaded)]
    assert 8 <= len(told) <= 15
    assert len(told) + len(refused) == 600
    assert isinstance(put, Written), "a write keeps its answer"


async def test_reads_of_large_values_go_out_few_at_a_time(service: Service) -> None:
    names = [name(f"k{number}") for number in range(300)]
    for each in names:
        await service.one(Put(name=each, value=bytes(1024 * 1024)))
    service.store.calls.clear()
    await service.all([Get(name=each) for each in names])
    assert sum(len(call.keys) for call in service.store.calls) <= 32, "what has no room is not read"


async def test_names_in_different_namespaces_are_different_records(service: Service) -> None:
    names = [name("b", namespace="a"), name("a/b"), name("b"), name("/b", namespace="a"), name("b", namespace="a/")]
    results = await service.all([Put(name=each, value=b"v", precondition=ABSENT) for each in names])
    assert all(isinstance(result, Written) for result in results)
    assert isinstance(await service.one(Put(name=names[1], value=b"v", precondition=ABSENT)), RecordExists)


async def test_an_outcome_that_nobody_can_tell_is_said_of_that_operation_alone(service: Service) -> None:
    """One key's reply is lost and its record's trail overflows; the other key's is found."""
    await service.all([Put(name=name(key), value=b"first") for key in ("a", "b")])
    await service.all([Get(name=name(key)) for key in ("a", "b")])
    service.store.write_faults.append(WriteFault.REPLY_LOST)
    others = service.instance()

    async def overflow() -> None:
        for _ in range(20):
            await others.perform(Put(name=name("a"), value=b"others'"), service.deadline())

    service.store.before_read.append(overflow)
    results = await service.all([Put(name=name(key), value=b"mine") for key in ("a", "b")])
    assert [type(result) for result in results] == [OutcomeUnknown, Written]


async def test_a_delete_of_what_expired_says_that_nothing_was_there(service: Service) -> None:
    at = service.clock.now() + SECOND
    await service.one(Put(name=name(), value=b"v", expiry=type(service.clock.now())(at)))
    service.clock.advance(SECOND)
    assert await service.one(Delete(name=name())) == Deleted(existed=False)


async def test_a_key_whose_write_is_settled_does_not_wait_for_the_rest_of_its_batch(service: Service) -> None:
    """The other key's answer needs a read, which takes a while: whoever wants the first one need not wait for that."""
    old, _ = await service.all([Put(name=name("bad"), value=b"1"), Put(name=name("good"), value=b"1")])
    assert isinstance(old, Written)
    await service.one(Put(name=name("bad"), value=b"2"))
    await service.all([Get(name=name("bad")), Get(name=name("good"))])
    gate = Gate()
    service.store.before_read.append(gate)
    batch = [Put(name=name("good"), value=b"3"), Put(name=name("bad"), value=b"3", precondition=old.version)]
    under_way = asyncio.create_task(service.all(batch))
    await gate.reached.wait()
    assert service.store.calls[-1].keys == ("bad",)
    async with asyncio.timeout(5):
        assert isinstance(await service.one(Put(name=name("good"), value=b"4")), Written)
    gate.open.set()
    assert [type(result) for result in await under_way] == [Written, RecordChanged]


async def test_a_fault_of_ours_after_sending_is_looked_into_like_a_lost_reply(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = service.store.write

    async def broken(*arguments: object, **more: object) -> None:
        await apply(*arguments, **more)  # type: ignore[arg-type]
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(service.store, "write", broken)
    assert isinstance(await service.one(Put(name=name(), value=b"v")), Written)
    assert len(service.store.applied) == 1


async def test_work_that_does_not_end_is_ended_with_the_drain(service: Service) -> None:
    gate = Gate()
    service.store.before_write.append(gate)
    put = asyncio.create_task(service.one(Put(name=name(), value=b"v")))
    await gate.reached.wait()
    await service.engine.drain(timeout=0.01)
    with pytest.raises(asyncio.CancelledError):
        await put


# Callers that go away


async def test_what_was_sent_is_looked_into_to_the_end_though_the_caller_has_gone(service: Service) -> None:
    gate = Gate()
    await service.one(Put(name=name(), value=b"first"))
    await service.one(Get(name=name()))
    service.store.before_write.append(gate)
    call = asyncio.create_task(service.one(Put(name=name(), value=b"mine")))
    await gate.reached.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()
    gate.open.set()
    await service.engine.drain(timeout=5)
    assert service.envelope().value == b"mine"
    # What it left is known: the next writer is not refused.
    service.store.calls.clear()
    await service.one(Put(name=name(), value=b"next"))
    assert service.store.count("write") == 1


async def test_what_was_not_begun_for_a_caller_that_has_gone_is_dropped(service: Service) -> None:
    gate = Gate()
    service.store.before_read.append(gate)
    call = asyncio.create_task(service.one(Put(name=name(), value=b"mine")))
    await gate.reached.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    gate.open.set()
    await service.engine.drain(timeout=5)
    assert service.store.applied == []


async def test_a_writer_that_waits_behind_another_is_dropped_when_its_caller_goes(service: Service) -> None:
    gate = Gate()
    service.store.before_write.append(gate)
    ahead = asyncio.create_task(service.one(Put(name=name(), value=b"ahead")))
    await gate.reached.wait()
    behind = asyncio.create_task(service.one(Put(name=name(), value=b"behind")))
    await asyncio.sleep(0.01)
    behind.cancel()
    await asyncio.gather(behind, return_exceptions=True)
    gate.open.set()
    assert isinstance(await ahead, Written)
    await service.engine.drain(timeout=5)
    assert service.envelope().value == b"ahead"
    assert len(service.store.applied) == 1


async def test_a_writer_does_not_wait_for_ever_behind_one_whose_store_hangs(service: Service) -> None:
    """Turns are for speed alone: the store judges between the two."""
    gate = Gate()
    service.store.before_write.append(gate)
    ahead = asyncio.create_task(service.one(Put(name=name(), value=b"ahead")))
    await gate.reached.wait()
    behind = [Put(name=name(), value=b"behind"), Put(name=name("other"), value=b"other")]
    results = await service.engine.perform_all(behind, service.deadline(0.5))
    assert [type(result) for result in results] == [Written, Written]
    gate.open.set()
    assert isinstance(await ahead, Written)
    assert service.envelope().value == b"ahead", "written last"


async def test_a_reader_does_not_wait_behind_a_writer(service: Service) -> None:
    await service.one(Put(name=name(), value=b"first"))
    await service.one(Get(name=name()))
    gate = Gate()
    service.store.before_write.append(gate)
    writing = asyncio.create_task(service.one(Put(name=name(), value=b"second")))
    await gate.reached.wait()
    async with asyncio.timeout(5):
        found = await service.one(Get(name=name()))
    assert isinstance(found, Found)
    assert found.record.value == b"first"
    gate.open.set()
    await writing


async def test_a_cancelled_batch_leaves_nothing_half_looked_into(service: Service) -> None:
    gate = Gate()
    service.store.before_write.append(gate)
    service.store.write_faults.append(WriteFault.REPLY_LOST)
    operations = [Put(name=name(f"k{number}"), value=b"v") for number in range(5)]
    call = asyncio.create_task(service.all(operations))
    await gate.reached.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    gate.open.set()
    await service.engine.drain(timeout=5)
    results = await service.all([Put(name=name(f"k{number}"), value=b"w") for number in range(5)])
    assert all(isinstance(result, Written) for result in results)
    assert len(service.store.applied) == 10


async def test_in_a_shared_store_no_write_rests_on_a_hint(service: Service) -> None:
    service.store.shared = True
    await service.one(Put(name=name(), value=b"first"))
    await service.one(Get(name=name()))
    service.store.calls.clear()
    await service.one(Put(name=name(), value=b"second"))
    assert [call.kind for call in service.store.calls] == ["read", "write"]
