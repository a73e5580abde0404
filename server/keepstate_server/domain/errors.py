"""Every way in which a call can fail, under one root.

Leaves carry data; ``rpc.status`` alone maps them to codes and details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from keepstate_server.domain.names import RecordName

__all__ = [
    "DeadlineExceeded",
    "FieldViolation",
    "InvalidFields",
    "KeepstateError",
    "OutcomeUnknown",
    "Overloaded",
    "PreconditionFailed",
    "Reason",
    "RecordChanged",
    "RecordExists",
    "RecordMissing",
    "StoreNotFound",
    "StoreUnavailable",
    "TransactionConflict",
    "UnsupportedByStore",
    "UpdateNotApplicable",
]


class Reason(StrEnum):
    """The reasons of keepstate.v1.ErrorReason that this service gives, without their prefix."""

    RECORD_NOT_FOUND = "RECORD_NOT_FOUND"
    RECORD_ALREADY_EXISTS = "RECORD_ALREADY_EXISTS"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    INVALID_FIELDS = "INVALID_FIELDS"
    STORE_NOT_FOUND = "STORE_NOT_FOUND"
    UNSUPPORTED_BY_STORE = "UNSUPPORTED_BY_STORE"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    OVERLOADED = "OVERLOADED"
    TRANSACTION_CONFLICT = "TRANSACTION_CONFLICT"
    INTERNAL = "INTERNAL"
    UPDATE_NOT_APPLICABLE = "UPDATE_NOT_APPLICABLE"


class KeepstateError(Exception):
    """The root: a call, or one operation of a batch, failed for a reason that its caller can act on."""

    reason: Reason = Reason.INTERNAL

    @property
    def message(self) -> str:
        """What happened, for people. Holds neither values nor texts of other libraries."""
        return "the service failed"

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldViolation:
    """One wrong field of a request."""

    field: str
    """The field's path in the request, e.g. ``operations[3].put.name.key``."""
    description: str


class InvalidFields(KeepstateError):
    """The request is wrong in itself; nothing was changed."""

    reason = Reason.INVALID_FIELDS

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)

    @property
    def message(self) -> str:
        """Names the fields."""
        return "; ".join(f"{violation.field} {violation.description}" for violation in self.violations)


class PreconditionFailed(KeepstateError):
    """The record is not as the write demands; nothing was changed."""

    def __init__(self, name: RecordName, etag: str = "") -> None:
        self.name = name
        self.etag = etag
        """The record's etag now, empty if there is none."""


class RecordMissing(PreconditionFailed):
    """There is no such record."""

    reason = Reason.RECORD_NOT_FOUND

    @property
    def message(self) -> str:
        """Says so."""
        return "there is no such record"


class RecordExists(PreconditionFailed):
    """The write demanded absence, and the record is there."""

    reason = Reason.RECORD_ALREADY_EXISTS

    @property
    def message(self) -> str:
        """Says so."""
        return "the record exists"


class RecordChanged(PreconditionFailed):
    """Somebody else wrote or deleted the record since the etag was given out."""

    reason = Reason.ETAG_MISMATCH

    @property
    def message(self) -> str:
        """Says so."""
        return "the record has another etag" if self.etag else "the record is gone"


class UpdateNotApplicable(PreconditionFailed):
    """An update does not fit the value that it met."""

    reason = Reason.UPDATE_NOT_APPLICABLE

    def __init__(self, name: RecordName, etag: str = "", fault: str = "") -> None:
        super().__init__(name, etag)
        self.fault = fault
        """What was wrong, without the value; empty of a repeat, whose first answer said it."""

    @property
    def message(self) -> str:
        """Says what was wrong."""
        return self.fault or "the update did not fit the value that it met first"


class StoreNotFound(KeepstateError):
    """The sidecar has no state component of this name."""

    reason = Reason.STORE_NOT_FOUND

    def __init__(self, store: str, *, field: str = "") -> None:
        self.store = store
        self.field = field
        """The request's field that named it, where that is not always the same one."""

    @property
    def message(self) -> str:
        """Names the store."""
        return f"there is no state store {self.store!r}"


class UnsupportedByStore(KeepstateError):
    """The store cannot keep a promise that the call needs; nothing was changed."""

    reason = Reason.UNSUPPORTED_BY_STORE

    def __init__(self, store: str, capability: str, explanation: str) -> None:
        self.store = store
        self.capability = capability
        """What the store lacks, in a word or two that programs can compare, e.g. ``rollback``."""
        self.explanation = explanation

    @property
    def message(self) -> str:
        """Names the store and what it lacks."""
        return f"store {self.store!r}: {self.explanation}"


class StoreUnavailable(KeepstateError):
    """The sidecar or the store does not answer; a write was not applied."""

    reason = Reason.STORE_UNAVAILABLE

    def __init__(
        self, store: str, *, retry_after: timedelta = timedelta(seconds=1), nothing_sent: bool = False
    ) -> None:
        self.store = store
        self.retry_after = retry_after
        self.nothing_sent = nothing_sent
        """No write was sent to the store on behalf of this call."""

    @property
    def message(self) -> str:
        """Names the store."""
        return f"store {self.store!r} does not take the call" if self.store else "the sidecar does not answer"


class OutcomeUnknown(KeepstateError):
    """The write may have been applied, or may yet be."""

    reason = Reason.OUTCOME_UNKNOWN

    def __init__(self, *, for_good: bool = False) -> None:
        self.for_good = for_good
        """What would tell has been forgotten: repeating the request will not resolve it."""

    @property
    def message(self) -> str:
        """Says so."""
        if self.for_good:
            return "the record has forgotten whether the write was applied"
        return "the store did not say whether the write was applied"


class DeadlineExceeded(KeepstateError):
    """The caller's time was up before a write was sent."""

    reason = Reason.DEADLINE_EXCEEDED

    @property
    def message(self) -> str:
        """Says so."""
        return "the deadline passed; nothing was changed"


class Overloaded(KeepstateError):
    """A limit of the service is reached; nothing was changed."""

    reason = Reason.OVERLOADED

    def __init__(self, limit: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        self.limit = limit
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """Names the limit."""
        return f"limit reached: {self.limit}"


class TransactionConflict(KeepstateError):
    """The transaction met writes of others again and again; nothing was changed."""

    reason = Reason.TRANSACTION_CONFLICT

    @property
    def message(self) -> str:
        """Says so."""
        return "the transaction met other writes again and again; begin it anew"
