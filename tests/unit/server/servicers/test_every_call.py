"""What holds of every call: repeats, times, limits, what is told of failures; and what is told of stores."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from keepstate.v1 import record_pb2
from keepstate.v1.record_pb2 import Precondition, RecordName, RequestId
from keepstate.v1.state_service_pb2 import (
    BatchOperation,
    BatchRequest,
    DeleteRequest,
    GetRequest,
)
from keepstate.v1.store_service_pb2 import (
    KEEPING_NATIVE,
    KEEPING_REFUSED,
    KEEPING_STAGED,
    GetStoreRequest,
    ListStoresRequest,
)
from keepstate_server.domain.times import as_datetime
from tests.unit.server.hand import SECOND, START
from tests.unit.server.servicers.conftest import Context, Service, bad, good, info_of, put


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
