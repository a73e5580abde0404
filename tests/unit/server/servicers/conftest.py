"""The servicers, called without a wire in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from keepstate.v1.record_pb2 import RecordName
from keepstate.v1.state_service_pb2 import (
    PutRequest,
)
from keepstate_server.engine.engine import Engine
from keepstate_server.rpc.admission import Admission
from keepstate_server.rpc.edge import Edge
from keepstate_server.rpc.requests import Limits
from keepstate_server.rpc.state import StateServicer
from keepstate_server.rpc.stores import StoreServicer
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.sidecar import Component
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.hand import SETTINGS, HandClock


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
        self.edge = Edge(
            Admission(most_calls=2, most_bytes=1000), clock=self.clock, default_seconds=10, longest_seconds=60
        )
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
