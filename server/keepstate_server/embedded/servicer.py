"""The part of Dapr's gRPC API that the embedded sidecar serves."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import grpc
import structlog
from dapr.proto.common.v1.common_pb2 import StateItem
from dapr.proto.runtime.v1 import dapr_pb2_grpc
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest, GetMetadataResponse, RegisteredComponents
from dapr.proto.runtime.v1.state_pb2 import (
    BulkStateItem,
    DeleteBulkStateRequest,
    DeleteStateRequest,
    ExecuteStateTransactionRequest,
    GetBulkStateRequest,
    GetBulkStateResponse,
    GetStateRequest,
    GetStateResponse,
    SaveStateRequest,
)
from google.protobuf.empty_pb2 import Empty

from keepstate_server.embedded import answers
from keepstate_server.embedded.database import Database
from keepstate_server.embedded.errors import StorageError
from keepstate_server.embedded.operations import Operation, StoredValue, WriteFailure
from keepstate_server.embedded.requests import deletion, stored_key, upsert

__all__ = ["RUNTIME_VERSION", "StateServicer"]

RUNTIME_VERSION: Final = "keepstate-embedded"
"""What GetMetadata says of the version, so that it is not taken for daprd."""

_CAPABILITIES: Final = ("ETAG", "TRANSACTIONAL", "TTL", "KEYS_LIKE", "ACTOR")

_log = structlog.get_logger(__name__)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Context = grpc.aio.ServicerContext[Any, Any]


def _answering(
    method: Callable[[StateServicer, _Request], Awaitable[_Response]],
) -> Callable[[StateServicer, _Request, _Context], Awaitable[_Response]]:
    """Makes a method answer its failures as daprd does, and faults without a word of them."""

    @functools.wraps(method)
    async def answer(self: StateServicer, request: _Request, context: _Context) -> _Response:
        try:
            return await method(self, request)
        except answers.Refusal as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - the library would send its text to the caller
            # The error's own text may hold a key or a value.
            where = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "unexpected failure",
                method=method.__name__,
                error=type(error).__name__,
                where=f"{where.filename.rpartition('/')[2]}:{where.lineno}",
            )
            refusal = answers.internal_error()
        return await context.abort(refusal.code, refusal.text, refusal.trailers())

    return answer


class StateServicer(dapr_pb2_grpc.DaprServicer):
    """Dapr's state calls on one store; every other call is answered UNIMPLEMENTED."""

    def __init__(self, database: Database, *, store_name: str) -> None:
        """Serves ``database`` as the state component ``store_name``."""
        self._database = database
        self._store = store_name

    @_answering
    async def GetState(self, request: GetStateRequest) -> GetStateResponse:
        """Reads one record; a missing one has no data and the etag ''."""
        self._check_store(request.store_name)
        key = stored_key(self._store, request.key)
        try:
            found = (await self._database.read([key])).get(key)
        except StorageError as error:
            raise answers.get_failed(self._store, request.key, str(error)) from error
        if found is None:
            return GetStateResponse()
        return GetStateResponse(data=found.value, etag=found.etag, metadata=_metadata(found))

    @_answering
    async def GetBulkState(self, request: GetBulkStateRequest) -> GetBulkStateResponse:
        """Reads records as of one moment, each once, the missing ones last."""
        self._check_store(request.store_name)
        keys = {stored_key(self._store, key): key for key in request.keys}
        if not keys:
            return GetBulkStateResponse()
        try:
            found = await self._database.read(list(keys))
        except StorageError as error:
            raise answers.get_failed(self._store, f"{len(keys)} keys", str(error)) from error
        items = [
            BulkStateItem(key=keys[key], data=record.value, etag=record.etag, metadata=_metadata(record))
            for key, record in found.items()
        ]
        items += [BulkStateItem(key=name) for key, name in keys.items() if key not in found]
        return GetBulkStateResponse(items=items)

    @_answering
    async def SaveState(self, request: SaveStateRequest) -> Empty:
        """Saves records, each by itself; the failures of several are joined into one."""
        self._check_store(request.store_name)
        operations = []
        for item in request.states:
            if not item.key:
                raise answers.empty_key()
            operations.append(upsert(self._store, item))
        failures = await self._apply_each(operations)
        if failures:
            raise answers.save_failed(self._store, failures, of=len(operations))
        return Empty()

    @_answering
    async def DeleteState(self, request: DeleteStateRequest) -> Empty:
        """Deletes one record; without an etag it may be absent."""
        self._check_store(request.store_name)
        failures = await self._apply_each([deletion(self._store, request.key, request.etag.value)])
        if failures:
            raise answers.delete_failed(request.key, failures[0])
        return Empty()

    @_answering
    async def DeleteBulkState(self, request: DeleteBulkStateRequest) -> Empty:
        """Deletes records, each by itself; the failures of several are joined into one."""
        self._check_store(request.store_name)
        operations = [deletion(self._store, item.key, item.etag.value) for item in request.states]
        failures = await self._apply_each(operations)
        if failures:
            raise answers.several_deletions_failed(self._store, failures, of=len(operations))
        return Empty()

    @_answering
    async def ExecuteStateTransaction(self, request: ExecuteStateTransactionRequest) -> Empty:
        """Applies operations in order, all or none."""
        self._check_store(request.storeName)
        unit = [self._operation(step.operationType, step.request) for step in request.operations]
        if unit:
            try:
                (failure,) = await self._database.write([unit])
            except StorageError as error:
                failure = WriteFailure(text=str(error))
            if failure is not None:
                raise answers.transaction_failed(failure)
        return Empty()

    @_answering
    async def GetMetadata(self, _request: GetMetadataRequest) -> GetMetadataResponse:
        """Describes the one component."""
        component = RegisteredComponents(
            name=self._store, type="state.sqlite", version="v1", capabilities=_CAPABILITIES
        )
        return GetMetadataResponse(
            id=RUNTIME_VERSION, runtime_version=RUNTIME_VERSION, registered_components=[component]
        )

    def _check_store(self, name: str) -> None:
        if name != self._store:
            raise answers.store_not_found(name)

    def _operation(self, kind: str, item: StateItem) -> Operation:
        if kind == "upsert":
            return upsert(self._store, item)
        # A bad key is told before an unknown operation.
        delete = deletion(self._store, item.key, item.etag.value)
        if kind != "delete":
            raise answers.unsupported_operation(kind)
        return delete

    async def _apply_each(self, operations: Sequence[Operation]) -> list[WriteFailure]:
        """Applies operations independently of each other and returns the failures."""
        if not operations:
            return []
        try:
            outcomes = await self._database.write([(operation,) for operation in operations])
        except StorageError as error:
            return [WriteFailure(text=str(error))]
        return [failure for failure in outcomes if failure is not None]


def _metadata(record: StoredValue) -> dict[str, str]:
    if record.expires_at is None:
        return {}
    moment = datetime.fromtimestamp(record.expires_at, tz=UTC)
    return {"ttlExpireTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
