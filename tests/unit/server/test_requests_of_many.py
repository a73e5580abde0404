"""Batches, transactions and snapshots are read in order, and every wrong field of them is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keepstate.v1.record_pb2 import Precondition, RecordName, RequestId
from keepstate.v1.state_service_pb2 import (
    BatchOperation,
    Check,
    DeleteRequest,
    PutRequest,
    SnapshotRequest,
    TransactRequest,
)
from keepstate_server.domain import operations as asked
from keepstate_server.domain.errors import InvalidFields
from keepstate_server.rpc.requests import Limits
from keepstate_server.rpc.transactions import read_transaction
from tests.unit.server.cases import numbered
from tests.unit.server.reading import NAME, reader, request_id, wrong

# Batches


def test_an_operation_that_is_not_set_is_named() -> None:
    assert wrong(lambda one: one.batch_operation(BatchOperation(), 0)) == ["operations[0].operation"]


# Transactions


def test_a_transaction_is_read_in_the_order_checks_puts_deletes() -> None:
    message = TransactRequest(
        deletes=[DeleteRequest(name=RecordName(key="d"))],
        puts=[PutRequest(name=RecordName(key=key)) for key in "bc"],
        checks=[Check(name=RecordName(key="a"), precondition=Precondition(exists=True))],
        request=request_id(),
    )
    operations, request = read_transaction(reader(), message)
    assert [(path, type(each), each.name.key) for path, each in operations.items()] == [
        ("checks[0].", asked.Check, "a"),
        ("puts[0].", asked.Put, "b"),
        ("puts[1].", asked.Put, "c"),
        ("deletes[0].", asked.Delete, "d"),
    ]
    assert request is not None
    assert request.number == 9


def puts(keys: Sequence[str], value: bytes = b"") -> TransactRequest:
    return TransactRequest(puts=[PutRequest(name=RecordName(key=key), value=value) for key in keys])


@pytest.mark.parametrize(
    ("bad", "field"),
    numbered(
        [
            (TransactRequest(), "puts"),
            (puts([f"k{number}" for number in range(101)]), "puts"),
            (puts([str(number) for number in range(9)], bytes(120_000)), "puts"),
            (puts([str(number).rjust(500) for number in range(34)]), "puts"),
            (
                TransactRequest(deletes=[DeleteRequest(name=RecordName(key=str(n).rjust(500))) for n in range(34)]),
                "deletes",
            ),
            (puts(["a", "b", "a"]), "puts[2].name"),
            (
                TransactRequest(
                    puts=[PutRequest(name=NAME)], deletes=[DeleteRequest(name=RecordName(store="model", key="k"))]
                ),
                "deletes[0].name",
            ),
            (
                TransactRequest(
                    checks=[Check(name=NAME, precondition=Precondition(exists=True))], puts=[PutRequest(name=NAME)]
                ),
                "puts[0].name",
            ),
            (TransactRequest(puts=[PutRequest(name=NAME, request=request_id())]), "puts[0].request"),
            (TransactRequest(deletes=[DeleteRequest(name=NAME, request=request_id())]), "deletes[0].request"),
            (TransactRequest(checks=[Check(name=NAME)]), "checks[0].precondition"),
            (TransactRequest(checks=[Check(name=NAME, precondition=Precondition())]), "checks[0].precondition"),
            (
                TransactRequest(puts=[PutRequest(name=NAME)], request=RequestId(client=1, number=1)),
                "request.first_sent",
            ),
        ]
    ),
)
def test_a_bad_transaction_is_named(bad: TransactRequest, field: str) -> None:
    assert wrong(lambda one: read_transaction(one, bad)) == [field]


def test_a_transaction_of_just_the_limits_is_right() -> None:
    assert wrong(lambda one: read_transaction(one, puts([str(number).rjust(163) for number in range(100)]))) == []
    assert wrong(lambda one: read_transaction(one, puts(["a", "b"], bytes(512 * 1024)))) == []


def test_a_transaction_with_far_too_many_records_is_refused_without_reading_them() -> None:
    one = reader()
    with pytest.raises(InvalidFields) as refused:
        read_transaction(one, TransactRequest(puts=[PutRequest()] * 50_000))
    assert len(refused.value.violations) == 1


def test_the_same_key_in_another_namespace_or_store_is_another_record() -> None:
    names = [RecordName(key="k"), RecordName(key="k", namespace="n"), RecordName(key="k", store="other")]
    message = TransactRequest(puts=[PutRequest(name=each) for each in names])
    assert wrong(lambda one: read_transaction(one, message)) == []


def test_limits_are_settings() -> None:
    limits = Limits(value_bytes=3, transaction_records=1, transaction_value_bytes=2, transaction_name_bytes=1)
    put = PutRequest(name=NAME, value=b"1234")
    assert wrong(lambda one: one.put(put), limits=limits) == ["value"]
    assert wrong(lambda one: read_transaction(one, puts(["a", "b"])), limits=limits) == ["puts"]
    assert wrong(lambda one: read_transaction(one, puts(["ab"], b"123")), limits=limits) == ["puts", "puts"]


# Snapshots


def test_the_names_of_a_snapshot_are_read_in_order_and_may_come_twice() -> None:
    names = [RecordName(key="b", store="other"), NAME, RecordName(key="k", namespace="n"), NAME]
    read = reader().snapshot(SnapshotRequest(names=names))
    assert [(each.store, each.namespace, each.key) for each in read] == [
        ("other", "", "b"),
        ("model", "", "k"),
        ("model", "n", "k"),
        ("model", "", "k"),
    ]


@pytest.mark.parametrize("count", [0, 101])
def test_a_snapshot_of_none_or_too_many_is_refused_without_reading_them(count: int) -> None:
    assert wrong(lambda one: one.snapshot(SnapshotRequest(names=[RecordName()] * count))) == ["names"]


def test_every_wrong_name_of_a_snapshot_is_named() -> None:
    message = SnapshotRequest(names=[NAME, RecordName(), RecordName(key="k", namespace="a||b")])
    assert wrong(lambda one: one.snapshot(message)) == ["names[1].key", "names[2].namespace"]
    assert wrong(lambda one: one.snapshot(SnapshotRequest(names=[NAME])), default_store=None) == ["names[0].store"]
    hundred = SnapshotRequest(names=[RecordName(key="k" * 512)] * 100)
    assert wrong(lambda one: one.snapshot(hundred)) == []
