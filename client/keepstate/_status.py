"""Makes the typed errors of what came over the wire. One table, total over reasons and codes."""

from __future__ import annotations

__all__ = ["as_of_read", "error_of_call", "error_of_status"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from keepstate import errors
from keepstate.records import RecordName
from keepstate.v1 import errors_pb2 as reasons

DOMAIN = "keepstate"
DETAILS_KEY = "grpc-status-details-bin"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A failed call, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[errors.FieldViolation, ...] = ()
    retry_after: timedelta | None = None

    @property
    def name(self) -> RecordName | None:
        if not (key := self.metadata.get("key")):
            return None
        return RecordName(key=key, namespace=self.metadata.get("namespace", ""), store=self.metadata.get("store", ""))


_Fields = Callable[[_Failure], dict[str, Any]]


def _nothing(_: _Failure) -> dict[str, Any]:
    return {}


# What each error carries besides what all carry. A class that is not here inherits its parent's entry.
_FIELDS: Mapping[type[errors.KeepstateError], _Fields] = {
    errors.KeepstateError: _nothing,
    errors.NotFound: lambda f: {"name": f.name},
    errors.AlreadyExists: lambda f: {"name": f.name, "etag": f.metadata.get("etag") or None},
    errors.Conflict: lambda f: {"name": f.name, "etag": f.metadata.get("etag") or None},
    errors.InvalidArgument: lambda f: {"violations": f.violations},
    errors.UpdateNotApplicable: lambda f: {"name": f.name},
    errors.UnsupportedByStore: lambda f: {"capability": f.metadata.get("capability", "")},
    errors.OutcomeUnknown: lambda f: {"for_good": f.metadata.get("for_good") == "true"},
    errors.Unavailable: lambda f: {"retry_after": f.retry_after},
    errors.ResourceExhausted: lambda f: {"retry_after": f.retry_after, "limit": f.metadata.get("limit", "")},
}

_BY_REASON: Mapping[int, type[errors.KeepstateError]] = {
    reasons.ERROR_REASON_RECORD_NOT_FOUND: errors.NotFound,
    reasons.ERROR_REASON_RECORD_ALREADY_EXISTS: errors.AlreadyExists,
    reasons.ERROR_REASON_ETAG_MISMATCH: errors.Conflict,
    reasons.ERROR_REASON_INVALID_FIELDS: errors.InvalidArgument,
    reasons.ERROR_REASON_STORE_NOT_FOUND: errors.StoreNotFound,
    reasons.ERROR_REASON_UNSUPPORTED_BY_STORE: errors.UnsupportedByStore,
    reasons.ERROR_REASON_STORE_UNAVAILABLE: errors.Unavailable,
    reasons.ERROR_REASON_OUTCOME_UNKNOWN: errors.OutcomeUnknown,
    reasons.ERROR_REASON_DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    reasons.ERROR_REASON_OVERLOADED: errors.ResourceExhausted,
    reasons.ERROR_REASON_NOT_IMPLEMENTED: errors.Unimplemented,
    reasons.ERROR_REASON_TRANSACTION_CONFLICT: errors.TransactionConflict,
    reasons.ERROR_REASON_UNAUTHENTICATED: errors.Unauthenticated,
    reasons.ERROR_REASON_PERMISSION_DENIED: errors.PermissionDenied,
    reasons.ERROR_REASON_INTERNAL: errors.Internal,
    reasons.ERROR_REASON_UPDATE_NOT_APPLICABLE: errors.UpdateNotApplicable,
}

# For failures without a reason that this version knows: gRPC's own, a proxy's, or a newer service's.
_BY_CODE: Mapping[grpc.StatusCode, type[errors.KeepstateError]] = {
    grpc.StatusCode.OK: errors.Internal,  # a failure that says it is none
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNKNOWN: errors.Internal,
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.INTERNAL: errors.Internal,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DATA_LOSS: errors.Internal,
}

_REASONS: Mapping[str, int] = dict(reasons.ErrorReason.items())

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# Codes that, without a reason of the service, may stand for a lost answer: a write that fails so may have been applied.
_MAY_HIDE_SUCCESS = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)

# What gRPC says where a request did not leave the client, or was thrown away unread. It has no code of its own
# for that. Should the words change, such a write counts as unknown, which is never wrong.
_NEVER_ARRIVED = (
    "failed to connect to all addresses",
    "DNS resolution failed",
    "CLIENT: Sent message larger than max",
    "SERVER: Received message larger than max",
    "Concurrent RPC limit exceeded",
)


def error_of_call(error: grpc.aio.AioRpcError, *, writes: bool) -> errors.KeepstateError:
    """The typed error of a failed call."""
    status = _details(error) or status_pb2.Status()
    return _error(_failure(error.code(), status, error.details() or ""), writes=writes)


def error_of_status(status: status_pb2.Status, *, writes: bool) -> errors.KeepstateError:
    """The typed error of one failed operation of a batch."""
    return _error(_failure(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status, status.message), writes=writes)


def as_of_read(error: errors.KeepstateError) -> errors.KeepstateError:
    """What the failure of a whole call means for a read in it, of which no outcome can be unknown."""
    if not isinstance(error, errors.OutcomeUnknown):
        return error
    kind = _BY_CODE[error.code] if error.code else errors.Internal
    read = kind(error.message, code=error.code, correlation_id=error.correlation_id)
    read.__cause__ = error.__cause__
    return read


def _error(failure: _Failure, *, writes: bool) -> errors.KeepstateError:
    number = _REASONS.get(f"ERROR_REASON_{failure.reason}")
    kind = _BY_REASON.get(number) if number is not None else None
    never_arrived = failure.metadata.get("nothing_sent") == "true" or failure.message.startswith(_NEVER_ARRIVED)
    if kind is None:
        lost = writes and failure.code in _MAY_HIDE_SUCCESS and not never_arrived
        kind = errors.OutcomeUnknown if lost else _BY_CODE[failure.code]
    return kind(
        failure.message or kind.__name__,
        code=failure.code,
        reason=failure.reason,
        correlation_id=failure.metadata.get("correlation_id", ""),
        nothing_sent=never_arrived,
        **_fields_of(kind)(failure),
    )


def _fields_of(kind: type[errors.KeepstateError]) -> _Fields:
    return next(_FIELDS[parent] for parent in kind.__mro__ if parent in _FIELDS)


def _failure(code: grpc.StatusCode, status: status_pb2.Status, message: str) -> _Failure:
    info = _detail(status, error_details_pb2.ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return _Failure(code=code, message=message, violations=_violations(status), retry_after=_retry_after(status))
    return _Failure(
        code=code,
        message=message,
        reason=info.reason,
        metadata=dict(info.metadata),
        violations=_violations(status),
        retry_after=_retry_after(status),
    )


def _violations(status: status_pb2.Status) -> tuple[errors.FieldViolation, ...]:
    found: Iterable[error_details_pb2.BadRequest.FieldViolation] = ()
    if bad := _detail(status, error_details_pb2.BadRequest):
        found = bad.field_violations
    return tuple(errors.FieldViolation(field=v.field, description=v.description) for v in found)


def _retry_after(status: status_pb2.Status) -> timedelta | None:
    retry = _detail(status, error_details_pb2.RetryInfo)
    return retry.retry_delay.ToTimedelta() if retry else None


def _detail(status: status_pb2.Status, kind: type[M]) -> M | None:
    ending = f"/{kind.DESCRIPTOR.full_name}"
    for packed in status.details:
        if packed.type_url.endswith(ending):
            try:
                return kind.FromString(packed.value)
            except ProtobufDecodeError:
                return None
    return None


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    # Not grpc_status.rpc_status.from_call: it raises where a proxy shortened the message.
    packed = (error.trailing_metadata() or grpc.aio.Metadata()).get(DETAILS_KEY)
    if not isinstance(packed, bytes):
        return None
    try:
        return status_pb2.Status.FromString(packed)
    except ProtobufDecodeError:
        return None
