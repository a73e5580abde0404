"""What callers ask for, and what they are answered."""

from dataclasses import dataclass

from keepstate_server.domain.names import RecordName
from keepstate_server.domain.records import Consistency, Expiry, Precondition, Record, Request, Version
from keepstate_server.domain.times import Instant

__all__ = [
    "Answer",
    "Check",
    "Delete",
    "Deleted",
    "Found",
    "Get",
    "Operation",
    "Put",
    "Touch",
    "Touched",
    "TransactionOperation",
    "Write",
    "Written",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Get:
    """Read a record."""

    name: RecordName
    consistency: Consistency = Consistency.STRONG
    slide_to: Instant | None = None
    """If set, the read moves the expiry there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """Write a record: value, content type and expiry together."""

    name: RecordName
    value: bytes
    content_type: str = ""
    precondition: Precondition = None
    expiry: Expiry = None
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Delete:
    """Delete a record."""

    name: RecordName
    precondition: Precondition = None
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Touch:
    """Move a record's expiry; its etag stays."""

    name: RecordName
    precondition: Precondition = None
    expire_at: Instant | None = None
    """None: never."""
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Demand something of a record that a transaction does not write."""

    name: RecordName
    precondition: Precondition


Write = Put | Delete | Touch
Operation = Get | Write
TransactionOperation = Check | Put | Delete


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Answers a read."""

    record: Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Answers a put, and a check that held."""

    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Deleted:
    """Answers a delete."""

    existed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Touched:
    """Answers a touch."""

    version: Version
    expire_at: Instant | None


Answer = Found | Written | Deleted | Touched
