"""Updates as the engine carries them to the stores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from keepstate_server.domain.errors import Overloaded, UpdateNotApplicable
from keepstate_server.domain.operations import (
    Append,
    Found,
    Get,
    Increment,
    MergePatch,
    Operation,
    Put,
    Update,
    Updated,
    Written,
)
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service
from tests.unit.server.hand import again
from tests.unit.server.model_store import WriteFault

MEBIBYTE = 1024 * 1024


def add(key: str = "k", delta: int = 1) -> Update:
    return Update(name=name(key), change=Increment(delta=delta))


def values(results: Sequence[object]) -> list[bytes]:
    return [result.record.value for result in results if isinstance(result, Updated) and result.record]


async def test_increments_through_two_instances_add_up(service: Service) -> None:
    other = service.instance()
    results = await asyncio.gather(
        *(engine.perform(add(), service.deadline()) for engine in (service.engine, other) for _ in range(32))
    )
    assert sorted(int(value) for value in values(results)) == list(range(1, 65))
    assert service.envelope().value == b"64"


async def test_increments_of_one_key_in_a_batch_are_one_write(service: Service) -> None:
    results = await service.all([add() for _ in range(1000)])
    assert values(results) == [str(number).encode() for number in range(1, 1001)]
    assert (service.store.count("read"), service.store.count("write")) == (1, 1)


async def test_an_update_rests_on_a_read_and_never_on_a_hint(service: Service) -> None:
    await service.all([add()])
    service.store.calls.clear()
    assert values(await service.all([add()])) == [b"2"]
    assert (service.store.count("read"), service.store.count("write")) == (1, 1)


@pytest.mark.parametrize("lost", [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.UNTOLD])
async def test_a_lost_reply_neither_loses_nor_doubles_an_update(service: Service, lost: WriteFault) -> None:
    await service.all([add()])
    service.store.write_faults.append(lost)
    assert values(await service.all([add(delta=10)])) == [b"11"]
    assert service.envelope().value == b"11"


async def test_a_repeat_through_another_instance_is_told_the_record_now(service: Service) -> None:
    request = service.requests.new()
    first = Update(name=name(), change=Append(items=[b"1"]), request=request)
    await service.one(first)
    await service.one(Update(name=name(), change=Append(items=[b"2"])))
    repeat = Update(name=name(), change=Append(items=[b"1"]), request=again(request))
    told = await service.instance().perform(repeat, service.deadline())
    assert isinstance(told, Updated)
    assert told.repeated
    assert values([told]) == [b"[1,2]"]
    assert service.envelope().value == b"[1,2]"


# What has room in one answer


def large(count: int) -> list[Put]:
    text = b'"' + b"x" * (MEBIBYTE - 100) + b'"'
    return [Put(name=name(f"k{number}"), value=b"[" + text + b"]") for number in range(count)]


def append(key: str, item: bytes = b"1") -> Update:
    return Update(name=name(key), change=Append(items=[item]))


async def test_updates_whose_answers_have_no_room_are_refused_before_they_are_sent(service: Service) -> None:
    puts = large(20)
    await service.all(puts)
    applied = len(service.store.applied)
    results = await service.all([append(put.name.key) for put in puts])
    done = [result for result in results if isinstance(result, Updated)]
    refused = [result for result in results if isinstance(result, Overloaded)]
    assert len(done) == 12
    assert len(refused) == 8
    assert {result.limit for result in refused} == {"bytes in one answer"}
    assert len(service.store.applied) == applied + len(done)
    for put, result in zip(puts, results, strict=True):
        changed = service.envelope(put.name.key).value != put.value
        assert changed is isinstance(result, Updated)


async def test_updates_of_one_large_record_are_performed_as_far_as_their_answers_have_room(service: Service) -> None:
    (put,) = large(1)
    await service.one(put)
    results = await service.all([append("k0", str(number).encode()) for number in range(40)])
    assert [type(result) for result in results] == [Updated] * 12 + [Overloaded] * 28
    assert service.envelope("k0").value.endswith(b",10,11]")


async def test_updates_over_several_stores_share_the_room(service: Service) -> None:
    puts: list[Put] = [
        *large(8),
        *(Put(name=name(put.name.key, store="second"), value=put.value) for put in large(8)),
    ]
    await service.all(puts)
    results = await service.all([Update(name=put.name, change=Append(items=[b"1"])) for put in puts])
    assert sum(isinstance(result, Updated) for result in results) == 12


async def test_reads_have_what_room_the_updates_leave(service: Service) -> None:
    puts = large(20)
    await service.all(puts)
    operations: list[Operation] = [append(put.name.key) for put in puts[:10]]
    operations += [Get(name=put.name) for put in puts[10:]]
    results = await service.all(operations)
    assert [isinstance(result, Updated) for result in results[:10]] == [True] * 10
    assert sum(isinstance(result, Found) for result in results[10:]) == 2


async def test_a_retry_does_not_need_the_room_twice(service: Service) -> None:
    puts = large(12)
    await service.all(puts)
    service.store.write_faults.extend([WriteFault.REQUEST_LOST] * 3)
    results = await service.all([append(put.name.key) for put in puts])
    assert all(isinstance(result, Updated) for result in results)


async def test_an_update_that_does_not_fit_fails_alone(service: Service) -> None:
    operations: list[Operation] = [
        Put(name=name("text"), value=b"text"),
        add("text"),
        add("number"),
        Update(name=name("object"), change=MergePatch(patch=b'{"a":1}')),
    ]
    results = await service.all(operations)
    assert [type(result) for result in results] == [Written, UpdateNotApplicable, Updated, Updated]
    assert service.envelope("text").value == b"text"
