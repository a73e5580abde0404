"""Updates as they are asked for, and every field of them that can be wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from keepstate.v1.record_pb2 import Precondition, RecordName
from keepstate.v1.state_service_pb2 import (
    Append,
    BatchOperation,
    Increment,
    MergePatch,
    PutRequest,
    TransactRequest,
    UpdateRequest,
)
from keepstate_server.domain import operations as asked
from keepstate_server.domain.records import KEEP_EXPIRY
from keepstate_server.rpc.requests import Limits
from keepstate_server.rpc.transactions import read_transaction
from tests.unit.server.cases import name, numbered
from tests.unit.server.hand import START
from tests.unit.server.reading import ETAG, NAME, VERSION, duration, reader, request_id, wrong

ADD = Increment(delta=1)
LARGE = b'"' + b"x" * (1024 * 1024 - 2) + b'"'


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_an_update_is_read_whole() -> None:
    update = reader().update(
        UpdateRequest(
            name=RecordName(store="redis", namespace="shop", key="cart:7"),
            increment=Increment(delta=-3, initial=0, minimum=-5, maximum=0),
            precondition=Precondition(etag=ETAG),
            request=request_id(),
            ttl=duration(timedelta(seconds=1.5)),
        )
    )
    assert update.name == name("cart:7", store="redis", namespace="shop")
    assert update.change == asked.Increment(delta=-3, initial=0, minimum=-5, maximum=0)
    assert (update.precondition, update.expiry) == (VERSION, START + 1500)
    assert update.request is not None
    assert update.request.number == 9


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (UpdateRequest(increment=Increment()), asked.Increment(delta=0)),
        (UpdateRequest(increment=Increment(delta=-(2**63))), asked.Increment(delta=-(2**63))),
        (UpdateRequest(append=Append(items=[b"1", b" {} "])), asked.Append(items=(b"1", b" {} "))),
        (UpdateRequest(append=Append(items=[b"1"], max_length=7)), asked.Append(items=(b"1",), max_length=7)),
        (UpdateRequest(append=Append(items=[LARGE])), asked.Append(items=(LARGE,))),
        (UpdateRequest(append=Append(items=[deep(99)])), asked.Append(items=(deep(99),))),
        (UpdateRequest(append=Append(items=[b"1"] * 10_000)), asked.Append(items=(b"1",) * 10_000)),
        (UpdateRequest(merge_patch=MergePatch(patch=b'{"a":null}')), asked.MergePatch(patch=b'{"a":null}')),
        (UpdateRequest(merge_patch=MergePatch(patch=deep(100))), asked.MergePatch(patch=deep(100))),
    ],
    ids=str,
)
def test_each_change_is_read(message: UpdateRequest, change: asked.Change) -> None:
    message.name.CopyFrom(NAME)
    assert reader().update(message).change == change
    assert wrong(lambda one: one.update(message)) == []


def test_an_update_may_keep_the_expiry() -> None:
    assert reader().update(UpdateRequest(name=NAME, increment=ADD, keep_expiry=True)).expiry is KEEP_EXPIRY


BAD = [
    (UpdateRequest(), "update"),
    (UpdateRequest(increment=Increment(minimum=1, maximum=0)), "increment.minimum"),
    (UpdateRequest(append=Append()), "append.items"),
    (UpdateRequest(append=Append(items=[b"1"] * 10_001)), "append.items"),
    (UpdateRequest(append=Append(items=[LARGE, b"1"])), "append.items"),
    (UpdateRequest(append=Append(items=[b"1"], max_length=-1)), "append.max_length"),
    (UpdateRequest(append=Append(items=[b"1", b"2", b"{}", b""])), "append.items[3]"),
    (UpdateRequest(append=Append(items=[b"1,2"])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[b"1]", b"[2"][:1])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[b"NaN"])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[b"[Infinity]"])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[b'"\xff"'])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[deep(100)])), "append.items[0]"),
    (UpdateRequest(append=Append(items=[deep(400_000)])), "append.items[0]"),
    (UpdateRequest(merge_patch=MergePatch()), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=b"{")), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=b'{"a":-Infinity}')), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=b'{"a":1,"a":2}')), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=b'{"\xed\xa0\x80":1}')), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=LARGE + b" ")), "merge_patch.patch"),
    (UpdateRequest(merge_patch=MergePatch(patch=deep(101))), "merge_patch.patch"),
    (UpdateRequest(increment=ADD, ttl=Duration()), "ttl"),
    (UpdateRequest(increment=ADD, keep_expiry=False), "keep_expiry"),
    (UpdateRequest(increment=ADD, precondition=Precondition()), "precondition"),
    (UpdateRequest(increment=ADD, consistency=99), "consistency"),  # type: ignore[arg-type]
    (UpdateRequest(increment=ADD, name=RecordName(key="a||b")), "name.key"),
]


@pytest.mark.parametrize(("bad", "field"), numbered(BAD))
def test_a_bad_field_of_an_update_is_named(bad: UpdateRequest, field: str) -> None:
    if not bad.HasField("name"):
        bad.name.CopyFrom(NAME)
    assert wrong(lambda one: one.update(bad)) == [field]
    assert wrong(lambda one: one.batch_operation(BatchOperation(update=bad), 7)) == [f"operations[7].update.{field}"]
    in_transaction = wrong(lambda one: read_transaction(one, TransactRequest(updates=[bad])))
    assert f"updates[0].{field}" in in_transaction
    assert set(in_transaction) <= {f"updates[0].{field}", "updates"}


def test_every_bad_item_is_named() -> None:
    items = [b"1", b"x", b"2", b"{"]
    message = UpdateRequest(name=NAME, append=Append(items=items, max_length=-1))
    assert wrong(lambda one: one.update(message)) == ["append.max_length", "append.items[1]", "append.items[3]"]


def test_what_is_said_of_a_bad_item_does_not_repeat_it() -> None:
    one = reader()
    one.update(UpdateRequest(name=NAME, append=Append(items=[b"[1, secret]", b'"\xffsecret'])))
    assert [each.description for each in one.violations] == ["is not JSON at character 4", "is not UTF-8 at byte 1"]


# Transactions


def test_a_transactions_updates_come_last() -> None:
    message = TransactRequest(
        updates=[UpdateRequest(name=RecordName(key=key), increment=ADD) for key in "bc"],
        puts=[PutRequest(name=RecordName(key="a"))],
    )
    operations, _ = read_transaction(reader(), message)
    assert [(at, type(each), each.name.key) for at, each in operations.items()] == [
        ("puts[0].", asked.Put, "a"),
        ("updates[0].", asked.Update, "b"),
        ("updates[1].", asked.Update, "c"),
    ]


def test_a_transactions_update_has_no_request_of_its_own() -> None:
    update = UpdateRequest(name=NAME, increment=ADD, request=request_id())
    assert wrong(lambda one: read_transaction(one, TransactRequest(updates=[update]))) == ["updates[0].request"]


def test_items_and_patches_count_as_values_of_a_transaction() -> None:
    half = b'"' + b"x" * (512 * 1024 - 2) + b'"'
    updates = [
        UpdateRequest(name=RecordName(key="a"), append=Append(items=[half])),
        UpdateRequest(name=RecordName(key="b"), merge_patch=MergePatch(patch=half)),
    ]
    assert wrong(lambda one: read_transaction(one, TransactRequest(updates=updates))) == []
    more = [*updates, UpdateRequest(name=RecordName(key="c"), append=Append(items=[b"1"]))]
    assert wrong(lambda one: read_transaction(one, TransactRequest(updates=more))) == ["updates"]
    put = PutRequest(name=RecordName(key="c"), value=b"1")
    assert wrong(lambda one: read_transaction(one, TransactRequest(updates=updates, puts=[put]))) == ["puts"]


def test_updates_count_as_records_of_a_transaction() -> None:
    updates = [UpdateRequest(name=RecordName(key=str(number)), increment=ADD) for number in range(101)]
    assert wrong(lambda one: read_transaction(one, TransactRequest(updates=updates))) == ["puts"]
    twice = TransactRequest(puts=[PutRequest(name=NAME)], updates=[UpdateRequest(name=NAME, increment=ADD)])
    assert wrong(lambda one: read_transaction(one, twice)) == ["updates[0].name"]


def test_how_large_a_change_may_be_is_a_setting() -> None:
    for message, field in (
        (UpdateRequest(name=NAME, append=Append(items=[b"1234"])), "append.items"),
        (UpdateRequest(name=NAME, merge_patch=MergePatch(patch=b"1234")), "merge_patch.patch"),
    ):
        assert wrong(lambda one, message=message: one.update(message), limits=Limits(value_bytes=3)) == [field]  # type: ignore[misc]
