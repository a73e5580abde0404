"""Between this package's values and the messages on the wire."""

from __future__ import annotations

__all__ = [
    "JSON",
    "Scope",
    "committed",
    "full_name",
    "record",
    "result_of",
    "store_info",
    "touched",
    "updated",
    "value",
]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeAlias, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.codecs import Codec, Json
from keepstate.errors import DecodeError, EncodeError, Internal, KeepstateError, NotFound, OutcomeUnknown
from keepstate.operations import Append, Check, Delete, Get, Increment, MergePatch, Operation, Put, Touch, Update
from keepstate.records import Committed, Consistency, Record, RecordName, Touched, Updated
from keepstate.stores import Keeping, Promise, StoreInfo
from keepstate.v1 import record_pb2, store_service_pb2
from keepstate.v1 import state_service_pb2 as pb

T = TypeVar("T")

JSON = Json()
"""What updates work on."""

_CONSISTENCIES = {
    Consistency.STRONG: record_pb2.CONSISTENCY_STRONG,
    Consistency.EVENTUAL: record_pb2.CONSISTENCY_EVENTUAL,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Write: TypeAlias = pb.PutRequest | pb.UpdateRequest | pb.DeleteRequest | pb.TouchRequest

_KEEPINGS = {
    store_service_pb2.KEEPING_NATIVE: Keeping.NATIVE,
    store_service_pb2.KEEPING_STAGED: Keeping.STAGED,
    store_service_pb2.KEEPING_REFUSED: Keeping.REFUSED,
}


class _Named(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def store(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Where a view looks and how it encodes: what an operation does not say itself."""

    store: str
    namespace: str
    codec: Codec[Any]

    def name(self, operation: _Named) -> record_pb2.RecordName:
        """The full name of an operation's record."""
        name = record_pb2.RecordName()
        self._fill_name(name, operation)
        return name

    def _fill_name(self, name: record_pb2.RecordName, operation: _Named) -> None:
        name.store = self.store if operation.store is None else operation.store
        name.namespace = self.namespace if operation.namespace is None else operation.namespace
        name.key = operation.key

    def full_name(self, name: str | RecordName) -> record_pb2.RecordName:
        """The full name of a key of the view, or of a record anywhere."""
        return full_name(
            RecordName(key=name, namespace=self.namespace, store=self.store) if isinstance(name, str) else name
        )

    # Messages are filled in place: to give parts to a constructor copies them, which costs as much again.

    def get(self, operation: Get) -> pb.GetRequest:
        """The message of a read."""
        request = pb.GetRequest()
        self._fill_name(request.name, operation)
        request.consistency = _consistency(operation)
        if operation.slide_ttl is not None:
            request.slide_ttl.FromTimedelta(operation.slide_ttl)
        return request

    def put(self, operation: Put, request_id: record_pb2.RequestId | None = None) -> pb.PutRequest:
        """The message of a write."""
        codec = operation.codec or self.codec
        request = pb.PutRequest()
        self._fill_name(request.name, operation)
        request.value = _encode(codec, operation.key, operation.value)
        request.content_type = codec.content_type
        _fill_precondition(request, operation.if_absent, operation.if_exists, operation.if_etag)
        _fill_request(request, operation, request_id)
        _set_expiry(request, operation)
        return request

    def update(self, operation: Update[Any], request_id: record_pb2.RequestId | None = None) -> pb.UpdateRequest:
        """The message of a change at the service."""
        request = pb.UpdateRequest()
        self._fill_name(request.name, operation)
        _fill_precondition(request, operation.if_absent, operation.if_exists, operation.if_etag)
        _fill_request(request, operation, request_id)
        match operation:
            case Increment():
                _fill_increment(request.increment, operation)
            case Append(items=items, max_length=max_length):
                request.append.SetInParent()
                request.append.items.extend(_encode(JSON, operation.key, item) for item in items)
                request.append.max_length = max_length or 0
            case MergePatch(patch=patch):
                request.merge_patch.patch = _encode(JSON, operation.key, patch)
            case _:
                raise TypeError(f"a {type(operation).__name__} is not an update")
        _set_expiry(request, operation)
        return request

    def delete(self, operation: Delete, request_id: record_pb2.RequestId | None = None) -> pb.DeleteRequest:
        """The message of a delete."""
        request = pb.DeleteRequest()
        self._fill_name(request.name, operation)
        _fill_precondition(request, False, operation.if_exists, operation.if_etag)
        _fill_request(request, operation, request_id)
        return request

    def touch(self, operation: Touch, request_id: record_pb2.RequestId | None = None) -> pb.TouchRequest:
        """The message of a moved expiry."""
        request = pb.TouchRequest()
        self._fill_name(request.name, operation)
        _fill_precondition(request, False, False, operation.if_etag)
        _fill_request(request, operation, request_id)
        if operation.ttl is not None:
            request.ttl.FromTimedelta(operation.ttl)
        elif operation.expire_at is not None:
            request.expire_time.FromDatetime(operation.expire_at)
        return request

    def check(self, operation: Check) -> pb.Check:
        """The message of a transaction's demand."""
        check = pb.Check()
        self._fill_name(check.name, operation)
        _fill_precondition(check, operation.if_absent, operation.if_exists, operation.if_etag)
        return check

    def batched(self, operation: Operation[Any], next_request: Callable[[], record_pb2.RequestId]) -> pb.BatchOperation:
        """The message of an operation of a batch."""
        match operation:
            case Get():
                return pb.BatchOperation(get=self.get(operation))
            case Put():
                return pb.BatchOperation(put=self.put(operation, next_request()))
            case Delete():
                return pb.BatchOperation(delete=self.delete(operation, next_request()))
            case Update():
                return pb.BatchOperation(update=self.update(operation, next_request()))
            case Touch():
                return pb.BatchOperation(touch=self.touch(operation, next_request()))
        raise TypeError(f"a {type(operation).__name__} is not an operation of a batch")


def full_name(name: RecordName) -> record_pb2.RecordName:
    """The message of a name that says it all."""
    return record_pb2.RecordName(store=name.store, namespace=name.namespace, key=name.key)


def result_of(
    operation: Operation[T], result: pb.BatchResult | KeepstateError, codec: Codec[Any]
) -> T | KeepstateError:
    """What became of an operation of a batch: its answer, or its error as a value."""
    if isinstance(result, KeepstateError):
        nothing: Any = None
        return nothing if isinstance(operation, Get) and is_missing(result) else result
    try:
        answer: T = _answer(operation, result, codec)
    except KeepstateError as error:
        return error
    return answer


def _answer(operation: Operation[Any], result: pb.BatchResult, codec: Codec[Any]) -> Any:
    match operation, result.WhichOneof("result"):
        case Get(), "get":
            return record(result.get.record, operation.codec or codec)
        case Put(), "put":
            return result.put.etag
        case Delete(), "delete":
            return result.delete.existed
        case Touch(), "touch":
            return touched(result.touch)
        case Update(), "update":
            return updated(result.update)
    raise Internal("the service answered an operation with a result of another kind")


def is_missing(error: KeepstateError) -> bool:
    """Whether the error says that there is no record, rather than e.g. a proxy that found no service."""
    return isinstance(error, NotFound) and error.reason == "RECORD_NOT_FOUND"


def record(message: record_pb2.Record, codec: Codec[T]) -> Record[T]:
    """A record with its value decoded.

    Raises:
        DecodeError: the codec cannot decode it.
    """
    name = RecordName(key=message.name.key, namespace=message.name.namespace, store=message.name.store)
    return Record(
        name=name,
        value=value(message, codec),
        content_type=message.content_type,
        etag=message.etag,
        create_time=_time(message, "create_time"),
        update_time=_time(message, "update_time"),
        expire_time=_time(message, "expire_time"),
    )


def touched(message: pb.TouchResponse) -> Touched:
    """What a touch left."""
    return Touched(etag=message.etag, expire_time=_time(message, "expire_time"))


def updated(message: pb.UpdateResponse) -> Updated[Any]:
    """What an update left."""
    left = record(message.record, JSON) if message.HasField("record") else None
    return Updated(record=left, repeated=message.repeated)


def committed(message: pb.TransactResponse, request: pb.TransactRequest) -> Committed:
    """What a transaction did.

    Raises:
        OutcomeUnknown: the answer is not one to this request.
    """
    for kind in ("puts", "deletes", "updates"):
        given, asked = len(getattr(message, kind)), len(getattr(request, kind))
        if given != asked:
            raise OutcomeUnknown(f"the service gave {given} results for {asked} {kind}")
    return Committed(
        puts=tuple(put.etag for put in message.puts),
        deletes=tuple(delete.existed for delete in message.deletes),
        updates=tuple(updated(update) for update in message.updates),
    )


def store_info(message: store_service_pb2.Store) -> StoreInfo:
    """One store."""
    return StoreInfo(
        name=message.name,
        component_type=message.component_type,
        component_version=message.component_version,
        is_default=message.is_default,
        promises=_promises(message.promises),
        durability=message.durability,
    )


def _promises(messages: Iterable[store_service_pb2.PromiseStatus]) -> tuple[Promise, ...]:
    return tuple(
        Promise(number=p.number, title=p.title, keeping=_KEEPINGS.get(p.keeping, Keeping.UNKNOWN), reason=p.reason)
        for p in messages
    )


def _consistency(operation: Operation[Any]) -> record_pb2.Consistency.ValueType:
    strong = operation.consistency is Consistency.STRONG  # as a rule, and quicker to see than to look up
    return record_pb2.CONSISTENCY_STRONG if strong else _CONSISTENCIES[operation.consistency]


def _fill_request(request: _Write, operation: Operation[Any], request_id: record_pb2.RequestId | None) -> None:
    if request_id is not None:
        request.request.CopyFrom(request_id)
    request.consistency = _consistency(operation)


def _fill_precondition(request: _Write | pb.Check, if_absent: bool, if_exists: bool, if_etag: str | None) -> None:
    if if_absent:
        request.precondition.absent = True
    elif if_exists:
        request.precondition.exists = True
    elif if_etag is not None:
        request.precondition.etag = if_etag


def _fill_increment(increment: pb.Increment, operation: Increment) -> None:
    increment.delta = operation.delta
    if operation.initial is not None:
        increment.initial = operation.initial
    if operation.minimum is not None:
        increment.minimum = operation.minimum
    if operation.maximum is not None:
        increment.maximum = operation.maximum


def _set_expiry(request: pb.PutRequest | pb.UpdateRequest, operation: Put | Update[Any]) -> None:
    if operation.ttl is not None:
        request.ttl.FromTimedelta(operation.ttl)
    elif operation.expire_at is not None:
        request.expire_time.FromDatetime(operation.expire_at)
    elif operation.keep_expiry:
        request.keep_expiry = True


def _encode(codec: Codec[Any], key: str, value: Any) -> bytes:
    try:
        return codec.encode(value)
    except Exception as error:
        raise EncodeError(f"cannot encode the value of {key!r} as {codec.content_type}: {_words(error)}") from error


def value(message: record_pb2.Record, codec: Codec[T]) -> T:
    """A record's value, decoded.

    Raises:
        DecodeError: the codec cannot decode it.
    """
    content_type = message.content_type
    if not codec.reads(content_type):
        raise DecodeError(
            f"the record {message.name.key!r} is {content_type}, which is not read as {codec.content_type}",
            content_type=content_type,
        )
    try:
        return codec.decode(message.value)
    except Exception as error:
        raise DecodeError(
            f"cannot decode the record {message.name.key!r} as {codec.content_type}: {_words(error)}",
            content_type=content_type,
        ) from error


def _words(error: Exception) -> str:
    # Only the errors of our own codecs: the text of others (pydantic's) may hold the value, which belongs in no log.
    return str(error) if type(error).__module__ in ("builtins", "json.decoder") else type(error).__name__


def _time(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
