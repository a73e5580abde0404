"""What was asked and answered in one run, as the checker reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
)
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Change, Deleted
from keepstate_server.domain.records import Precondition
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from tests.simulation.applied import Applied

__all__ = ["Attempt", "Call", "Claim", "History", "Kind", "Raw", "Spec", "claim_of", "record"]


def record(key: str, store: str = "sim") -> RecordName:
    """Returns the name of a record."""
    return RecordName(store=store, namespace="", key=key)


class Kind(Enum):
    """What one operation does."""

    GET = "get"
    SLIDE = "slide"
    PUT = "put"
    DELETE = "delete"
    TOUCH = "touch"
    INCREMENT = "increment"
    APPEND = "append"
    MERGE = "merge"
    CHECK = "check"
    SNAPSHOT = "snapshot"
    """One of several records that are read at one moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One operation, before it is sent."""

    name: RecordName
    kind: Kind
    value: bytes = b""
    """Unique in its history."""
    change: Change | None = None
    """Of an update."""
    precondition: Precondition = None
    ttl: int | None = None
    """Milliseconds."""
    keep: bool = False

    def __str__(self) -> str:
        demand = self.precondition.hex()[:8] if isinstance(self.precondition, bytes) else self.precondition
        parts = (
            self.kind.value,
            f"{self.name.store}/{self.name.key}",
            self.value.decode(),
            str(self.change or ""),
            f"if {demand}" if demand else "",
            f"ttl {self.ttl}" if self.ttl else "keep" if self.keep else "",
        )
        return " ".join(filter(None, parts))


@dataclass(kw_only=True, slots=True)
class Attempt:
    """One sending of a call."""

    start: float
    instance: int
    repeated: bool = False
    end: float | None = None
    results: Sequence[Result] | None = None
    """None: nobody heard any."""
    expiries: Sequence[Instant | None] = ()
    """What each operation's ttl came to, by the clock of the instance. Empty: the call never got there."""
    unsure: int = 0
    """By how many milliseconds that may be later: nothing, where the instance's clock was seen."""


@dataclass(kw_only=True, slots=True)
class Call:
    """One or several operations that a client sent together, all its attempts."""

    number: int
    """In the history."""
    client: int
    specs: Sequence[Spec]
    transaction: bool = False
    request: int | None = None
    """The client's number of the first operation's request; None: it carries none."""
    first_sent: Instant = field(default=Instant(0))
    """By the client's clock."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def snapshot(self) -> bool:
        return self.specs[0].kind is Kind.SNAPSHOT

    @property
    def reads(self) -> bool:
        """Whether it changes nothing: then each attempt is a call of its own."""
        return all(spec.kind in (Kind.GET, Kind.CHECK, Kind.SNAPSHOT) for spec in self.specs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """What another program had written before anything else."""

    name: RecordName
    value: bytes
    expires: Instant | None
    told: bool
    """Whether the store tells its expiry. Where it does not, a first write clears it, even one that then fails."""


@dataclass(kw_only=True, slots=True)
class History:
    """All of one run."""

    calls: list[Call] = field(default_factory=list)
    raw: list[Raw] = field(default_factory=list)
    applied: Applied = field(default_factory=Applied)
    """What the stores applied, whoever heard of that."""


class Claim(Enum):
    """What an answer says."""

    YES = "yes"
    NO = "no"
    """Refused, or nothing there: it changed nothing."""
    NOTHING = "nothing"
    """This attempt changed nothing, and nothing is said of the record."""
    UNKNOWN = "unknown"
    BROKEN = "broken"
    """Not to be answered to anything that is asked here."""


def claim_of(result: Result | None) -> Claim:
    """Says what ``result`` claims."""
    match result:
        case None | OutcomeUnknown():
            return Claim.UNKNOWN
        case PreconditionFailed() | Deleted(existed=False):
            return Claim.NO
        case StoreUnavailable() | DeadlineExceeded() | TransactionConflict() | Overloaded() | UnsupportedByStore():
            return Claim.NOTHING
        case KeepstateError():
            return Claim.BROKEN
        case _:
            return Claim.YES
