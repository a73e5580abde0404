"""Promise 12 with others: updates in batches and in transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, UPDATE_NOT_APPLICABLE, Api, Refused, again, append, refused

MEBIBYTE = 1024 * 1024

add = pb.Increment


@pytest.mark.promise(8, 12)
async def test_updates_in_a_batch_apply_in_order_each_with_its_own_answer(api: Api) -> None:
    key, text = api.key(), api.key()
    results = await api.batch(
        [
            pb.BatchOperation(update=api.update_request(key, add(delta=1))),
            pb.BatchOperation(get=pb.GetRequest(name=api.name(key))),
            pb.BatchOperation(put=api.put_request(text, b"text")),
            pb.BatchOperation(update=api.update_request(text, add(delta=1))),
            *(pb.BatchOperation(update=api.update_request(key, add(delta=1))) for _ in range(500)),
            pb.BatchOperation(delete=pb.DeleteRequest(name=api.name(key))),
            pb.BatchOperation(update=api.update_request(key, add(delta=1, initial=-1))),
        ]
    )
    assert results[0].update.record == results[1].get.record
    assert Refused.of(results[3].error).what == UPDATE_NOT_APPLICABLE
    assert [each.update.record.value for each in results[4:504]] == [str(n).encode() for n in range(2, 502)]
    assert len({each.update.record.etag for each in results[4:504]}) == 500
    assert results[-1].update.record == await api.get(key)
    assert await api.value(key) == b"0"


@pytest.mark.promise(8, 12)
async def test_updates_that_one_answer_has_no_room_for_are_refused_and_not_applied(api: Api) -> None:
    keys = [api.key() for _ in range(20)]
    value = b'["' + b"x" * (MEBIBYTE - 100) + b'"]'
    for key in keys:
        await api.put(key, value)
    results = await api.batch([pb.BatchOperation(update=api.update_request(key, append(b"1"))) for key in keys])
    done = [each.WhichOneof("result") == "update" for each in results]
    assert 8 <= sum(done) <= 12
    for key, applied, result in zip(keys, done, results, strict=True):
        assert await api.value(key) == (value[:-1] + b",1]" if applied else value)
        if not applied:
            no = Refused.of(result.error)
            assert no.what == ("RESOURCE_EXHAUSTED", "OVERLOADED")
            assert (no.metadata["limit"], no.metadata["nothing_sent"]) == ("bytes in one answer", "true")
    later = await api.batch(
        [
            pb.BatchOperation(update=api.update_request(key, append(b"1")))
            for key, applied in zip(keys, done, strict=True)
            if not applied
        ]
    )
    assert all(each.WhichOneof("result") == "update" for each in later)


@pytest.mark.promise(9, 12)
async def test_updates_in_a_transaction_are_applied_with_all_else_or_not_at_all(api: Api) -> None:
    counter, log, other, text = (api.key() for _ in range(4))
    await api.put(counter, b"41")
    await api.put(text, b"text")
    updates = [api.update_request(log, append(b'"moved"')), api.update_request(counter, add(delta=1, maximum=42))]
    answer = await api.transact(puts=[api.put_request(other)], updates=updates)
    assert [each.record.value for each in answer.updates] == [b'["moved"]', b"42"]
    assert [each.record for each in answer.updates] == [await api.get(log), await api.get(counter)]
    assert [each.etag for each in answer.puts] == [(await api.get(other)).etag]
    bound = await refused(api.transact(puts=[api.put_request(other, b"new")], updates=updates))
    assert (bound.what, bound.metadata["key"]) == (UPDATE_NOT_APPLICABLE, counter)
    kind = await refused(api.transact(updates=[updates[0], api.update_request(text, add(delta=1))]))
    assert (kind.what, kind.metadata["key"]) == (UPDATE_NOT_APPLICABLE, text)
    stale = await refused(api.transact(updates=[updates[0], api.update_request(counter, add(delta=-1), when=ABSENT)]))
    assert (stale.what, stale.metadata["key"]) == (("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS"), counter)
    assert [await api.value(key) for key in (counter, log, other, text)] == [b"42", b'["moved"]', b"value", b"text"]


@pytest.mark.promise(9, 11, 12)
async def test_a_repeated_transaction_returns_the_updated_records_as_they_are_now(
    api: Api, request_id: Callable[[], record_pb2.RequestId]
) -> None:
    one, other, request = api.key(), api.key(), request_id()
    updates = [api.update_request(key, add(delta=1)) for key in (one, other)]
    first = await api.transact(updates=updates, request=request)
    assert [(each.record.value, each.repeated) for each in first.updates] == [(b"1", False), (b"1", False)]
    await api.update(one, add(delta=10))
    await api.delete(other)
    repeat = await api.transact(updates=updates, request=again(request))
    assert [(each.record.value, each.repeated) for each in repeat.updates] == [(b"11", True), (b"", True)]
    assert not repeat.updates[1].HasField("record")
    assert await api.value(one) == b"11"


@pytest.mark.promise(9, 12)
async def test_transactions_of_increments_through_two_instances_move_and_make_nothing(
    api: Api, store: str, another: Callable[[], Any]
) -> None:
    accounts = [api.key("account") for _ in range(4)]
    for key in accounts:
        await api.put(key, b"100")

    async def move(through: Api, number: int) -> None:
        source, target = accounts[number % 4], accounts[(number + 1 + number // 4 % 3) % 4]
        while True:
            try:
                await through.transact(
                    updates=[
                        through.update_request(source, add(delta=-number, minimum=0)),
                        through.update_request(target, add(delta=number)),
                    ]
                )
            except Refused as no:
                assert no.what in {("ABORTED", "TRANSACTION_CONFLICT"), UPDATE_NOT_APPLICABLE}
                if no.what == UPDATE_NOT_APPLICABLE:
                    return
            else:
                return

    async with another() as other:
        through = [api, Api(other.channel, store, api.prefix)]
        await asyncio.gather(*(move(through[number % 2], number) for number in range(16)))
    balances = [int(await api.value(key) or b"") for key in accounts]
    assert sum(balances) == 400
    assert min(balances) >= 0
