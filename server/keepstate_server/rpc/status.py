"""The one table that maps errors to gRPC statuses (promise 13)."""

from datetime import timedelta

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from keepstate_server.domain.errors import (
    InvalidFields,
    KeepstateError,
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

_AFTER_CONFLICT = timedelta(milliseconds=50)

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
    Reason.NOT_IMPLEMENTED: code_pb2.UNIMPLEMENTED,
    Reason.TRANSACTION_CONFLICT: code_pb2.ABORTED,
    Reason.INTERNAL: code_pb2.INTERNAL,
}
"""The code of each reason. StoreNotFound is INVALID_ARGUMENT where the store is a field of a record's name."""


def status_of(error: KeepstateError, *, store_field: str = "", correlation_id: str = "") -> status_pb2.Status:
    """Returns the status for ``error``.

    Args:
        error: what went wrong.
        store_field: the request's field that named the store, if a missing store is that field's fault.
        correlation_id: finds the call in the service's log; told where the fault is the service's.
    """
    code = CODES[error.reason]
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=_metadata(error))
    if error.reason is Reason.INTERNAL and correlation_id:
        info.metadata["correlation_id"] = correlation_id
    details: list[Message] = [info]
    if isinstance(error, InvalidFields):
        details.append(_bad_request([(each.field, each.description) for each in error.violations]))
    elif isinstance(error, StoreNotFound) and (field := error.field or store_field):
        code = code_pb2.INVALID_ARGUMENT
        details.append(_bad_request([(field, error.message)]))
    elif isinstance(error, StoreUnavailable | Overloaded):
        details.append(_retry(error.retry_after))
    elif isinstance(error, TransactionConflict):
        details.append(_retry(_AFTER_CONFLICT))
    status = status_pb2.Status(code=code, message=error.message)
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
            return {"store": error.store} | ({"nothing_sent": "true"} if error.nothing_sent else {})
        case Overloaded():
            return {"limit": error.limit, "nothing_sent": "true"}
        case _:
            return {}


def _bad_request(violations: list[tuple[str, str]]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in violations
        ]
    )


def _retry(after: timedelta) -> error_details_pb2.RetryInfo:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromTimedelta(after)
    return info
