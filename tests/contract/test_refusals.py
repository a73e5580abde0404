"""Promises 13 and 16, and all that is refused: bad input, and calls that are not built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2, store_service_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import Api, Refused, if_etag
from tests.contract.conftest import Backend, running_service

INVALID = ("INVALID_ARGUMENT", "INVALID_FIELDS")

BAD_NAMES = {
    "empty key": ({"key": ""}, "name.key"),
    "separator in key": ({"key": "a||b"}, "name.key"),
    "NUL in key": ({"key": "a\x00b"}, "name.key"),
    "line break in key": ({"key": "a\nb"}, "name.key"),
    "513 bytes of key": ({"key": "k" * 513}, "name.key"),
    "513 bytes in fewer characters": ({"key": "ä" * 256 + "k"}, "name.key"),
    "separator in namespace": ({"key": "k", "namespace": "a||b"}, "name.namespace"),
    "129 bytes of namespace": ({"key": "k", "namespace": "n" * 129}, "name.namespace"),
}


@pytest.mark.promise(13, 16)
@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("call", ["get", "put", "delete", "touch"])
async def test_a_bad_name_is_refused_and_named(api: Api, name: str, call: str) -> None:
    parts, field = BAD_NAMES[name]
    record = record_pb2.RecordName(store=api.store, **parts)
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: api.state.Get(pb.GetRequest(name=record)),
        "put": lambda: api.state.Put(pb.PutRequest(name=record)),
        "delete": lambda: api.state.Delete(pb.DeleteRequest(name=record)),
        "touch": lambda: api.state.Touch(pb.TouchRequest(name=record)),
    }
    with pytest.raises(Refused) as refused:
        await api.call(calls[call]())
    assert refused.value.what == INVALID
    assert refused.value.fields == [field]


def _put(api: Api, **more: Any) -> pb.PutRequest:
    return pb.PutRequest(name=api.name("wrong"), **more)


def _request(sent_in: timedelta, clock: MovableClock, **more: int) -> record_pb2.RequestId:
    sent = Timestamp()
    sent.FromMilliseconds(clock.now() + int(sent_in.total_seconds() * 1000))
    return record_pb2.RequestId(**({"client": 7, "number": 1} | more), first_sent=sent)


BAD_PUTS: dict[str, tuple[Callable[[Api, MovableClock], pb.PutRequest], str]] = {
    "value over the limit": (lambda api, clock: _put(api, value=b"x" * (1024 * 1024 + 1)), "value"),
    "content type": (lambda api, clock: _put(api, content_type="text\n"), "content_type"),
    "ttl 0": (lambda api, clock: _put(api, ttl=Duration()), "ttl"),
    "ttl negative": (lambda api, clock: _put(api, ttl=Duration(seconds=-5)), "ttl"),
    "ttl 300 years": (lambda api, clock: _put(api, ttl=Duration(seconds=300 * 365 * 86400)), "ttl"),
    "expiry in the past": (lambda api, clock: _put(api, expire_time=Timestamp(seconds=1)), "expire_time"),
    "keep_expiry false": (lambda api, clock: _put(api, keep_expiry=False), "keep_expiry"),
    "malformed etag": (lambda api, clock: _put(api, precondition=if_etag("no etag")), "precondition.etag"),
    "empty etag": (lambda api, clock: _put(api, precondition=if_etag("")), "precondition.etag"),
    "no condition": (lambda api, clock: _put(api, precondition=record_pb2.Precondition()), "precondition"),
    "absent false": (
        lambda api, clock: _put(api, precondition=record_pb2.Precondition(absent=False)),
        "precondition.absent",
    ),
    "unknown consistency": (lambda api, clock: _put(api, consistency=17), "consistency"),
    "request from the future": (
        lambda api, clock: _put(api, request=_request(timedelta(seconds=60), clock)),
        "request.first_sent",
    ),
    "request of client 0": (
        lambda api, clock: _put(api, request=_request(timedelta(0), clock, client=0)),
        "request.client",
    ),
    "request number 0": (
        lambda api, clock: _put(api, request=_request(timedelta(0), clock, number=0)),
        "request.number",
    ),
}


@pytest.mark.promise(13)
@pytest.mark.parametrize("what", BAD_PUTS)
async def test_a_bad_write_is_refused_and_named_and_changes_nothing(api: Api, clock: MovableClock, what: str) -> None:
    make, field = BAD_PUTS[what]
    with pytest.raises(Refused) as refused:
        await api.call(api.state.Put(make(api, clock)))
    assert refused.value.what == INVALID
    assert refused.value.fields == [field]
    assert await api.value("wrong") is None


@pytest.mark.promise(13)
async def test_every_wrong_field_is_named_at_once(api: Api) -> None:
    message = pb.PutRequest(
        name=record_pb2.RecordName(store=api.store, namespace="\n", key=""),
        precondition=if_etag("?"),
        ttl=Duration(seconds=-1),
    )
    with pytest.raises(Refused) as refused:
        await api.call(api.state.Put(message))
    assert sorted(refused.value.fields) == ["name.key", "name.namespace", "precondition.etag", "ttl"]


@pytest.mark.promise(13)
async def test_an_unknown_store_is_refused_and_named(api: Api) -> None:
    message = pb.GetRequest(name=record_pb2.RecordName(store="no-such-store", key="k"))
    with pytest.raises(Refused) as refused:
        await api.call(api.state.Get(message))
    assert refused.value.what == ("INVALID_ARGUMENT", "STORE_NOT_FOUND")
    assert refused.value.fields == ["name.store"]
    with pytest.raises(Refused) as refused:
        await api.call(api.stores.GetStore(store_service_pb2.GetStoreRequest(name="no-such-store")))
    assert refused.value.what == ("NOT_FOUND", "STORE_NOT_FOUND")
    with pytest.raises(Refused) as refused:
        await api.call(api.state.Transact(pb.TransactRequest(deletes=[pb.DeleteRequest(name=message.name)])))
    assert refused.value.fields == ["deletes[0].name.store"]


@pytest.mark.promise(13)
@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_of_a_wrong_size_is_refused(api: Api, count: int) -> None:
    with pytest.raises(Refused) as refused:
        await api.batch([pb.BatchOperation(put=api.put_request("wrong"))] * count)
    assert refused.value.what == INVALID
    assert refused.value.fields == ["operations"]
    assert await api.value("wrong") is None


@pytest.mark.promise(13)
async def test_the_same_key_twice_in_a_transaction_is_refused(api: Api) -> None:
    with pytest.raises(Refused) as refused:
        await api.transact(
            puts=[api.put_request("wrong")],
            deletes=[pb.DeleteRequest(name=api.name("wrong"))],
        )
    assert refused.value.what == INVALID
    assert refused.value.fields == ["deletes[0].name"]
    assert await api.value("wrong") is None


@pytest.mark.promise(13)
@pytest.mark.parametrize("message", [b"\xff\xff", b"\x0a\x04\x1a\x02\xff\xfe"], ids=["no protobuf", "no UTF-8"])
@pytest.mark.parametrize("call", ["Get", "Put", "Batch"])
async def test_what_is_no_message_is_refused_without_a_librarys_text(
    backend: Backend, store: str, call: str, message: bytes
) -> None:
    api = Api(backend.channel, store, "malformed")
    method: Any = backend.channel.unary_unary(f"/keepstate.v1.StateService/{call}")
    with pytest.raises(Refused) as refused:
        await api.call(method(message))
    assert refused.value.what == INVALID
    assert refused.value.fields == ["(message)"]
    assert "protobuf" not in refused.value.message


@pytest.mark.promise(13)
async def test_a_repeat_is_never_told_that_nothing_was_sent(backend: Backend, store: str, clock: MovableClock) -> None:
    """Its first attempt may have been: whoever began a new request then would have it applied twice."""
    async with running_service(backend.address, clock=clock, concurrent_calls=1) as small:
        api = Api(small.channel, store, "told")
        for attempt, told in ((0, {"true"}), (1, set())):
            request = _request(timedelta(0), clock)
            request.attempt = attempt
            puts = [api.put(api.key(), request=request) for _ in range(20)]
            results = await asyncio.gather(*puts, return_exceptions=True)
            refused = [each for each in results if isinstance(each, Refused)]
            assert refused
            assert {each.metadata["nothing_sent"] for each in refused if "nothing_sent" in each.metadata} == told


@pytest.mark.promise(13)
async def test_every_store_keeps_every_promise_that_is_built(api: Api, store: str) -> None:
    told = (await api.call(api.stores.GetStore(store_service_pb2.GetStoreRequest(name=store)))).store
    refused_numbers = {each.number for each in told.promises if each.keeping == store_service_pb2.KEEPING_REFUSED}
    assert all(each.reason for each in told.promises if each.number in refused_numbers)
    assert refused_numbers == {15}, "isolation is built later, on every store"


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    "key",
    [
        "chat:history:42",
        "a/b",
        "a%2Fb",
        "%",
        "|",
        "a|",
        " spaces at both ends ",
        "ключ-鍵-🔑",
        "x" * 512,
        "/" * 512,
        "*?[a-z]{}$1'\";--",
        "{tag}:key",
    ],
)
async def test_any_printable_key_is_kept_apart(api: Api, key: str) -> None:
    value = f"{api.prefix} {key}".encode()
    namespace = api.prefix.encode()[:100].decode()
    await api.put(key, value, namespace=namespace)
    assert await api.value(key, namespace=namespace) == value
    assert (await api.get(key, namespace=namespace)).name.key == key
    assert await api.delete(key, namespace=namespace) is True


@pytest.mark.promise(16)
async def test_no_key_reaches_another_namespace(api: Api) -> None:
    space = api.key("n").replace("[", "(")[:60]
    await api.put("k", b"in the namespace", namespace=space)
    await api.put(f"{space}/k", b"in the default namespace")
    await api.put("k/x", b"slash in the key", namespace=space)
    await api.put("x", b"slash in the namespace", namespace=f"{space}/k")
    assert await api.value("k", namespace=space) == b"in the namespace"
    assert await api.value(f"{space}/k") == b"in the default namespace"
    assert await api.value("k/x", namespace=space) == b"slash in the key"
    assert await api.value("x", namespace=f"{space}/k") == b"slash in the namespace"
    assert await api.value("probe", namespace="%keepstate") is None
