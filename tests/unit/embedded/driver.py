"""Dapr's state calls in short, through the SDK's generated stub."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import Etag, StateItem, StateOptions
from dapr.proto.runtime.v1 import dapr_pb2_grpc
from dapr.proto.runtime.v1.state_pb2 import (
    BulkStateItem,
    DeleteBulkStateRequest,
    DeleteStateRequest,
    ExecuteStateTransactionRequest,
    GetBulkStateRequest,
    GetStateRequest,
    GetStateResponse,
    SaveStateRequest,
    TransactionalStateOperation,
)
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

FIRST_WRITE = StateOptions.CONCURRENCY_FIRST_WRITE
LAST_WRITE = StateOptions.CONCURRENCY_LAST_WRITE


@dataclass
class Clock:
    """A clock that moves when the test says so."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def item(
    key: str,
    value: bytes = b"",
    *,
    etag: str | None = None,
    concurrency: Any = None,
    ttl: str | None = None,
) -> StateItem:
    return StateItem(
        key=key,
        value=value,
        etag=None if etag is None else Etag(value=etag),
        options=None if concurrency is None else StateOptions(concurrency=concurrency),
        metadata={} if ttl is None else {"ttlInSeconds": ttl},
    )


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Dapr's state calls on one store, in short."""

    stub: Any
    store: str = "embedded"
    metadata: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def on(cls, channel: grpc.aio.Channel, **fields: Any) -> Caller:
        return cls(stub=dapr_pb2_grpc.DaprStub(channel), **fields)  # type: ignore[no-untyped-call]

    async def get(self, key: str) -> GetStateResponse:
        request = GetStateRequest(store_name=self.store, key=key)
        response: GetStateResponse = await self.stub.GetState(request, metadata=self.metadata)
        return response

    async def get_many(self, keys: Iterable[str]) -> list[BulkStateItem]:
        response = await self.stub.GetBulkState(
            GetBulkStateRequest(store_name=self.store, keys=keys), metadata=self.metadata
        )
        return list(response.items)

    async def save(self, *states: StateItem, **call: Any) -> None:
        call.setdefault("metadata", self.metadata)
        await self.stub.SaveState(SaveStateRequest(store_name=self.store, states=states), **call)

    async def delete(self, key: str, *, etag: str | None = None) -> None:
        tag = None if etag is None else Etag(value=etag)
        await self.stub.DeleteState(
            DeleteStateRequest(store_name=self.store, key=key, etag=tag), metadata=self.metadata
        )

    async def delete_many(self, *states: StateItem) -> None:
        await self.stub.DeleteBulkState(DeleteBulkStateRequest(store_name=self.store, states=states))

    async def transact(self, *steps: tuple[str, StateItem]) -> None:
        operations = [TransactionalStateOperation(operationType=kind, request=state) for kind, state in steps]
        await self.stub.ExecuteStateTransaction(
            ExecuteStateTransactionRequest(storeName=self.store, operations=operations), metadata=self.metadata
        )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a call failed."""

    code: grpc.StatusCode
    text: str
    reason: str


async def failure_of(call: Awaitable[object]) -> Failure:
    """Awaits a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    reason = ""
    status = rpc_status.from_call(caught.value)
    for detail in status.details if status is not None else ():
        info = ErrorInfo()
        if detail.Unpack(info):
            reason = info.reason
    return Failure(code=caught.value.code(), text=caught.value.details() or "", reason=reason)
