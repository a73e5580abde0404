"""Calls on one record: from a message to a response or a status."""

from __future__ import annotations

import grpc

from keepstate.v1.record_pb2 import Precondition, RecordName, RequestId
from keepstate.v1.state_service_pb2 import (
    DeleteRequest,
    GetRequest,
    Increment,
    TouchRequest,
    UpdateRequest,
)
from keepstate_server.stores.base import Stored, StoreEtag
from tests.unit.server.hand import START
from tests.unit.server.servicers.conftest import Service, bad, good, put


async def test_a_record_comes_back_as_it_was_put_with_the_store_filled_in(service: Service) -> None:
    written = await good(service.state.Put, put("k", content_type="text/plain"))
    found = await good(service.state.Get, GetRequest(name=RecordName(key="k")))
    record = found.record
    assert (record.name.store, record.name.key, record.value, record.content_type) == ("db", "k", b"v", "text/plain")
    assert record.etag == written.etag
    assert record.create_time.ToMilliseconds() == record.update_time.ToMilliseconds() == START
    assert not record.HasField("expire_time")


async def test_an_expiry_is_told_to_the_millisecond(service: Service) -> None:
    message = put("k")
    message.ttl.FromMilliseconds(1234)
    await good(service.state.Put, message)
    found = await good(service.state.Get, GetRequest(name=RecordName(key="k")))
    assert found.record.expire_time.ToMilliseconds() == START + 1234
    touched = await good(service.state.Touch, TouchRequest(name=RecordName(key="k")))
    assert touched.etag == found.record.etag
    assert not touched.HasField("expire_time")


async def test_a_delete_says_whether_a_record_was_there(service: Service) -> None:
    await good(service.state.Put, put("k"))
    request = DeleteRequest(name=RecordName(key="k"))
    assert (await good(service.state.Delete, request)).existed
    assert not (await good(service.state.Delete, request)).existed


async def test_an_update_answers_the_record_as_it_left_it(service: Service) -> None:
    name = RecordName(key="k")
    message = UpdateRequest(name=name, increment=Increment(delta=7))
    message.ttl.FromMilliseconds(1234)
    updated = await good(service.state.Update, message)
    assert updated.record == (await good(service.state.Get, GetRequest(name=name))).record
    assert (updated.record.name.store, updated.record.value) == ("db", b"7")
    assert updated.record.content_type == "application/json"
    assert updated.record.expire_time.ToMilliseconds() == START + 1234
    assert not updated.repeated


async def test_a_repeated_update_answers_the_record_as_it_is_now_or_none(service: Service) -> None:
    name = RecordName(key="k")
    message = UpdateRequest(name=name, increment=Increment(delta=7), request=RequestId(client=1, number=1))
    message.request.first_sent.FromMilliseconds(START)
    await good(service.state.Update, message)
    await good(service.state.Put, put("k"))
    message.request.attempt = 1
    now = await good(service.state.Update, message)
    assert (now.record.value, now.repeated) == (b"v", True)
    await good(service.state.Delete, DeleteRequest(name=name))
    gone = await good(service.state.Update, message)
    assert (gone.HasField("record"), gone.repeated) == (False, True)


async def test_an_update_that_does_not_fit_tells_the_record_and_why(service: Service) -> None:
    written = await good(service.state.Put, put("k"))
    context = await bad(service.state.Update, UpdateRequest(name=RecordName(key="k"), increment=Increment(delta=1)))
    assert context.code is grpc.StatusCode.FAILED_PRECONDITION
    assert context.info.reason == "UPDATE_NOT_APPLICABLE"
    assert dict(context.info.metadata) == {"etag": written.etag, "store": "db", "namespace": "", "key": "k"}
    assert context.details == "the value is not a whole number of 64 bits"


async def test_a_failed_precondition_tells_the_record_and_its_etag(service: Service) -> None:
    written = await good(service.state.Put, put("k"))
    context = await bad(service.state.Put, put("k", precondition=Precondition(absent=True)))
    assert context.code is grpc.StatusCode.ALREADY_EXISTS
    assert dict(context.info.metadata) == {"etag": written.etag, "store": "db", "namespace": "", "key": "k"}


async def test_a_missing_store_is_the_fault_of_the_name(service: Service) -> None:
    context = await bad(service.state.Get, GetRequest(name=RecordName(store="nowhere", key="k")))
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (context.info.reason, context.fields) == ("STORE_NOT_FOUND", ["name.store"])


async def test_a_store_of_an_unknown_kind_is_read_and_never_written(service: Service) -> None:
    context = await bad(service.state.Put, put("k", store="mongo"))
    assert context.code is grpc.StatusCode.FAILED_PRECONDITION
    assert context.info.metadata["capability"] == "known component"
    assert not [asked for asked in service.sidecar.asked if asked.call != "components"]
    service.sidecar.values["k"] = Stored(data=b"raw", etag=StoreEtag("1"))
    found = await good(service.state.Get, GetRequest(name=RecordName(store="mongo", key="k")))
    assert found.record.value == b"raw"


async def test_wrong_fields_are_refused_before_the_store_is_asked(service: Service) -> None:
    context = await bad(service.state.Put, put("", precondition=Precondition()))
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(context.fields) == {"name.key", "precondition"}
    assert service.sidecar.asked == []
