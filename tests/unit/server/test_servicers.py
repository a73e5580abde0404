"""From a request's message to a response or a status, without a wire in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from keepstate.v1 import record_pb2
from keepstate.v1.record_pb2 import Precondition, RecordName, RequestId
from keepstate.v1.state_service_pb2 import (
    BatchOperation,
    BatchRequest,
    Check,
    DeleteRequest,
    GetRequest,
    Increment,
    PutRequest,
    SnapshotRequest,
    TouchRequest,
    TransactRequest,
    UpdateRequest,
)
from keepstate.v1.store_service_pb2 import (
    KEEPING_NATIVE,
    KEEPING_REFUSED,
    KEEPING_STAGED,
    GetStoreRequest,
    ListStoresRequest,
    ProbeStoreRequest,
)
from keepstate_server.domain.times import as_datetime
from keepstate_server.engine.engine import Engine
from keepstate_server.rpc.edge import Edge
from keepstate_server.rpc.requests import Limits
from keepstate_server.rpc.state import StateServicer
from keepstate_server.rpc.stores import StoreServicer
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.sidecar import Component
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.hand import SECOND, SETTINGS, START, HandClock


class Aborted(Exception):
    """What gRPC raises in a handler that ends its call so."""


@dataclass
class Context:
    """One call, as a servicer sees it."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    remaining: float | None = None
    trailing: dict[str, str | bytes] = field(default_factory=dict)
    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.metadata.items())

    def time_remaining(self) -> float | None:
        return self.remaining

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.trailing = dict(metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        self.code, self.details, self.trailing = code, details, dict(trailing_metadata)
        raise Aborted

    @property
    def status(self) -> status_pb2.Status:
        packed = self.trailing["grpc-status-details-bin"]
        assert isinstance(packed, bytes)
        return status_pb2.Status.FromString(packed)

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return info_of(self.status)

    @property
    def fields(self) -> list[str]:
        return fields_of(self.status)


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def fields_of(status: status_pb2.Status) -> list[str]:
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    return [violation.field for violation in bad.field_violations]


class Service:
    """Servicers over a sidecar that has a SQLite and a Redis."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.sidecar = FakeSidecar(
            known=[
                Component(name="db", type="state.sqlite", version="v1", capabilities=frozenset()),
                Component(name="redis", type="state.redis", version="v1", capabilities=frozenset()),
                Component(name="mongo", type="state.mongodb", version="v1", capabilities=frozenset()),
            ]
        )
        catalog = Catalog(self.sidecar, default_store="db")
        self.edge = Edge(clock=self.clock, default_seconds=10, longest_seconds=60, most_calls=2)
        engine = Engine(catalog, settings=SETTINGS, clock=self.clock)
        self.state = StateServicer(self.edge, engine, catalog, settings=SETTINGS, limits=Limits())
        self.stores = StoreServicer(self.edge, catalog)


@pytest.fixture
def service() -> Service:
    return Service()


Method = Callable[[Any, Any], Awaitable[Any]]


async def good(method: Method, request: Message, **settings: Any) -> Any:
    return await method(request, Context(**settings))


async def bad(method: Method, request: Message, **settings: Any) -> Context:
    context = Context(**settings)
    with pytest.raises(Aborted):
        await method(request, context)
    assert context.status.code == context.code.value[0]
    assert context.status.message == context.details
    return context


def put(key: str, store: str = "", **more: Any) -> PutRequest:
    return PutRequest(name=RecordName(store=store, key=key), value=b"v", **more)


# One record


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


async def test_a_store_of_an_unknown_kind_is_refused(service: Service) -> None:
    context = await bad(service.state.Put, put("k", store="mongo"))
    assert context.code is grpc.StatusCode.FAILED_PRECONDITION
    assert context.info.metadata["capability"] == "known component"


async def test_wrong_fields_are_refused_before_the_store_is_asked(service: Service) -> None:
    context = await bad(service.state.Put, put("", precondition=Precondition()))
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(context.fields) == {"name.key", "precondition"}
    assert service.sidecar.asked == []


async def test_what_is_not_built_yet_is_unimplemented(service: Service) -> None:
    context = await bad(service.stores.ProbeStore, ProbeStoreRequest())
    assert context.code is grpc.StatusCode.UNIMPLEMENTED
    assert context.info.reason == "NOT_IMPLEMENTED"


# Many records


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


# Requests


async def test_a_request_that_grpc_sent_again_is_a_repeat(service: Service) -> None:
    """It reads before it writes, though there is a hint, and its refusal is written down."""
    identifier = RequestId(client=1, number=1)
    identifier.first_sent.FromMilliseconds(START)
    await good(service.state.Put, put("k"))
    message = put("k", precondition=Precondition(absent=True), request=identifier)
    first = await bad(service.state.Put, message)
    writes = len(service.sidecar.calls("save"))
    assert first.code is grpc.StatusCode.ALREADY_EXISTS
    again = await bad(service.state.Put, message, metadata={"grpc-previous-rpc-attempts": "1"})
    assert again.code is grpc.StatusCode.ALREADY_EXISTS
    assert len(service.sidecar.calls("save")) == writes + 1


async def test_of_what_a_sidecar_handed_on_nobody_says_that_nothing_was_sent(service: Service) -> None:
    """The sidecar may have sent it before, as tests/containers/test_service_invocation.py shows."""
    identifier = RequestId(client=1, number=1)
    identifier.first_sent.FromMilliseconds(START)
    message = put("k", request=identifier)

    async def told(**metadata: str) -> tuple[bool, bool]:
        for _ in range(2):
            service.sidecar.fail("get", grpc.StatusCode.UNAVAILABLE, "away")
        alone = await bad(service.state.Put, message, metadata=metadata)
        request = BatchRequest(operations=[BatchOperation(put=message)])
        batch = await good(service.state.Batch, request, metadata=metadata)
        infos = [alone.info, info_of(batch.results[0].error)]
        assert {each.reason for each in infos} == {"STORE_UNAVAILABLE"}
        first, second = ("nothing_sent" in each.metadata for each in infos)
        return first, second

    assert await told() == (True, True)
    assert await told(**{"dapr-caller-app-id": "shop"}) == (False, False)


async def test_one_request_for_two_kinds_of_write_is_invalid(service: Service) -> None:
    identifier = RequestId(client=1, number=1, attempt=1)
    identifier.first_sent.FromMilliseconds(START)
    await good(service.state.Delete, DeleteRequest(name=RecordName(key="k"), request=identifier))
    context = await bad(service.state.Put, put("k", request=identifier))
    assert (context.code, context.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"])


# The edge


async def test_every_answer_tells_the_services_time_and_the_correlation_id(service: Service) -> None:
    moment = as_datetime(START).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    context = Context(metadata={"x-correlation-id": "c0ffee"})
    await service.state.Put(put("k"), context)
    assert context.trailing == {"keepstate-time": moment, "x-correlation-id": "c0ffee"}
    service.clock.advance(5 * SECOND)
    context = await bad(service.state.Put, put(""), metadata={"x-correlation-id": "c0ffee"})
    assert context.trailing["x-correlation-id"] == "c0ffee"
    assert context.trailing["keepstate-time"] != moment


async def test_a_correlation_id_is_made_up_and_never_long(service: Service) -> None:
    made = [Context(), Context(), Context(metadata={"x-correlation-id": "x" * 10_000})]
    for context in made:
        await service.state.Put(put("k"), context)
    ids = [str(context.trailing["x-correlation-id"]) for context in made]
    assert len(set(ids)) == 3
    assert max(map(len, ids)) == 64


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, 9.7), (1.0, 0.9), (5.0, 4.7), (1000.0, 59.7), (0.0, 0.0), (-1.0, 0.0)]
)
async def test_a_call_has_its_callers_time_less_what_the_answer_takes(
    service: Service, given: float | None, seconds: float
) -> None:
    begun = service.edge.begin(Context(remaining=given))  # type: ignore[arg-type]
    assert seconds - 0.2 < begun.deadline.remaining <= seconds + 0.001


async def test_no_text_of_a_fault_reaches_the_caller(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(service.sidecar, "get", broken)
    context = await bad(service.state.Get, GetRequest(name=RecordName(key="k")))
    assert context.code is grpc.StatusCode.INTERNAL
    assert b"secret" not in context.status.SerializeToString()
    assert context.info.metadata["correlation_id"] == context.trailing["x-correlation-id"]


async def test_no_text_of_a_store_reaches_the_caller(service: Service) -> None:
    service.sidecar.fail("get", grpc.StatusCode.INTERNAL, "password=secret host=postgres")
    context = await bad(service.state.Get, GetRequest(name=RecordName(key="k")))
    assert context.code is grpc.StatusCode.UNAVAILABLE
    assert b"secret" not in context.status.SerializeToString()


async def test_a_cancelled_call_is_no_fault_of_the_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cancelled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(service.sidecar, "get", cancelled)
    context = Context()
    with pytest.raises(asyncio.CancelledError):
        await service.state.Get(GetRequest(name=RecordName(key="k")), context)
    assert context.code is grpc.StatusCode.OK


async def test_more_calls_than_may_be_under_way_are_turned_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = asyncio.Event()

    async def slow(*_: object, **__: object) -> None:
        await opened.wait()

    monkeypatch.setattr(service.sidecar, "get", slow)
    request = GetRequest(name=RecordName(key="k"))
    waiting = [asyncio.create_task(bad(service.state.Get, request)) for _ in range(2)]
    await asyncio.sleep(0.01)
    context = await bad(service.state.Get, request)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert context.info.metadata["nothing_sent"] == "true"
    opened.set()
    assert {each.code for each in await asyncio.gather(*waiting)} == {grpc.StatusCode.NOT_FOUND}
    # Their places are free again.
    assert (await bad(service.state.Get, request)).code is grpc.StatusCode.NOT_FOUND


# Stores


async def test_stores_are_listed_with_what_is_promised(service: Service) -> None:
    stores = (await good(service.stores.ListStores, ListStoresRequest())).stores
    assert [(store.name, store.is_default) for store in stores] == [("db", True), ("mongo", False), ("redis", False)]
    transactions = {store.name: store.promises[8].keeping for store in stores}
    assert transactions == {"db": KEEPING_NATIVE, "mongo": KEEPING_REFUSED, "redis": KEEPING_STAGED}


async def test_an_empty_name_asks_for_the_default_store(service: Service) -> None:
    assert (await good(service.stores.GetStore, GetStoreRequest())).store.name == "db"


async def test_asking_for_a_store_that_is_not_there_is_no_wrong_field(service: Service) -> None:
    context = await bad(service.stores.GetStore, GetStoreRequest(name="nowhere"))
    assert context.code is grpc.StatusCode.NOT_FOUND
    assert context.info.reason == "STORE_NOT_FOUND"


def test_the_proto_knows_no_consistency_that_the_service_does_not() -> None:
    assert set(record_pb2.Consistency.keys()) == {
        "CONSISTENCY_UNSPECIFIED",
        "CONSISTENCY_STRONG",
        "CONSISTENCY_EVENTUAL",
    }
