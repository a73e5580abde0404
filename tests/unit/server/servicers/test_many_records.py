"""Batches, transactions and snapshots: from a message to a response or a status."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import code_pb2

from keepstate.v1.record_pb2 import Precondition, RecordName
from keepstate.v1.state_service_pb2 import (
    BatchOperation,
    BatchRequest,
    Check,
    DeleteRequest,
    GetRequest,
    Increment,
    SnapshotRequest,
    TouchRequest,
    TransactRequest,
    UpdateRequest,
)
from tests.unit.server.servicers.conftest import Service, bad, fields_of, good, put


async def test_results_of_a_batch_come_in_order_each_of_its_own_kind(service: Service) -> None:
    name = RecordName(key="k")
    request = BatchRequest(
        operations=[
            BatchOperation(put=put("k")),
            BatchOperation(get=GetRequest(name=RecordName(key="none"))),
            BatchOperation(get=GetRequest(name=name)),
            BatchOperation(put=put("")),
            BatchOperation(),
            BatchOperation(touch=TouchRequest(name=name)),
            BatchOperation(update=UpdateRequest(name=name)),
            BatchOperation(put=put("k", store="nowhere")),
            BatchOperation(delete=DeleteRequest(name=name)),
            BatchOperation(put=put("k", precondition=Precondition(etag="x"))),
            BatchOperation(update=UpdateRequest(name=name, increment=Increment(delta=7))),
        ]
    )
    results = (await good(service.state.Batch, request)).results
    kinds = [result.WhichOneof("result") for result in results]
    assert kinds == ["put", "error", "get", "error", "error", "touch", "error", "error", "delete", "error", "update"]
    codes = [result.error.code for result in results if result.HasField("error")]
    assert codes == [
        code_pb2.NOT_FOUND,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
    ]
    fields = [fields_of(results[index].error) for index in (3, 4, 6, 7, 9)]
    assert fields == [
        ["operations[3].put.name.key"],
        ["operations[4].operation"],
        ["operations[6].update.update"],
        ["operations[7].put.name.store"],
        ["operations[9].put.precondition.etag"],
    ]
    assert results[2].get.record.etag == results[0].put.etag == results[5].touch.etag
    assert results[8].delete.existed
    assert results[10].update.record.value == b"7"


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_of_none_or_too_many_is_refused_whole(service: Service, count: int) -> None:
    context = await bad(service.state.Batch, BatchRequest(operations=[BatchOperation(put=put("k"))] * count))
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert context.fields == ["operations"]
    assert service.sidecar.asked == []


async def test_a_batch_of_a_thousand_is_right(service: Service) -> None:
    operations = [BatchOperation(put=put(f"k{number}")) for number in range(1000)]
    results = (await good(service.state.Batch, BatchRequest(operations=operations))).results
    assert {result.WhichOneof("result") for result in results} == {"put"}


async def test_a_transaction_answers_each_kind_in_its_order(service: Service) -> None:
    await good(service.state.Put, put("d"))
    request = TransactRequest(
        checks=[Check(name=RecordName(key="c"), precondition=Precondition(absent=True))],
        puts=[put("b"), put("a")],
        deletes=[DeleteRequest(name=RecordName(key="d")), DeleteRequest(name=RecordName(key="e"))],
        updates=[UpdateRequest(name=RecordName(key=key), increment=Increment(delta=int(key))) for key in "21"],
    )
    answer = await good(service.state.Transact, request)
    assert [each.existed for each in answer.deletes] == [True, False]
    assert [(each.record.name.key, each.record.value) for each in answer.updates] == [("2", b"2"), ("1", b"1")]
    for key, each in zip("ba", answer.puts, strict=True):
        found = await good(service.state.Get, GetRequest(name=RecordName(key=key)))
        assert found.record.etag == each.etag


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (TransactRequest(puts=[put("k", store="nowhere")]), "puts[0].name.store"),
        (TransactRequest(deletes=[DeleteRequest(name=RecordName(store="x", key="k"))]), "deletes[0].name.store"),
        (
            TransactRequest(updates=[UpdateRequest(name=RecordName(store="x", key="k"), increment=Increment())]),
            "updates[0].name.store",
        ),
        (
            TransactRequest(
                checks=[Check(name=RecordName(store="x", key="k"), precondition=Precondition(absent=True))]
            ),
            "checks[0].name.store",
        ),
    ],
    ids=["put", "delete", "update", "check"],
)
async def test_a_missing_store_in_a_transaction_is_the_fault_of_the_record_that_names_it(
    service: Service, request_: TransactRequest, field: str
) -> None:
    context = await bad(service.state.Transact, request_)
    assert (context.code, context.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_transaction_over_stores_is_applied_in_all_of_them(service: Service) -> None:
    answer = await good(service.state.Transact, TransactRequest(puts=[put("k"), put("l", store="redis")]))
    for name, each in zip((RecordName(key="k"), RecordName(store="redis", key="l")), answer.puts, strict=True):
        found = await good(service.state.Get, GetRequest(name=name))
        assert found.record.etag == each.etag


async def test_a_transaction_with_a_store_of_an_unknown_kind_changes_nothing(service: Service) -> None:
    context = await bad(service.state.Transact, TransactRequest(puts=[put("k"), put("k", store="mongo")]))
    assert context.code is grpc.StatusCode.FAILED_PRECONDITION
    assert context.info.metadata["store"] == "mongo"
    assert [asked for asked in service.sidecar.asked if asked.items] == []


async def test_a_snapshot_tells_each_name_that_was_asked_for_also_one_asked_for_twice(service: Service) -> None:
    etags = [(await good(service.state.Put, message)).etag for message in (put("k"), put("l", store="redis"))]
    names = [RecordName(store=store, key=key) for store, key in (("redis", "l"), ("", "k"), ("", "none"), ("db", "k"))]
    items = (await good(service.state.Snapshot, SnapshotRequest(names=names))).items
    assert [(each.name.store, each.name.key) for each in items] == [
        ("redis", "l"),
        ("db", "k"),
        ("db", "none"),
        ("db", "k"),
    ]
    assert [each.record.etag for each in items] == [etags[1], etags[0], "", etags[0]]
    assert not items[2].HasField("record")
    assert items[0].record.name == items[0].name


async def test_a_missing_store_in_a_snapshot_is_the_fault_of_the_name_that_names_it(service: Service) -> None:
    names = [RecordName(key="k"), RecordName(store="nowhere", key="k"), RecordName(store="nowhere", key="l")]
    context = await bad(service.state.Snapshot, SnapshotRequest(names=names))
    assert (context.code, context.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["names[1].store"])
