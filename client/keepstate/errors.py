"""What can go wrong, one type for each thing that a caller would treat differently."""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "DecodeError",
    "EncodeError",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "KeepstateError",
    "NotFound",
    "OutcomeUnknown",
    "PartialFailure",
    "PermissionDenied",
    "ResourceExhausted",
    "StoreNotFound",
    "TransactionConflict",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnsupportedByStore",
    "UpdateNotApplicable",
]

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import Any

import grpc

from keepstate.records import RecordName


# Not frozen: raising an exception writes its traceback into it. Every field has a default: that is how exceptions
# survive pickling and copying.
@dataclass(eq=False)
class KeepstateError(Exception):
    """The root of all errors of this package."""

    message: str = ""
    """What happened, for people. It may change between versions."""

    _: KW_ONLY

    code: grpc.StatusCode | None = None
    """The call's gRPC code. None: the error arose here, not at the service."""

    reason: str = ""
    """The name in ``keepstate.v1.ErrorReason`` without its prefix, e.g. "ETAG_MISMATCH". Empty: nothing was said."""

    correlation_id: str = ""
    """Finds the call in the service's log. Empty: not known."""

    nothing_sent: bool = False
    """On a failed write: nothing was sent to the store for it. False: that is not known."""

    def __str__(self) -> str:
        return self.message


@dataclass(eq=False)
class _AboutRecord(KeepstateError):
    _: KW_ONLY

    name: RecordName | None = None
    """The record. None: the service did not name it."""

    def __str__(self) -> str:
        return f"{self.message}: {self.name.key!r}" if self.name else self.message


@dataclass(eq=False)
class NotFound(_AboutRecord):
    """There is no such record, and the call needed one (``if_exists``, a touch)."""


@dataclass(eq=False)
class AlreadyExists(_AboutRecord):
    """The write demanded absence, and there is a record."""

    _: KW_ONLY

    etag: str | None = None
    """The record's etag. None: not known."""


@dataclass(eq=False)
class Conflict(_AboutRecord):
    """Somebody else wrote or deleted the record, or a record of the transaction. Nothing was changed."""

    _: KW_ONLY

    etag: str | None = None
    """The record's etag now. None: there is no record."""


@dataclass(eq=False)
class TransactionConflict(Conflict):
    """The transaction met writes of others again and again. Begin it anew. No single record is to blame."""


@dataclass(eq=False)
class OutcomeUnknown(KeepstateError):
    """The write may have been applied, or may yet be: the answer was lost, or the store's answer could not tell."""

    _: KW_ONLY

    for_good: bool = False
    """What would tell has been forgotten: sending the same request again will not resolve it."""


@dataclass(eq=False)
class Unavailable(KeepstateError):
    """The service, its sidecar or the store does not answer. A write was not applied."""

    _: KW_ONLY

    retry_after: timedelta | None = None
    """How long the service asks to wait. None: it did not say."""


@dataclass(eq=False)
class ResourceExhausted(KeepstateError):
    """A limit is reached: of the service's load, or of the size of a message."""

    _: KW_ONLY

    retry_after: timedelta | None = None
    """How long the service asks to wait. None: it did not say."""
    limit: str = ""
    """Which limit, where the service says so, e.g. "calls under way"."""


@dataclass(frozen=True, kw_only=True)
class FieldViolation:
    """One field of a request that is wrong."""

    field: str
    """Its path in the request, e.g. "name.key" or "operations[3].put.value"."""

    description: str
    """What is wrong with it."""


@dataclass(eq=False)
class InvalidArgument(KeepstateError):
    """The request is wrong. Nothing was changed, and repeating it will not help."""

    _: KW_ONLY

    violations: tuple[FieldViolation, ...] = ()
    """Every field that is wrong."""

    def __str__(self) -> str:
        unsaid = "; ".join(f"{v.field} {v.description}" for v in self.violations if v.description not in self.message)
        return f"{self.message}: {unsaid}" if unsaid else self.message


@dataclass(eq=False)
class StoreNotFound(InvalidArgument):
    """The service knows no store of this name.

    Not a ``NotFound``: a mistyped store must not look like a missing record.
    """


@dataclass(eq=False)
class FailedPrecondition(KeepstateError):
    """The call does not fit the state of things. Nothing was changed."""


@dataclass(eq=False)
class UnsupportedByStore(FailedPrecondition):
    """The store cannot keep a promise that the call needs. Nothing was changed."""

    _: KW_ONLY

    capability: str = ""
    """What the store lacks."""


@dataclass(eq=False)
class UpdateNotApplicable(FailedPrecondition):
    """An update does not fit the value that it met: no number, no list, no JSON, or out of bounds. Nothing was changed.

    Of a repeated update: the first attempt did not fit the value that it met.
    """

    _: KW_ONLY

    name: RecordName | None = None
    """The record. None: the service did not name it."""


@dataclass(eq=False)
class PermissionDenied(KeepstateError):
    """The caller has no grant for this."""


@dataclass(eq=False)
class Unauthenticated(KeepstateError):
    """The caller did not show who it is."""


@dataclass(eq=False)
class Unimplemented(KeepstateError):
    """This version of the service does not offer the call."""


@dataclass(eq=False)
class DeadlineExceeded(KeepstateError):
    """Time was up. A write was not applied (where that cannot be told: ``OutcomeUnknown``)."""


@dataclass(eq=False)
class Cancelled(KeepstateError):
    """The call was cut short, e.g. because the client was closed."""


@dataclass(eq=False)
class Internal(KeepstateError):
    """A fault of the service, or of something between. ``correlation_id`` finds it in the service's log."""


@dataclass(eq=False)
class EncodeError(KeepstateError):
    """The codec cannot encode the value. Nothing was sent."""


@dataclass(eq=False)
class DecodeError(KeepstateError):
    """The record is there, but the codec cannot decode it, or it holds another content type."""

    _: KW_ONLY

    content_type: str = ""
    """What the record's writer said it is. Empty: nothing."""


@dataclass(eq=False)
class PartialFailure(KeepstateError):
    """Some records of ``get_many`` or ``put_many`` failed. The others did not."""

    _: KW_ONLY

    results: Mapping[str, Any] = field(default_factory=dict)
    """What succeeded, by key, as the call would have returned it."""

    errors: Mapping[str, KeepstateError] = field(default_factory=dict)
    """What failed, by key."""

    unsent: tuple[str, ...] = ()
    """Keys that were not sent at all, because the service failed before their turn."""
