"""The one kind of store that the engine sees: bytes under keys, changed by compare-and-set alone."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import NewType, Protocol

from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen

__all__ = [
    "Absence",
    "CompareAndSet",
    "Failure",
    "Fate",
    "Isolation",
    "Lack",
    "Outcome",
    "ReadResult",
    "StateStore",
    "StoreEtag",
    "Stored",
    "Stores",
]

StoreEtag = NewType("StoreEtag", str)
"""The store's own etag, never shown to callers. Never empty: a missing key has none."""


@frozen
class Stored:
    """What stands under a key."""

    data: bytes
    etag: StoreEtag
    expire_time: Instant | None = None
    """When the store itself will remove it, where the store tells."""


class Absence(Enum):
    """There is nothing under a key."""

    CERTAIN = "certain"
    LIKELY = "likely"
    """So it seems; but a query that broke off in the middle looks the same on some stores."""


@frozen
class Failure:
    """A key could not be read."""

    detail: str
    """What the sidecar said, for the log alone."""


ReadResult = Stored | Absence | Failure


@frozen
class Lack:
    """Why a store is read and never written: something that every write needs is not there."""

    capability: str
    """What is missing, in a word or two that programs can compare, e.g. ``compare-and-set``."""
    explanation: str


@frozen
class CompareAndSet:
    """Write ``data`` under ``key`` if the store's etag there is still ``etag``."""

    key: str
    etag: StoreEtag | None
    """None: if there is nothing under the key."""
    data: bytes
    keep_for: timedelta | None
    """How long the store must keep it at least. None: for ever."""
    consistency: Consistency = Consistency.STRONG
    alone: bool = False
    """It came back from a call that failed, perhaps for what others wrote in it: it goes out by itself now."""


class Fate(Enum):
    """What became of a compare-and-set, as far as the store's answer tells."""

    APPLIED = "applied"
    REFUSED = "refused"
    """Certainly not applied, and it will not be: the etag was another."""
    FAILED = "failed"
    """Certainly not applied, and it will not be: it never reached the store."""
    PARTLY = "partly"
    """It was applied or refused, as others of the same call were, and is not under way any more: a read can tell."""
    UNCERTAIN = "uncertain"
    """It may have been applied, or may yet be; or refused: only a read can tell."""


@frozen
class Outcome:
    """The fate of one compare-and-set."""

    fate: Fate
    next_etag: StoreEtag | None = None
    """The store's etag after it was applied, where it can be known without a read."""
    detail: str = ""
    """What the sidecar said, for the log alone."""
    kept_back: bool = False
    """It failed because it waited too long for its call, and was not sent: what was worked out may be out of date."""


class Isolation(Enum):
    """What holds of several writes that go out in one call."""

    ROLLBACK = "rollback"
    """All are applied or none: ``transact`` is offered."""
    STEP = "step"
    """All are tried at one moment, but one that is refused does not undo the others."""
    NONE = "none"
    """Each is tried for itself, at a moment of its own."""


class StateStore(Protocol):
    """A state store behind the sidecar.

    Timeouts are seconds for the whole call. No method raises for what a store or a sidecar does: failures are values.
    """

    @property
    def name(self) -> str:
        """The Dapr component's name."""
        ...

    @property
    def scope(self) -> str:
        """Names what is behind the component now. When it changes, another store may be, with etags of its own."""
        ...

    @property
    def isolation(self) -> Isolation:
        """What holds of several writes in one call. Certain only after ``prepare``."""
        ...

    @property
    def lack(self) -> Lack | None:
        """Why nothing may be written; None: as far as is known, everything may. Certain only after ``prepare``."""
        ...

    @property
    def removes_dead(self) -> bool:
        """Whether the store itself removes what was written with ``keep_for``. Else it must be deleted."""
        ...

    @property
    def tells_expiry(self) -> bool:
        """Whether a read shows the expiry that another program gave a value."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other programs go on writing the keys that callers write here."""
        ...

    async def read(
        self, keys: Sequence[str], *, consistency: Consistency, sure: bool, timeout: float
    ) -> Mapping[str, ReadResult]:
        """Reads each key once, in as few calls as can be; ``sure``: so that every absence is certain."""
        ...

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        """Performs each write independently of the others; the keys are distinct. Outcomes come in the order given."""
        ...

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        """Performs one write, after which the store itself removes the record when ``keep_for`` has passed.

        Only for what the service never writes over: on some stores that removal may strike a later record.
        """
        ...

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        """Performs all writes or none; the keys are distinct. Only where the isolation is a rollback."""
        ...

    async def delete(self, etags: Mapping[str, StoreEtag], *, timeout: float) -> bool:
        """Deletes each key if the store's etag is still the one given. Says whether all are certainly gone.

        Where it says no, any of them may be gone, or may yet go.
        """
        ...

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        """Takes from another program's value what would outlive a compare-and-set of ours: an expiry that is not seen.

        Returns what stands under the key afterwards. Where the value went away meanwhile, that may be ``tombstone``.
        """
        ...

    async def prepare(self, *, timeout: float) -> Failure | Lack | None:
        """Learns from the live store what must be known before the first write; free once it is known.

        Nothing may be written unless the answer is None. A failure may be gone the next time; a lack is the store's.
        """
        ...


class Stores(Protocol):
    """Where a store is found by its name."""

    async def find(self, name: str, *, timeout: float) -> StateStore:
        """Returns the store.

        Raises:
            StoreNotFound: the sidecar has none of this name.
            StoreUnavailable: the sidecar does not answer.
        """
        ...
