"""A small service in memory: honest about records, and scripted where a test wants failures.

Run as a program it prints its port and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from keepstate.v1 import record_pb2, store_service_pb2
from keepstate.v1 import state_service_pb2 as pb

Refusal: TypeAlias = status_pb2.Status

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Refused(Exception):
    """A call, or an operation of a batch, fails with this status."""

    def __init__(self, status: Refusal) -> None:
        self.status = status


def refusal(
    code: grpc.StatusCode,
    reason: str = "",
    *,
    message: str = "refused",
    metadata: Mapping[str, str] | None = None,
    violations: Mapping[str, str] | None = None,
    retry_after: timedelta | None = None,
    domain: str = "keepstate",
) -> Refusal:
    """A status with the details that the service gives."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
    if violations:
        found = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in violations.items()]
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=found))
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(retry_after)
        status.details.add().Pack(retry)
    return status


def updated(request: pb.UpdateRequest, value: Any) -> Any:
    """What an update makes of a value. ValueError: it does not fit."""
    match request.WhichOneof("update"):
        case "increment":
            change = request.increment
            if value is not None and type(value) is not int:
                raise ValueError("no number")
            number: int = (change.initial if value is None else value) + change.delta
            if change.HasField("maximum") and number > change.maximum:
                raise ValueError("more than the maximum")
            if change.HasField("minimum") and number < change.minimum:
                raise ValueError("less than the minimum")
            return number
        case "append":
            items = [*(value or []), *map(json.loads, request.append.items)]
            return items[-request.append.max_length :]
        case _:
            patch = json.loads(request.merge_patch.patch)
            return {name: new for name, new in {**(value or {}), **patch}.items() if new is not None}


Handler = Callable[[Any, Any], Awaitable[Any]]

M = TypeVar("M", bound=Message)


def once(method: Callable[[FakeService, Any], M]) -> Callable[[FakeService, Any], M]:
    """Has a write remember its request, and answer a repeat as it did first."""

    @functools.wraps(method)
    def performed(self: FakeService, request: Any) -> M:
        if not request.HasField("request"):
            return method(self, request)
        at = (request.request.client, request.request.number)
        if at not in self.remembered:
            self.remembered[at] = method(self, request)
        answer = self.remembered[at]
        assert isinstance(answer, Message)
        return answer  # type: ignore[return-value]

    return performed


class FakeService:
    """Both services. ``calls`` has every request; ``script`` the answers to give before the honest ones.

    A write's request is remembered, with its answer: repeated it gets that again.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str, str], record_pb2.Record] = {}
        self.remembered: dict[tuple[int, int], Message] = {}
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        """Of every call, also of those that ask for the time."""
        self.script: deque[Refusal | Handler] = deque()
        self.clock: Callable[[], float] = time.time
        self.answer_limit: int | None = None
        """If set, answers with more bytes fail as they would at the receiver."""
        self._versions = 0

    def requests(self, name: str) -> list[Any]:
        """The requests of one kind of call."""
        return [request for called, request in self.calls if called == name]

    @property
    def names(self) -> list[str]:
        """Which calls there were."""
        return [name for name, _ in self.calls]

    async def serve(self, credentials: grpc.ServerCredentials | None = None) -> tuple[grpc.aio.Server, str]:
        """Start serving, by TLS if there are credentials, and return the server and its address."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 << 20)])
        state = self._state_methods()
        stores: dict[str, tuple[type[Message], Callable[[Any], Message]]] = {
            "ListStores": (store_service_pb2.ListStoresRequest, self.list_stores),
            "GetStore": (store_service_pb2.GetStoreRequest, self.get_store),
            "ProbeStore": (store_service_pb2.ProbeStoreRequest, self.probe_store),
        }
        for service, methods in (("StateService", state), ("StoreService", stores)):
            handlers: dict[str, Any] = {
                name: grpc.unary_unary_rpc_method_handler(
                    self._handler(name, method), request.FromString, lambda answer: answer.SerializeToString()
                )
                for name, (request, method) in methods.items()
            }
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"keepstate.v1.{service}", handlers),)
            )
        if credentials is None:
            port = server.add_insecure_port("localhost:0")
        else:
            port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        return server, f"localhost:{port}"

    def _state_methods(self) -> dict[str, tuple[type[Message], Callable[[Any], Message]]]:
        return {
            "Get": (pb.GetRequest, self.get),
            "Put": (pb.PutRequest, self.put),
            "Delete": (pb.DeleteRequest, self.delete),
            "Touch": (pb.TouchRequest, self.touch),
            "Update": (pb.UpdateRequest, self.update),
            "Batch": (pb.BatchRequest, self.batch),
            "Transact": (pb.TransactRequest, self.transact),
            "Snapshot": (pb.SnapshotRequest, self.snapshot),
        }

    def lose_replies(self, count: int = 1) -> None:
        """The next calls are performed, and their connections break before the answers arrive."""
        methods = dict(self._state_methods().values())

        async def lose(request: Any, context: Any) -> None:
            methods[type(request)](request)
            raise Refused(refusal(grpc.StatusCode.UNAVAILABLE, message="Socket closed"))

        self.script.extend([lose] * count)

    def _handler(self, name: str, method: Callable[[Any], Message]) -> Any:
        async def handle(request: Any, context: Any) -> Any:
            self.metadata.append(dict(context.invocation_metadata()))
            if name == "GetStore" and not request.name:
                # So a client asks for the time before its first write: beside the point of most tests, so not scripted.
                context.set_trailing_metadata((("keepstate-time", self._stamp()),))
                return method(request)
            self.calls.append((name, request))
            try:
                answer = await self._answer(request, context, method)
            except Refused as refused:
                packed = ("grpc-status-details-bin", refused.status.SerializeToString())
                stamp = ("keepstate-time", self._stamp())
                status = refused.status
                await context.abort(CODES[status.code], status.message, trailing_metadata=(packed, stamp))
            else:
                context.set_trailing_metadata((("keepstate-time", self._stamp()),))
                return answer

        return handle

    async def _answer(self, request: Any, context: Any, method: Callable[[Any], Message]) -> Any:
        if self.script:
            step = self.script.popleft()
            if not callable(step):
                raise Refused(step)
            scripted = await step(request, context)
            if scripted is not None:
                return scripted
        answer = method(request)
        if self.answer_limit is not None and answer.ByteSize() > self.answer_limit:
            too_large = f"SERVER: Sent message larger than max ({answer.ByteSize()} vs. {self.answer_limit})"
            raise Refused(refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message=too_large))
        return answer

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def get(self, request: pb.GetRequest) -> pb.GetResponse:
        found = self._need(request.name)
        if request.HasField("slide_ttl"):
            found.expire_time.FromNanoseconds(int(self.clock() * 1e9) + request.slide_ttl.ToNanoseconds())
        return pb.GetResponse(record=found)

    @once
    def put(self, request: pb.PutRequest) -> pb.PutResponse:
        return pb.PutResponse(etag=self._write(request, request.value, request.content_type).etag)

    def update(self, request: pb.UpdateRequest) -> pb.UpdateResponse:
        at = (request.request.client, request.request.number)
        if at in self.remembered:
            return pb.UpdateResponse(record=self._find(request.name), repeated=True)
        old = self._check(request)
        try:
            value = updated(request, json.loads(old.value) if old else None)
        except ValueError as fault:
            raise Refused(
                refusal(grpc.StatusCode.FAILED_PRECONDITION, "UPDATE_NOT_APPLICABLE", message=str(fault))
            ) from None
        new = self._write(request, json.dumps(value).encode(), "application/json")
        answer = pb.UpdateResponse(record=new)
        if request.HasField("request"):
            self.remembered[at] = answer
        return answer

    def _write(self, request: Any, value: bytes, content_type: str) -> record_pb2.Record:
        old = self._check(request)
        new = record_pb2.Record(
            name=self._full(request.name), value=value, content_type=content_type, etag=self._etag()
        )
        new.update_time.FromNanoseconds(int(self.clock() * 1e9))
        new.create_time.CopyFrom(old.create_time if old else new.update_time)
        if request.keep_expiry and old and old.HasField("expire_time"):
            new.expire_time.CopyFrom(old.expire_time)
        else:
            self._expire(new, request)
        self.records[self._at(request.name)] = new
        return new

    @once
    def delete(self, request: pb.DeleteRequest) -> pb.DeleteResponse:
        existed = self._check(request) is not None
        self.records.pop(self._at(request.name), None)
        return pb.DeleteResponse(existed=existed)

    @once
    def touch(self, request: pb.TouchRequest) -> pb.TouchResponse:
        self._check(request)
        found = self._need(request.name)
        found.ClearField("expire_time")
        self._expire(found, request)
        response = pb.TouchResponse(etag=found.etag)
        if found.HasField("expire_time"):
            response.expire_time.CopyFrom(found.expire_time)
        return response

    def batch(self, request: pb.BatchRequest) -> pb.BatchResponse:
        results = []
        for operation in request.operations:
            kind = operation.WhichOneof("operation") or ""
            try:
                result = pb.BatchResult(**{kind: getattr(self, kind)(getattr(operation, kind))})
            except Refused as refused:
                result = pb.BatchResult(error=refused.status)
            results.append(result)
        return pb.BatchResponse(results=results)

    @once
    def transact(self, request: pb.TransactRequest) -> pb.TransactResponse:
        for part in (*request.checks, *request.puts, *request.deletes, *request.updates):
            self._check(part, named=True)
        return pb.TransactResponse(
            puts=[self.put(put) for put in request.puts],
            deletes=[self.delete(gone) for gone in request.deletes],
            updates=[self.update(update) for update in request.updates],
        )

    def snapshot(self, request: pb.SnapshotRequest) -> pb.SnapshotResponse:
        items = [pb.SnapshotItem(name=self._full(name), record=self._find(name)) for name in request.names]
        return pb.SnapshotResponse(items=items)

    def list_stores(self, _: store_service_pb2.ListStoresRequest) -> store_service_pb2.ListStoresResponse:
        return store_service_pb2.ListStoresResponse(stores=[_store("memory"), _store("redis")])

    def get_store(self, request: store_service_pb2.GetStoreRequest) -> store_service_pb2.GetStoreResponse:
        if request.name not in ("", "memory", "redis"):
            raise Refused(refusal(grpc.StatusCode.NOT_FOUND, "STORE_NOT_FOUND", message="there is no such store"))
        return store_service_pb2.GetStoreResponse(store=_store(request.name or "memory"))

    def probe_store(self, request: store_service_pb2.ProbeStoreRequest) -> store_service_pb2.ProbeStoreResponse:
        """Something is missing in any store but the default one."""
        store = self.get_store(store_service_pb2.GetStoreRequest(name=request.name)).store
        return store_service_pb2.ProbeStoreResponse(store=store, findings=_findings(sound=store.is_default))

    def _find(self, name: record_pb2.RecordName) -> record_pb2.Record | None:
        found = self.records.get(self._at(name))
        if found is None or (found.HasField("expire_time") and found.expire_time.ToNanoseconds() <= self.clock() * 1e9):
            return None
        return found

    def _need(self, name: record_pb2.RecordName) -> record_pb2.Record:
        if found := self._find(name):
            return found
        raise Refused(refusal(grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND", message="there is no such record"))

    def _check(self, request: Any, *, named: bool = False) -> record_pb2.Record | None:
        name: record_pb2.RecordName = request.name
        self._refuse_bad(name)
        found, demand = self._find(name), request.precondition
        about = {"store": name.store, "namespace": name.namespace, "key": name.key} if named else {}
        about["etag"] = found.etag if found else ""
        match demand.WhichOneof("condition"):
            case "absent" if found:
                raise Refused(refusal(grpc.StatusCode.ALREADY_EXISTS, "RECORD_ALREADY_EXISTS", metadata=about))
            case "exists" if not found:
                raise Refused(refusal(grpc.StatusCode.NOT_FOUND, "RECORD_NOT_FOUND", metadata=about))
            case "etag" if about["etag"] != demand.etag:
                raise Refused(refusal(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", metadata=about))
        return found

    def _refuse_bad(self, name: record_pb2.RecordName) -> None:
        if "||" in name.key:
            violations = {"name.key": 'must not contain "||"'}
            message = 'name.key must not contain "||"'
            code = grpc.StatusCode.INVALID_ARGUMENT
            raise Refused(refusal(code, "INVALID_FIELDS", message=message, violations=violations))

    def _expire(self, record: record_pb2.Record, request: Any) -> None:
        match request.WhichOneof("expiry"):
            case "ttl":
                record.expire_time.FromNanoseconds(int(self.clock() * 1e9) + request.ttl.ToNanoseconds())
            case "expire_time":
                record.expire_time.CopyFrom(request.expire_time)

    def _full(self, name: record_pb2.RecordName) -> record_pb2.RecordName:
        return record_pb2.RecordName(store=name.store or "memory", namespace=name.namespace, key=name.key)

    def _at(self, name: record_pb2.RecordName) -> tuple[str, str, str]:
        return (name.store or "memory", name.namespace, name.key)

    def _etag(self) -> str:
        self._versions += 1
        return f"v{self._versions}"


def _store(name: str) -> store_service_pb2.Store:
    promises = [
        store_service_pb2.PromiseStatus(number=1, title="existence", keeping=store_service_pb2.KEEPING_NATIVE),
        store_service_pb2.PromiseStatus(
            number=9, title="transaction", keeping=store_service_pb2.KEEPING_REFUSED, reason="no rollback"
        ),
    ]
    return store_service_pb2.Store(
        name=name,
        component_type=f"state.{name}",
        component_version="v1",
        is_default=name == "memory",
        promises=promises,
        durability="everything",
    )


def _findings(*, sound: bool) -> list[store_service_pb2.ProbeFinding]:
    verdict = store_service_pb2.PROBE_VERDICT_KEPT if sound else store_service_pb2.PROBE_VERDICT_MISSING
    first = store_service_pb2.ProbeFinding(
        name="compare-and-set",
        satisfied=sound,
        seen="yes" if sound else "no",
        expected="yes",
        verdict=verdict,
        detail="of two one won",
    )
    first.duration.FromMilliseconds(1500)
    second = store_service_pb2.ProbeFinding(
        name="rollback",
        satisfied=True,
        seen="no",
        verdict=store_service_pb2.PROBE_VERDICT_MENDED,
        detail="half",
        consequence="in stages",
    )
    third = store_service_pb2.ProbeFinding(
        name="eviction", seen="not seen", verdict=store_service_pb2.PROBE_VERDICT_NOT_SEEN
    )
    return [first, second, third]


async def _main() -> None:
    server, address = await FakeService().serve()
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(_main())
