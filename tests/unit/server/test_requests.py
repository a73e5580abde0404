"""Every wrong field is named, by its path in the request, before anything is done."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1 import record_pb2
from keepstate.v1.record_pb2 import Precondition, RecordName, RequestId
from keepstate.v1.state_service_pb2 import (
    BatchOperation,
    Check,
    DeleteRequest,
    GetRequest,
    PutRequest,
    TouchRequest,
    TransactRequest,
)
from keepstate_server.domain import operations as asked
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, Consistency
from keepstate_server.rpc.transactions import read_transaction
from tests.unit.server.cases import name, numbered
from tests.unit.server.hand import MINUTE, SECOND, START
from tests.unit.server.reading import ETAG, NAME, VERSION, YEAR, duration, reader, request_id, stamp, wrong

# What is right


def test_a_put_is_read_whole() -> None:
    message = PutRequest(
        name=RecordName(store="redis", namespace="shop", key="cart:7"),
        value=b"v",
        content_type="application/json",
        precondition=Precondition(etag=ETAG),
        request=request_id(),
        ttl=duration(timedelta(seconds=1.5)),
        consistency=record_pb2.CONSISTENCY_EVENTUAL,
    )
    put = reader().put(message)
    assert put.name == name("cart:7", store="redis", namespace="shop")
    assert (put.value, put.content_type, put.precondition) == (b"v", "application/json", VERSION)
    assert put.expiry == START + 1500
    assert put.consistency is Consistency.EVENTUAL
    assert put.request is not None
    assert (put.request.client, put.request.number, put.request.first_sent) == (5, 9, START)
    assert not put.request.repeated


def test_what_is_left_out_is_nothing_demanded_and_never_expiring() -> None:
    put = reader().put(PutRequest(name=NAME))
    assert put == asked.Put(name=name(), value=b"")
    assert reader().delete(DeleteRequest(name=NAME)) == asked.Delete(name=name())
    assert reader().touch(TouchRequest(name=NAME)) == asked.Touch(name=name())
    assert reader().get(GetRequest(name=NAME)) == asked.Get(name=name())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(Precondition(absent=True), ABSENT), (Precondition(exists=True), EXISTS), (Precondition(etag=ETAG), VERSION)],
)
def test_each_precondition_is_read(condition: Precondition, expected: object) -> None:
    assert reader().put(PutRequest(name=NAME, precondition=condition)).precondition == expected


def test_each_expiry_is_read() -> None:
    assert reader().put(PutRequest(name=NAME, keep_expiry=True)).expiry is KEEP_EXPIRY
    assert reader().put(PutRequest(name=NAME, expire_time=stamp(START + 1))).expiry == START + 1
    assert reader().touch(TouchRequest(name=NAME, ttl=duration(timedelta(seconds=1)))).expire_at == START + 1000
    assert reader().touch(TouchRequest(name=NAME, expire_time=stamp(START + 7))).expire_at == START + 7
    assert reader().get(GetRequest(name=NAME, slide_ttl=duration(timedelta(seconds=1)))).slide_to == START + 1000


@pytest.mark.parametrize(
    ("message", "resent", "repeated"),
    numbered(
        [
            (request_id(), False, False),
            (request_id(), True, True),
            (request_id(attempt=1), False, True),
            (request_id(sent=START - 20 * SECOND), False, False),
            (request_id(sent=START - 20 * SECOND - 1), False, True),
            (request_id(sent=START + 5 * SECOND), False, False),
        ]
    ),
)
def test_a_repeat_is_known_by_its_attempt_by_grpc_or_by_its_age(
    message: RequestId, resent: bool, repeated: bool
) -> None:
    put = reader(resent=resent).put(PutRequest(name=NAME, request=message))
    assert put.request is not None
    assert put.request.repeated is repeated


@pytest.mark.parametrize(
    "ttl", [timedelta(milliseconds=1), timedelta(days=50 * 365), timedelta(milliseconds=1, microseconds=999)]
)
def test_a_ttl_of_a_millisecond_to_50_years_is_right(ttl: timedelta) -> None:
    assert wrong(lambda one: one.put(PutRequest(name=NAME, ttl=duration(ttl)))) == []


@pytest.mark.parametrize("key", ["k", "x" * 512, "\u00e9" * 256, "a/b%c|d", "\U0001f600"])
def test_a_good_key_is_right(key: str) -> None:
    assert wrong(lambda one: one.put(PutRequest(name=RecordName(key=key)))) == []


def test_a_value_of_just_the_limit_is_right() -> None:
    assert wrong(lambda one: one.put(PutRequest(name=NAME, value=bytes(1024 * 1024)))) == []


def test_every_consistency_of_the_proto_is_known() -> None:
    for value in record_pb2.Consistency.values():
        message = GetRequest(name=NAME, consistency=value)
        assert wrong(lambda one, message=message: one.get(message)) == []  # type: ignore[misc]


# What is wrong


BAD_NAMES = [
    (RecordName(), "name.key"),
    (RecordName(key=""), "name.key"),
    (RecordName(key="a||b"), "name.key"),
    (RecordName(key="a\0b"), "name.key"),
    (RecordName(key="a\nb"), "name.key"),
    (RecordName(key="x" * 513), "name.key"),
    (RecordName(key="k", namespace="a||b"), "name.namespace"),
    (RecordName(key="k", namespace="\x7f"), "name.namespace"),
    (RecordName(key="k", namespace="n" * 129), "name.namespace"),
    (RecordName(key="k", store="a\0b"), "name.store"),
    (RecordName(key="k", store="s" * 513), "name.store"),
]


@pytest.mark.parametrize(("bad", "field"), numbered(BAD_NAMES))
def test_a_bad_name_is_named_in_every_request(bad: RecordName, field: str) -> None:
    assert wrong(lambda one: one.get(GetRequest(name=bad))) == [field]
    assert wrong(lambda one: one.put(PutRequest(name=bad))) == [field]
    assert wrong(lambda one: one.delete(DeleteRequest(name=bad))) == [field]
    assert wrong(lambda one: one.touch(TouchRequest(name=bad))) == [field]
    assert wrong(lambda one: one.batch_operation(BatchOperation(touch=TouchRequest(name=bad)), 3)) == [
        f"operations[3].touch.{field}"
    ]
    check = Check(name=bad, precondition=Precondition(absent=True))
    assert wrong(lambda one: read_transaction(one, TransactRequest(checks=[check]))) == [f"checks[0].{field}"]


def test_a_missing_name_is_named() -> None:
    assert wrong(lambda one: one.get(GetRequest())) == ["name.key"]


def test_without_a_default_store_the_store_must_be_named() -> None:
    assert wrong(lambda one: one.get(GetRequest(name=NAME)), default_store=None) == ["name.store"]
    named = RecordName(store="redis", key="k")
    assert wrong(lambda one: one.get(GetRequest(name=named)), default_store=None) == []


BAD_PUTS = [
    (PutRequest(value=bytes(1024 * 1024 + 1)), "value"),
    (PutRequest(content_type="x" * 129), "content_type"),
    (PutRequest(content_type="text/\u00e9"), "content_type"),
    (PutRequest(content_type="a\nb"), "content_type"),
    (PutRequest(content_type="a\n"), "content_type"),
    (PutRequest(ttl=Duration()), "ttl"),
    (PutRequest(ttl=Duration(nanos=999_999)), "ttl"),
    (PutRequest(ttl=Duration(seconds=-1)), "ttl"),
    (PutRequest(ttl=Duration(nanos=-1)), "ttl"),
    (PutRequest(ttl=duration(300 * YEAR)), "ttl"),
    (PutRequest(ttl=Duration(seconds=2**63 - 1)), "ttl"),
    (PutRequest(ttl=duration(50 * YEAR + timedelta(milliseconds=1))), "ttl"),
    (PutRequest(expire_time=stamp(START)), "expire_time"),
    (PutRequest(expire_time=stamp(START - 1)), "expire_time"),
    (PutRequest(expire_time=stamp(START + 51 * 365 * 86_400_000)), "expire_time"),
    (PutRequest(expire_time=Timestamp(seconds=2**62)), "expire_time"),
    (PutRequest(keep_expiry=False), "keep_expiry"),
    (PutRequest(precondition=Precondition(absent=False)), "precondition.absent"),
    (PutRequest(precondition=Precondition(exists=False)), "precondition.exists"),
    (PutRequest(precondition=Precondition(etag="")), "precondition.etag"),
    (PutRequest(precondition=Precondition(etag="1")), "precondition.etag"),
    (PutRequest(precondition=Precondition(etag=ETAG + "=")), "precondition.etag"),
    (PutRequest(precondition=Precondition(etag="\u00e9")), "precondition.etag"),
    (PutRequest(precondition=Precondition()), "precondition"),
    (PutRequest(consistency=99), "consistency"),  # type: ignore[arg-type]
    (PutRequest(consistency=-1), "consistency"),  # type: ignore[arg-type]
    (PutRequest(request=RequestId(number=1, first_sent=stamp(START))), "request.client"),
    (PutRequest(request=RequestId(client=1, first_sent=stamp(START))), "request.number"),
    (PutRequest(request=RequestId(client=1, number=1)), "request.first_sent"),
    (PutRequest(request=request_id(sent=START + 5 * SECOND + 1)), "request.first_sent"),
    (PutRequest(request=request_id(sent=START + 24 * 60 * MINUTE)), "request.first_sent"),
    (
        PutRequest(request=RequestId(client=1, number=1, first_sent=Timestamp(seconds=-1))),
        "request.first_sent",
    ),
    (
        PutRequest(request=RequestId(client=1, number=1, first_sent=Timestamp(seconds=1, nanos=2_000_000_000))),
        "request.first_sent",
    ),
]


@pytest.mark.parametrize(("bad", "field"), numbered(BAD_PUTS))
def test_a_bad_field_of_a_put_is_named(bad: PutRequest, field: str) -> None:
    bad.name.CopyFrom(NAME)
    assert wrong(lambda one: one.put(bad)) == [field]
    assert wrong(lambda one: one.batch_operation(BatchOperation(put=bad), 7)) == [f"operations[7].put.{field}"]


@pytest.mark.parametrize(
    ("bad", "field"), numbered(each for each in BAD_PUTS if not each[1].startswith(("request", "value")))
)
def test_a_bad_field_of_a_transactions_put_is_named(bad: PutRequest, field: str) -> None:
    bad.name.CopyFrom(NAME)
    good = PutRequest(name=RecordName(key="other"))
    assert wrong(lambda one: read_transaction(one, TransactRequest(puts=[good, bad]))) == [f"puts[1].{field}"]


@pytest.mark.parametrize(
    ("bad", "field"),
    numbered(
        [
            (DeleteRequest(precondition=Precondition(absent=True)), "precondition.absent"),
            (DeleteRequest(precondition=Precondition(absent=False)), "precondition.absent"),
            (DeleteRequest(precondition=Precondition()), "precondition"),
            (DeleteRequest(precondition=Precondition(etag="x")), "precondition.etag"),
            (DeleteRequest(consistency=3), "consistency"),  # type: ignore[arg-type]
            (DeleteRequest(request=RequestId(client=1, number=1)), "request.first_sent"),
        ]
    ),
)
def test_a_bad_field_of_a_delete_is_named(bad: DeleteRequest, field: str) -> None:
    bad.name.CopyFrom(NAME)
    assert wrong(lambda one: one.delete(bad)) == [field]


@pytest.mark.parametrize(
    ("bad", "field"),
    numbered(
        [
            (TouchRequest(precondition=Precondition(absent=True)), "precondition.absent"),
            (TouchRequest(ttl=Duration()), "ttl"),
            (TouchRequest(expire_time=stamp(START)), "expire_time"),
            (TouchRequest(expire_time=Timestamp()), "expire_time"),
            (TouchRequest(consistency=3), "consistency"),  # type: ignore[arg-type]
            (TouchRequest(request=RequestId(client=1, number=1)), "request.first_sent"),
        ]
    ),
)
def test_a_bad_field_of_a_touch_is_named(bad: TouchRequest, field: str) -> None:
    bad.name.CopyFrom(NAME)
    assert wrong(lambda one: one.touch(bad)) == [field]


@pytest.mark.parametrize(
    ("bad", "field"),
    numbered(
        [
            (GetRequest(slide_ttl=Duration()), "slide_ttl"),
            (GetRequest(slide_ttl=Duration(seconds=-5)), "slide_ttl"),
            (GetRequest(consistency=3), "consistency"),  # type: ignore[arg-type]
        ]
    ),
)
def test_a_bad_field_of_a_get_is_named(bad: GetRequest, field: str) -> None:
    bad.name.CopyFrom(NAME)
    assert wrong(lambda one: one.get(bad)) == [field]


def test_all_that_is_wrong_is_named_at_once() -> None:
    message = PutRequest(
        name=RecordName(key="", namespace="\0"),
        ttl=Duration(),
        precondition=Precondition(etag="x"),
        request=RequestId(),
        consistency=9,  # type: ignore[arg-type]
        content_type="\n",
    )
    assert set(wrong(lambda one: one.put(message))) == {
        "name.key",
        "name.namespace",
        "ttl",
        "precondition.etag",
        "request.client",
        "request.number",
        "request.first_sent",
        "consistency",
        "content_type",
    }
