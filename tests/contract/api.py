"""The API as any language sees it: messages, codes and error details, without our client's help."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from keepstate.v1 import record_pb2, state_service_pb2, state_service_pb2_grpc, store_service_pb2_grpc
from keepstate_server.domain.times import Instant

pb = state_service_pb2

ABSENT = record_pb2.Precondition(absent=True)
EXISTS = record_pb2.Precondition(exists=True)

UPDATE_NOT_APPLICABLE = ("FAILED_PRECONDITION", "UPDATE_NOT_APPLICABLE")


def if_etag(etag: str) -> record_pb2.Precondition:
    return record_pb2.Precondition(etag=etag)


@dataclass(kw_only=True, eq=False)
class Refused(Exception):
    """A call failed; what its status says."""

    code: grpc.StatusCode
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    retry_after: float | None
    message: str

    @classmethod
    def of(cls, status: status_pb2.Status) -> Refused:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        retry_after = None
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad)
            if detail.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        assert info.domain == "keepstate", "every failure carries ErrorInfo"
        return cls(
            code=next(code for code in grpc.StatusCode if code.value[0] == status.code),
            reason=info.reason,
            metadata=dict(info.metadata),
            fields=[violation.field for violation in bad.field_violations],
            retry_after=retry_after,
            message=status.message,
        )

    @property
    def what(self) -> tuple[str, str]:
        return self.code.name, self.reason


class Api:
    """One store's API, with keys of one test's own."""

    def __init__(self, channel: grpc.aio.Channel, store: str, prefix: str) -> None:
        self.state = state_service_pb2_grpc.StateServiceStub(channel)
        self.stores = store_service_pb2_grpc.StoreServiceStub(channel)
        self.store = store
        self.prefix = prefix
        self._fresh = itertools.count()

    def key(self, text: str = "key") -> str:
        """Returns a key that nobody used before."""
        return f"{self.prefix}:{text}:{next(self._fresh)}"

    def name(self, key: str, namespace: str = "") -> record_pb2.RecordName:
        return record_pb2.RecordName(store=self.store, namespace=namespace, key=key)

    async def call(self, answer: Awaitable[Any]) -> Any:
        try:
            return await answer
        except grpc.aio.AioRpcError as error:
            status = rpc_status.from_call(error)
            assert status is not None, f"no details with {error.code()}: {error.details()}"
            raise Refused.of(status) from None

    def put_request(
        self,
        key: str,
        value: bytes = b"value",
        *,
        when: record_pb2.Precondition | None = None,
        ttl: timedelta | None = None,
        keep_expiry: bool = False,
        namespace: str = "",
        request: record_pb2.RequestId | None = None,
        expire_time: Timestamp | None = None,
        content_type: str = "text/plain",
    ) -> pb.PutRequest:
        message = pb.PutRequest(
            name=self.name(key, namespace), value=value, content_type=content_type, precondition=when, request=request
        )
        if ttl is not None:
            message.ttl.CopyFrom(duration(ttl))
        if expire_time is not None:
            message.expire_time.CopyFrom(expire_time)
        if keep_expiry:
            message.keep_expiry = True
        return message

    async def put(self, key: str, value: bytes = b"value", *, timeout: float = 20, **more: Any) -> str:
        answer = await self.call(self.state.Put(self.put_request(key, value, **more), timeout=timeout))
        return str(answer.etag)

    async def get(
        self, key: str, *, namespace: str = "", slide: timedelta | None = None, timeout: float = 20
    ) -> record_pb2.Record:
        message = pb.GetRequest(name=self.name(key, namespace))
        if slide is not None:
            message.slide_ttl.CopyFrom(duration(slide))
        answer = await self.call(self.state.Get(message, timeout=timeout))
        record = answer.record
        assert isinstance(record, record_pb2.Record)
        return record

    async def value(self, key: str, **more: Any) -> bytes | None:
        """Returns the record's value; None: not found."""
        try:
            return (await self.get(key, **more)).value
        except Refused as refused:
            if refused.what == ("NOT_FOUND", "RECORD_NOT_FOUND"):
                return None
            raise

    async def delete(
        self, key: str, *, when: record_pb2.Precondition | None = None, namespace: str = "", timeout: float = 20
    ) -> bool:
        message = pb.DeleteRequest(name=self.name(key, namespace), precondition=when)
        return bool((await self.call(self.state.Delete(message, timeout=timeout))).existed)

    async def touch(
        self,
        key: str,
        *,
        ttl: timedelta | None = None,
        when: record_pb2.Precondition | None = None,
        timeout: float = 20,
    ) -> pb.TouchResponse:
        message = pb.TouchRequest(name=self.name(key), precondition=when)
        if ttl is not None:
            message.ttl.CopyFrom(duration(ttl))
        answer = await self.call(self.state.Touch(message, timeout=timeout))
        assert isinstance(answer, pb.TouchResponse)
        return answer

    def update_request(
        self,
        key: str,
        change: pb.Increment | pb.Append | pb.MergePatch,
        *,
        when: record_pb2.Precondition | None = None,
        ttl: timedelta | None = None,
        keep_expiry: bool = False,
        request: record_pb2.RequestId | None = None,
        expire_time: Timestamp | None = None,
    ) -> pb.UpdateRequest:
        message = pb.UpdateRequest(name=self.name(key), precondition=when, request=request)
        match change:
            case pb.Increment():
                message.increment.CopyFrom(change)
            case pb.Append():
                message.append.CopyFrom(change)
            case pb.MergePatch():
                message.merge_patch.CopyFrom(change)
        if ttl is not None:
            message.ttl.CopyFrom(duration(ttl))
        if expire_time is not None:
            message.expire_time.CopyFrom(expire_time)
        if keep_expiry:
            message.keep_expiry = True
        return message

    async def update(
        self, key: str, change: pb.Increment | pb.Append | pb.MergePatch, *, timeout: float = 20, **more: Any
    ) -> pb.UpdateResponse:
        answer = await self.call(self.state.Update(self.update_request(key, change, **more), timeout=timeout))
        assert isinstance(answer, pb.UpdateResponse)
        return answer

    async def batch(self, operations: Sequence[pb.BatchOperation]) -> list[pb.BatchResult]:
        answer = await self.call(self.state.Batch(pb.BatchRequest(operations=operations), timeout=60))
        return list(answer.results)

    def delete_request(self, key: str, when: record_pb2.Precondition | None = None) -> pb.DeleteRequest:
        return pb.DeleteRequest(name=self.name(key), precondition=when)

    def check(self, key: str, when: record_pb2.Precondition) -> pb.Check:
        return pb.Check(name=self.name(key), precondition=when)

    async def transact(
        self,
        *,
        checks: Sequence[pb.Check] = (),
        puts: Sequence[pb.PutRequest] = (),
        deletes: Sequence[pb.DeleteRequest] = (),
        updates: Sequence[pb.UpdateRequest] = (),
        request: record_pb2.RequestId | None = None,
        timeout: float = 30,
    ) -> pb.TransactResponse:
        message = pb.TransactRequest(checks=checks, puts=puts, deletes=deletes, updates=updates, request=request)
        answer = await self.call(self.state.Transact(message, timeout=timeout))
        assert isinstance(answer, pb.TransactResponse)
        return answer

    async def snapshot(self, *names: record_pb2.RecordName, timeout: float = 30) -> list[pb.SnapshotItem]:
        answer = await self.call(self.state.Snapshot(pb.SnapshotRequest(names=names), timeout=timeout))
        return list(answer.items)

    async def values(self, *keys: str) -> list[bytes | None]:
        """Returns the records' values as of one moment; None: not found."""
        items = await self.snapshot(*map(self.name, keys))
        return [each.record.value if each.HasField("record") else None for each in items]


_NUMBERS = itertools.count(1)


def new_request(moment: Instant) -> record_pb2.RequestId:
    """Returns the identifier of a request that is first sent now."""
    sent = Timestamp()
    sent.FromMilliseconds(moment)
    return record_pb2.RequestId(client=0xFEDCBA9876543210, number=next(_NUMBERS), first_sent=sent)


def again(request: record_pb2.RequestId) -> record_pb2.RequestId:
    """Returns the identifier of the next attempt at `request`."""
    repeated = record_pb2.RequestId()
    repeated.CopyFrom(request)
    repeated.attempt += 1
    return repeated


def append(*items: bytes, most: int = 0) -> pb.Append:
    return pb.Append(items=items, max_length=most)


async def refused(answer: Any) -> Refused:
    """Returns what the answer to a call says that must fail."""
    with pytest.raises(Refused) as caught:
        await answer
    return caught.value


def duration(delta: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(delta)
    return message
