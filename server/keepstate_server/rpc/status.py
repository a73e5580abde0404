"""The one table that maps errors to gRPC statuses (promise 13)."""

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from keepstate_server.domain.errors import (
    InvalidFields,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    Reason,
    StoreNotFound,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
)

__all__ = ["CODES", "DOMAIN", "status_of"]

DOMAIN = "keepstate"

# Of these the log knows more than the caller may be told.
_TRACED = frozenset({Reason.INTERNAL, Reason.OUTCOME_UNKNOWN, Reason.STORE_UNAVAILABLE})

_AFTER_CONFLICT = timedelta(milliseconds=50)

# An error travels in the metadata of its answer, of which clients take 8 KiB: with more they see another error. There a
# message takes up to three times its bytes.
_MAX_DETAIL_BYTES = 3 * 1024
_MAX_MESSAGE_BYTES = 512

CODES: dict[Reason, code_pb2.Code] = {
    Reason.RECORD_NOT_FOUND: code_pb2.NOT_FOUND,
    Reason.RECORD_ALREADY_EXISTS: code_pb2.ALREADY_EXISTS,
    Reason.ETAG_MISMATCH: code_pb2.ABORTED,
    Reason.INVALID_FIELDS: code_pb2.INVALID_ARGUMENT,
    Reason.STORE_NOT_FOUND: code_pb2.NOT_FOUND,
    Reason.UNSUPPORTED_BY_STORE: code_pb2.FAILED_PRECONDITION,
    Reason.STORE_UNAVAILABLE: code_pb2.UNAVAILABLE,
    Reason.OUTCOME_UNKNOWN: code_pb2.UNKNOWN,
    Reason.DEADLINE_EXCEEDED: code_pb2.DEADLINE_EXCEEDED,
    Reason.OVERLOADED: code_pb2.RESOURCE_EXHAUSTED,
    Reason.TRANSACTION_CONFLICT: code_pb2.ABORTED,
    Reason.UPDATE_NOT_APPLICABLE: code_pb2.FAILED_PRECONDITION,
    Reason.INTERNAL: code_pb2.INTERNAL,
}
"""The code of each reason. StoreNotFound is INVALID_ARGUMENT where the store is a field of a record's name."""


def status_of(
    error: KeepstateError, *, store_field: str = "", correlation_id: str = "", sent_before: bool = False
) -> status_pb2.Status:
    """Returns the status for ``error``.

    Args:
        error: what went wrong.
        store_field: the request's field that named the store, if a missing store is that field's fault.
        correlation_id: finds the call in the service's log; told where the fault is the service's.
        sent_before: an earlier attempt at the call may have been sent to the store, so this one cannot say it was not.
    """
    code = CODES[error.reason]
    message = _shortened(error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=_metadata(error))
    nothing_sent = isinstance(error, Overloaded) or (isinstance(error, StoreUnavailable) and error.nothing_sent)
    if nothing_sent and not sent_before:
        info.metadata["nothing_sent"] = "true"
    if error.reason in _TRACED and correlation_id:
        info.metadata["correlation_id"] = correlation_id
    details: list[Message] = [info]
    if isinstance(error, InvalidFields):
        details.append(_bad_request([(each.field, each.description) for each in error.violations]))
    elif isinstance(error, StoreNotFound) and (field := error.field or store_field):
        code = code_pb2.INVALID_ARGUMENT
        details.append(_bad_request([(field, message)]))
    elif isinstance(error, StoreUnavailable | Overloaded):
        details.append(_retry(error.retry_after))
    elif isinstance(error, TransactionConflict):
        details.append(_retry(_AFTER_CONFLICT))
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _metadata(error: KeepstateError) -> dict[str, str]:
    match error:
        case PreconditionFailed():
            name = error.name
            return {"etag": error.etag, "store": name.store, "namespace": name.namespace, "key": name.key}
        case UnsupportedByStore():
            return {"store": error.store, "capability": error.capability}
        case StoreUnavailable():
            return {"store": error.store}
        case Overloaded():
            return {"limit": error.limit}
        case OutcomeUnknown(for_good=True):
            return {"for_good": "true"}
        case _:
            return {}


def _bad_request(violations: Sequence[tuple[str, str]]) -> error_details_pb2.BadRequest:
    """Returns the details that name every wrong field, or as many as there is room for and how many more there are."""
    details = error_details_pb2.BadRequest()
    for number, (field, description) in enumerate(violations):
        left = len(violations) - number - 1
        full = details.ByteSize() > _MAX_DETAIL_BYTES and left
        more = f"; and {left} more fields are wrong" if full else ""
        details.field_violations.add(field=field, description=description + more)
        if full:
            break
    return details


def _shortened(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= _MAX_MESSAGE_BYTES:
        return message
    return encoded[:_MAX_MESSAGE_BYTES].decode(errors="ignore") + " ..."


def _retry(after: timedelta) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromTimedelta(after)
    return info
