"""What callers ask for, and what they are answered."""

from collections.abc import Sequence

from keepstate_server.domain.names import RecordName
from keepstate_server.domain.records import Consistency, Expiry, Precondition, Record, Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen

__all__ = [
    "Answer",
    "Append",
    "Change",
    "Check",
    "Delete",
    "Deleted",
    "Found",
    "Get",
    "Increment",
    "MergePatch",
    "Operation",
    "Put",
    "Touch",
    "Touched",
    "TransactionOperation",
    "Update",
    "Updated",
    "Write",
    "Written",
]


@frozen
class Get:
    """Read a record."""

    name: RecordName
    consistency: Consistency = Consistency.STRONG
    slide_to: Instant | None = None
    """If set, the read moves the expiry there."""


@frozen
class Put:
    """Write a record: value, content type and expiry together."""

    name: RecordName
    value: bytes
    content_type: str = ""
    precondition: Precondition = None
    expiry: Expiry = None
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@frozen
class Delete:
    """Delete a record."""

    name: RecordName
    precondition: Precondition = None
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@frozen
class Touch:
    """Move a record's expiry; its etag stays."""

    name: RecordName
    precondition: Precondition = None
    expire_at: Instant | None = None
    """None: never."""
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@frozen
class Increment:
    """Adds to a number, which is kept as decimal text."""

    delta: int
    initial: int | None = None
    """What an absent record counts as; None: 0."""
    minimum: int | None = None
    """The least that the result may be; None: the least number of 64 bits."""
    maximum: int | None = None
    """The most that the result may be; None: the greatest number of 64 bits."""


@frozen
class Append:
    """Adds to the end of a JSON list."""

    items: Sequence[bytes]
    """Each one JSON value."""
    max_length: int = 0
    """How many items to keep, the newest; 0: all."""


@frozen
class MergePatch:
    """Merges into a JSON value as RFC 7396 says."""

    patch: bytes
    """One JSON value."""


Change = Increment | Append | MergePatch


@frozen
class Update:
    """Change a record's value by what it is."""

    name: RecordName
    change: Change
    precondition: Precondition = None
    expiry: Expiry = None
    request: Request | None = None
    consistency: Consistency = Consistency.STRONG


@frozen
class Check:
    """Demand something of a record that a transaction does not write."""

    name: RecordName
    precondition: Precondition


Write = Put | Delete | Touch | Update
Operation = Get | Write
TransactionOperation = Check | Put | Delete | Update


@frozen
class Found:
    """Answers a read."""

    record: Record


@frozen
class Written:
    """Answers a put, and a check that held."""

    version: Version


@frozen
class Deleted:
    """Answers a delete."""

    existed: bool


@frozen
class Touched:
    """Answers a touch."""

    version: Version
    expire_at: Instant | None


@frozen
class Updated:
    """Answers an update."""

    record: Record | None
    """As the update left it, or, of one that is repeated, as it is now; None: there is none now."""
    repeated: bool = False
    """The request had been applied before, and was not applied again."""


Answer = Found | Written | Deleted | Touched | Updated
