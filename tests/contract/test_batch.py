"""Promise 8: batches."""

from __future__ import annotations

import pytest

from keepstate import Bytes, Client
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, Api, Refused, if_etag
from tests.contract.conftest import Backend

pytestmark = pytest.mark.promise(8)


def put(api: Api, key: str, value: bytes = b"value", **more: object) -> pb.BatchOperation:
    return pb.BatchOperation(put=api.put_request(key, value, **more))  # type: ignore[arg-type]


def get(api: Api, key: str) -> pb.BatchOperation:
    return pb.BatchOperation(get=pb.GetRequest(name=api.name(key)))


def delete(api: Api, key: str) -> pb.BatchOperation:
    return pb.BatchOperation(delete=pb.DeleteRequest(name=api.name(key)))


def what(result: pb.BatchResult) -> tuple[str, str]:
    return Refused.of(result.error).what


async def test_results_come_in_the_order_asked_each_with_its_own_status(api: Api) -> None:
    there, missing, taken = api.key(), api.key(), api.key()
    await api.put(there, b"there")
    await api.put(taken, b"taken")
    results = await api.batch(
        [
            get(api, missing),
            put(api, taken, b"lost", when=ABSENT),
            get(api, there),
            delete(api, missing),
            pb.BatchOperation(touch=pb.TouchRequest(name=api.name(missing))),
            put(api, api.key(), b"new"),
        ]
    )
    assert [each.WhichOneof("result") for each in results] == ["error", "error", "get", "delete", "error", "put"]
    assert what(results[0]) == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert what(results[1]) == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    assert results[2].get.record.value == b"there"
    assert results[3].delete.existed is False
    assert what(results[4]) == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert await api.value(taken) == b"taken"


async def test_operations_on_one_key_apply_in_order(api: Api) -> None:
    key = api.key()
    results = await api.batch(
        [
            put(api, key, b"1"),
            get(api, key),
            put(api, key, b"2", when=ABSENT),
            put(api, key, b"3"),
            delete(api, key),
            get(api, key),
            put(api, key, b"4", when=ABSENT),
            get(api, key),
        ]
    )
    assert results[1].get.record.value == b"1"
    assert results[1].get.record.etag == results[0].put.etag
    assert what(results[2]) == ("ALREADY_EXISTS", "RECORD_ALREADY_EXISTS")
    assert results[4].delete.existed is True
    assert what(results[5]) == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert results[7].get.record.value == b"4"
    etags = [results[index].put.etag for index in (0, 3, 6)]
    assert len(set(etags)) == 3, "each write of the batch has an etag of its own"
    record = await api.get(key)
    assert (record.value, record.etag) == (b"4", etags[-1])
    for stale in etags[:-1]:
        with pytest.raises(Refused):
            await api.put(key, when=if_etag(stale))


async def test_a_batch_of_a_thousand_writes_and_reads(api: Api) -> None:
    keys = [api.key() for _ in range(1000)]
    written = await api.batch([put(api, key, key.encode()) for key in keys])
    assert [each.WhichOneof("result") for each in written] == ["put"] * 1000
    read = await api.batch([get(api, key) for key in keys])
    assert [each.get.record.value for each in read] == [key.encode() for key in keys]
    assert [each.get.record.etag for each in read] == [each.put.etag for each in written]


async def test_conditional_writes_in_a_batch_stand_or_fall_alone(api: Api) -> None:
    keys = [api.key() for _ in range(50)]
    held = [each.put.etag for each in await api.batch([put(api, key, b"0") for key in keys])]
    for key in keys[::3]:
        await api.put(key, b"foreign")
    results = await api.batch(
        [put(api, key, b"mine", when=if_etag(etag)) for key, etag in zip(keys, held, strict=True)]
    )
    for index, (key, result) in enumerate(zip(keys, results, strict=True)):
        if index % 3 == 0:
            assert what(result) == ("ABORTED", "ETAG_MISMATCH")
            assert await api.value(key) == b"foreign"
        else:
            assert result.WhichOneof("result") == "put"
            assert await api.value(key) == b"mine"


async def test_large_values_are_read_back_though_they_exceed_one_message(api: Api) -> None:
    keys = [api.key() for _ in range(12)]
    for key in keys:
        await api.put(key, key.encode().ljust(1024 * 1024, b"."))
    read = await api.batch([get(api, key) for key in keys])
    assert [each.get.record.value for each in read] == [key.encode().ljust(1024 * 1024, b".") for key in keys]


async def test_what_has_no_room_in_an_answer_is_read_in_another_batch(api: Api, backend: Backend, store: str) -> None:
    values = {api.key(): str(number).encode().ljust(1024 * 1024, b".") for number in range(20)}
    gets = [get(api, key) for key in values]
    async with Client(backend.target, store=store, codec=Bytes()) as state:
        await state.put_many(values)
        results = await api.batch([*gets, put(api, api.key())])
        assert results[-1].WhichOneof("result") == "put", "a write keeps its answer"
        refused = [Refused.of(each.error) for each in results if each.WhichOneof("result") == "error"]
        assert {(*each.what, each.metadata["limit"]) for each in refused} == {
            ("RESOURCE_EXHAUSTED", "OVERLOADED", "bytes in one answer")
        }
        assert await state.get_many(values) == values


async def test_a_wrong_operation_is_named_and_hides_no_other(api: Api) -> None:
    key = api.key()
    results = await api.batch([put(api, key), put(api, ""), pb.BatchOperation(), put(api, api.key())])
    assert [each.WhichOneof("result") for each in results] == ["put", "error", "error", "put"]
    assert Refused.of(results[1].error).fields == ["operations[1].put.name.key"]
    assert Refused.of(results[2].error).fields == ["operations[2].operation"]


async def test_a_batch_reaches_over_stores_and_a_missing_store_fails_alone(api: Api) -> None:
    stray = pb.GetRequest(name=api.name(api.key()))
    stray.name.store = "no-such-store"
    results = await api.batch([put(api, api.key()), pb.BatchOperation(get=stray)])
    assert results[0].WhichOneof("result") == "put"
    refused = Refused.of(results[1].error)
    assert refused.what == ("INVALID_ARGUMENT", "STORE_NOT_FOUND")
    assert refused.fields == ["operations[1].get.name.store"]
