"""From protobuf requests to operations, with every wrong field named."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1 import record_pb2, state_service_pb2
from keepstate_server.domain.errors import FieldViolation, InvalidFields
from keepstate_server.domain.json_text import MOST_LEVELS, read_json
from keepstate_server.domain.names import RecordName, key_fault, namespace_fault
from keepstate_server.domain.operations import (
    Append,
    Change,
    Delete,
    Get,
    Increment,
    MergePatch,
    Operation,
    Put,
    Touch,
    Update,
)
from keepstate_server.domain.records import (
    ABSENT,
    EXISTS,
    KEEP_EXPIRY,
    REPEATED_AFTER,
    Consistency,
    Expiry,
    Precondition,
    Request,
    version_of,
)
from keepstate_server.domain.times import Instant, in_milliseconds
from keepstate_server.engine.merge_patch import read_patch

__all__ = ["Limits", "Reader", "WriteRequest", "carries_repeat", "changes_nothing"]

_MAX_TTL_MS = 50 * 365 * 24 * 60 * 60 * 1000
_MAX_CONTENT_TYPE = 128
_REPEATED_AFTER_MS = in_milliseconds(REPEATED_AFTER)

_CONSISTENCY: Mapping[int, Consistency] = {
    record_pb2.CONSISTENCY_UNSPECIFIED: Consistency.STRONG,
    record_pb2.CONSISTENCY_STRONG: Consistency.STRONG,
    record_pb2.CONSISTENCY_EVENTUAL: Consistency.EVENTUAL,
}

WriteRequest = (
    state_service_pb2.PutRequest
    | state_service_pb2.DeleteRequest
    | state_service_pb2.TouchRequest
    | state_service_pb2.UpdateRequest
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one call may carry."""

    value_bytes: int = 1024 * 1024
    batch_operations: int = 1000
    append_items: int = 10_000
    transaction_records: int = 100
    transaction_value_bytes: int = 1024 * 1024
    transaction_name_bytes: int = 16 * 1024
    snapshot_records: int = 100


def carries_repeat(message: Message, now: Instant, *, resent: bool) -> bool:
    """Says whether any write in ``message`` may have been sent before, so that nobody can say that nothing was sent."""
    match message:
        case state_service_pb2.BatchRequest():
            return any(carries_repeat(operation, now, resent=resent) for operation in message.operations)
        case state_service_pb2.BatchOperation():
            kind = message.WhichOneof("operation")
            return kind is not None and carries_repeat(getattr(message, kind), now, resent=resent)
        case (
            state_service_pb2.PutRequest()
            | state_service_pb2.DeleteRequest()
            | state_service_pb2.TouchRequest()
            | state_service_pb2.UpdateRequest()
            | state_service_pb2.TransactRequest()
        ):
            return message.HasField("request") and _is_repeat(message.request, now, resent=resent)
        case _:
            return False


def _is_repeat(request: record_pb2.RequestId, now: Instant, *, resent: bool) -> bool:
    sent = request.first_sent
    late = now - (sent.seconds * 1000 + sent.nanos // 1_000_000) > _REPEATED_AFTER_MS
    return request.attempt > 0 or resent or late


def changes_nothing(message: Message) -> bool:
    """Says whether all that ``message`` asks for is read, so that its answer can be asked for again."""
    match message:
        case state_service_pb2.GetRequest():
            return not message.HasField("slide_ttl")
        case state_service_pb2.SnapshotRequest():
            return True
        case state_service_pb2.BatchRequest():
            return all(each.HasField("get") and changes_nothing(each.get) for each in message.operations)
        case _:
            return False


@dataclass(kw_only=True)
class Reader:
    """Reads one call's message, and notes all that is wrong with it before it refuses it."""

    now: Instant
    """The service's time: what ttl counts from."""
    default_store: str | None
    """What an empty store name stands for; None: nothing, it must be named."""
    clock_difference_ms: int
    """How far in the future a request may have been sent."""
    resent: bool = False
    """gRPC says that this is not the first attempt at the call."""
    limits: Limits = field(default_factory=Limits)
    violations: list[FieldViolation] = field(default_factory=list)

    def finish(self) -> None:
        """Ends the reading.

        Raises:
            InvalidFields: something was wrong.
        """
        if self.violations:
            raise InvalidFields(self.violations)

    def wrong(self, path: str, description: str) -> None:
        """Notes that the field at ``path`` is wrong."""
        self.violations.append(FieldViolation(field=path, description=description))

    # Operations

    def get(self, message: state_service_pb2.GetRequest, at: str = "") -> Get:
        """Reads a get."""
        return Get(
            name=self.name(message.name, f"{at}name"),
            consistency=self._consistency(message.consistency, at),
            slide_to=self._ttl(message.slide_ttl, f"{at}slide_ttl") if message.HasField("slide_ttl") else None,
        )

    def put(self, message: state_service_pb2.PutRequest, at: str = "") -> Put:
        """Reads a put."""
        value, content_type = message.value, message.content_type
        self._fits(len(value), f"{at}value")
        if len(content_type) > _MAX_CONTENT_TYPE or not (content_type.isascii() and content_type.isprintable()):
            self.wrong(f"{at}content_type", f"must be at most {_MAX_CONTENT_TYPE} characters of printable ASCII")
        return Put(
            name=self.name(message.name, f"{at}name"),
            value=value,
            content_type=content_type,
            precondition=self.precondition(message, at),
            expiry=self._expiry(message, at),
            request=self.request(message, at),
            consistency=self._consistency(message.consistency, at),
        )

    def delete(self, message: state_service_pb2.DeleteRequest, at: str = "") -> Delete:
        """Reads a delete."""
        return Delete(
            name=self.name(message.name, f"{at}name"),
            precondition=self.precondition(message, at, absent_allowed=False),
            request=self.request(message, at),
            consistency=self._consistency(message.consistency, at),
        )

    def touch(self, message: state_service_pb2.TouchRequest, at: str = "") -> Touch:
        """Reads a touch."""
        expiry = self._expiry(message, at)
        assert expiry is not KEEP_EXPIRY  # the message has no such field
        return Touch(
            name=self.name(message.name, f"{at}name"),
            precondition=self.precondition(message, at, absent_allowed=False),
            expire_at=expiry,
            request=self.request(message, at),
            consistency=self._consistency(message.consistency, at),
        )

    def update(self, message: state_service_pb2.UpdateRequest, at: str = "") -> Update:
        """Reads an update."""
        return Update(
            name=self.name(message.name, f"{at}name"),
            change=self._change(message, at),
            precondition=self.precondition(message, at),
            expiry=self._expiry(message, at),
            request=self.request(message, at),
            consistency=self._consistency(message.consistency, at),
        )

    def batch_operation(self, message: state_service_pb2.BatchOperation, index: int) -> Operation:
        """Reads the operation at ``index`` of a batch.

        Raises:
            InvalidFields: something is wrong with it.
        """
        self.violations = []
        operation = self._batch_operation(message)
        if operation is None or self.violations:
            at = f"operations[{index}]."
            raise InvalidFields([replace(each, field=f"{at}{each.field}") for each in self.violations])
        return operation

    def _batch_operation(self, message: state_service_pb2.BatchOperation) -> Operation | None:
        match message.WhichOneof("operation"):
            case "get":
                return self.get(message.get, "get.")
            case "put":
                return self.put(message.put, "put.")
            case "delete":
                return self.delete(message.delete, "delete.")
            case "touch":
                return self.touch(message.touch, "touch.")
            case "update":
                return self.update(message.update, "update.")
            case _:
                self.wrong("operation", "must be set")
                return None

    def snapshot(self, message: state_service_pb2.SnapshotRequest) -> list[RecordName]:
        """Reads the names of a snapshot.

        Raises:
            InvalidFields: something is wrong.
        """
        count = len(message.names)
        if not 1 <= count <= self.limits.snapshot_records:
            self.wrong("names", f"must be 1 to {self.limits.snapshot_records}, not {count}")
            self.finish()
        names = [self.name(name, f"names[{index}]") for index, name in enumerate(message.names)]
        self.finish()
        return names

    # Changes of values

    def _change(self, message: state_service_pb2.UpdateRequest, at: str) -> Change:
        match message.WhichOneof("update"):
            case "increment":
                return self._increment(message.increment, f"{at}increment.")
            case "append":
                return self._append(message.append, f"{at}append.")
            case "merge_patch":
                return self._merge_patch(message.merge_patch, f"{at}merge_patch.")
            case _:
                self.wrong(f"{at}update", "must have one of increment, append and merge_patch")
                return Increment(delta=0)

    def _increment(self, message: state_service_pb2.Increment, at: str) -> Increment:
        change = Increment(
            delta=message.delta,
            initial=message.initial if message.HasField("initial") else None,
            minimum=message.minimum if message.HasField("minimum") else None,
            maximum=message.maximum if message.HasField("maximum") else None,
        )
        if change.minimum is not None and change.maximum is not None and change.minimum > change.maximum:
            self.wrong(f"{at}minimum", "must not be more than the maximum")
        return change

    def _append(self, message: state_service_pb2.Append, at: str) -> Append:
        if message.max_length < 0:
            self.wrong(f"{at}max_length", "must not be negative")
        count = len(message.items)
        if not 1 <= count <= self.limits.append_items:
            self.wrong(f"{at}items", f"must be 1 to {self.limits.append_items}, not {count}")
        elif self._fits(sum(map(len, message.items)), f"{at}items"):
            for index, item in enumerate(message.items):
                try:
                    read_json(item, levels=MOST_LEVELS - 1)  # the list is one more
                except ValueError as fault:
                    self.wrong(f"{at}items[{index}]", str(fault))
        return Append(items=tuple(message.items), max_length=message.max_length)

    def _merge_patch(self, message: state_service_pb2.MergePatch, at: str) -> MergePatch:
        if self._fits(len(message.patch), f"{at}patch"):
            try:
                read_patch(message.patch)
            except ValueError as fault:
                self.wrong(f"{at}patch", str(fault))
        return MergePatch(patch=message.patch)

    def _fits(self, size: int, at: str) -> bool:
        fits = size <= self.limits.value_bytes
        if not fits:
            self.wrong(at, f"must be at most {self.limits.value_bytes} bytes, not {size}")
        return fits

    # Parts

    def name(self, message: record_pb2.RecordName, at: str) -> RecordName:
        """Reads a record's name."""
        store, namespace, key = message.store or self.default_store or "", message.namespace, message.key
        if not store:
            self.wrong(f"{at}.store", "must be set: the service has no default store")
        elif fault := key_fault(store):
            self.wrong(f"{at}.store", fault)
        if fault := namespace_fault(namespace):
            self.wrong(f"{at}.namespace", fault)
        if fault := key_fault(key):
            self.wrong(f"{at}.key", fault)
        return RecordName(store=store, namespace=namespace, key=key)

    def request(self, message: WriteRequest | state_service_pb2.TransactRequest, at: str) -> Request | None:
        """Reads the request of a write, if it has one."""
        if not message.HasField("request"):
            return None
        request = message.request
        client, number = request.client, request.number
        if not client:
            self.wrong(f"{at}request.client", "must not be 0")
        if not number:
            self.wrong(f"{at}request.number", "must not be 0")
        first_sent = self._instant(request.first_sent, f"{at}request.first_sent")
        if not request.HasField("first_sent"):
            self.wrong(f"{at}request.first_sent", "must be set")
        elif first_sent > self.now + self.clock_difference_ms:
            self.wrong(f"{at}request.first_sent", "must not be in the future: take the service's time")
        repeated = request.attempt > 0 or self.resent or self.now - first_sent > _REPEATED_AFTER_MS
        return Request(client=client, number=number, first_sent=first_sent, repeated=repeated)

    def precondition(
        self,
        message: WriteRequest | state_service_pb2.Check,
        at: str,
        *,
        absent_allowed: bool = True,
    ) -> Precondition:
        """Reads what a write or a check demands."""
        if not message.HasField("precondition"):
            return None
        precondition = message.precondition
        match precondition.WhichOneof("condition"):
            case "absent":
                if not precondition.absent:
                    self.wrong(f"{at}precondition.absent", "must be true where it is set")
                elif not absent_allowed:
                    self.wrong(f"{at}precondition.absent", "cannot be demanded here: there would be nothing to do")
                return ABSENT
            case "exists":
                if not precondition.exists:
                    self.wrong(f"{at}precondition.exists", "must be true where it is set")
                return EXISTS
            case "etag":
                try:
                    return version_of(precondition.etag)
                except ValueError:
                    self.wrong(f"{at}precondition.etag", "is not an etag that this service gave out")
                    return EXISTS
            case _:
                self.wrong(f"{at}precondition", "must have one of absent, exists and etag")
                return None

    def _expiry(
        self,
        message: state_service_pb2.PutRequest | state_service_pb2.TouchRequest | state_service_pb2.UpdateRequest,
        at: str,
    ) -> Expiry:
        match message.WhichOneof("expiry"):
            case "ttl":
                return self._ttl(message.ttl, f"{at}ttl")
            case "expire_time":
                return self._expire_time(message.expire_time, f"{at}expire_time")
            case "keep_expiry":
                assert not isinstance(message, state_service_pb2.TouchRequest)
                if not message.keep_expiry:
                    self.wrong(f"{at}keep_expiry", "must be true where it is set")
                return KEEP_EXPIRY
            case _:
                return None

    def _ttl(self, message: Duration, at: str) -> Instant:
        milliseconds = message.seconds * 1000 + message.nanos // 1_000_000
        if not 1 <= milliseconds <= _MAX_TTL_MS:
            self.wrong(at, "must be from 1 ms to 50 years")
            milliseconds = 1
        return Instant(self.now + milliseconds)

    def _expire_time(self, message: Timestamp, at: str) -> Instant:
        instant = self._instant(message, at)
        if not self.now < instant <= self.now + _MAX_TTL_MS:
            self.wrong(at, "must be in the future, at most 50 years from now")
        return instant

    def _instant(self, message: Timestamp, at: str) -> Instant:
        seconds, nanos = message.seconds, message.nanos
        if not 0 <= nanos < 1_000_000_000 or seconds < 0:
            self.wrong(at, "is not a time after 1970")
        return Instant(seconds * 1000 + nanos // 1_000_000)

    def _consistency(self, number: int, at: str) -> Consistency:
        known = _CONSISTENCY.get(number)
        if known is None:
            self.wrong(f"{at}consistency", f"{number} is not known to this version of the service")
        return known or Consistency.STRONG
