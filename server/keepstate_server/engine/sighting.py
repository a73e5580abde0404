"""What is known of a key: what was read there, or what the service itself left there."""

import hashlib
from dataclasses import replace

from keepstate_server.domain.records import VERSION_BYTES, Record, Version
from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen
from keepstate_server.engine.envelope import Decision, Envelope, Intent, decode
from keepstate_server.engine.trail import SHORT_BYTES, Trail, WriteId, write_of
from keepstate_server.stores.base import Absence, Stored, StoreEtag

__all__ = ["NOTHING", "Raw", "Sighting", "seen"]


@frozen
class Raw:
    """A value that another program wrote through Dapr."""

    value: bytes
    version: Version
    expire_time: Instant | None
    shared: bool = False
    """That program goes on writing here: what the record remembered before may be gone."""


@frozen
class Sighting:
    """What stands under a key, as of one read or one write of our own."""

    etag: StoreEtag | None = None
    """The store's etag; None: nothing stands there."""
    content: Envelope | Raw | None = None
    hinted: bool = False
    """Not read for this operation but remembered, without the value: only a write may rest on it."""

    @property
    def perhaps_nothing(self) -> bool:
        """Whether nothing was found by a read that was not sure of it."""
        return self.hinted and self.content is None

    @property
    def intent(self) -> Intent | None:
        """A transaction's, of which the outcome must be known before anything can be said of the record."""
        return self.content.intent if isinstance(self.content, Envelope) else None

    def carries(self, transaction: WriteId) -> bool:
        """Says whether the intent of ``transaction`` stands here."""
        return self.intent is not None and self.intent.transaction == transaction

    def settled(self, decision: Decision, now: Instant) -> "Sighting":
        """Returns this as ``decision`` leaves it: a compare-and-set upon it also replaces the intent."""
        assert isinstance(self.content, Envelope)
        return replace(self, content=self.content.settled(decision, now))

    @property
    def base(self) -> WriteId | None:
        """The write that a compare-and-set upon this is conditional on; None where nothing stands."""
        match self.content:
            case Envelope() as envelope:
                return envelope.last_write
            case Raw() as raw:
                return write_of(raw.version)
            case None:
                return None

    def record(self, now: Instant) -> Record | None:
        """Returns the record that lives here at ``now``."""
        match self.content:
            case Envelope() as envelope if envelope.lives(now):
                return Record(
                    value=envelope.value,
                    content_type=envelope.content_type,
                    version=envelope.version,
                    create_time=envelope.create_time,
                    update_time=envelope.update_time,
                    expire_time=envelope.expire_time,
                )
            case Raw() as raw if raw.expire_time is None or raw.expire_time > now:
                return Record(
                    value=raw.value,
                    content_type="",
                    version=raw.version,
                    create_time=None,
                    update_time=None,
                    expire_time=raw.expire_time,
                )
            case _:
                return None

    def expired_between(self, then: Instant, now: Instant) -> bool:
        """Says whether a record that lived here ``then`` has expired by ``now``."""
        return self.record(then) is not None and self.record(now) is None

    def trail(self, now: Instant, half_dead_life: int) -> Trail:
        """Returns what is remembered here of past writes.

        Where nothing stands, all that is older than half a dead record's life (milliseconds) is forgotten: an earlier
        life may have been collected. Another program's value has forgotten nothing, as long as it was there before all
        writes of ours; in a shared store it may have come later, and has forgotten everything.
        """
        match self.content:
            case Envelope() as envelope:
                return envelope.trail
            case Raw() as raw:
                return Trail(earlier=raw.version[:SHORT_BYTES], forgotten=now if raw.shared else Instant(0))
            case None:
                return Trail(forgotten=Instant(now - half_dead_life))

    def as_hint(self) -> "Sighting":
        """Returns this to be remembered: without the value, which would take memory. Only of envelopes."""
        assert isinstance(self.content, Envelope)
        return Sighting(etag=self.etag, content=self.content.header(), hinted=True)


NOTHING = Sighting()
"""There is nothing."""

_PERHAPS_NOTHING = Sighting(hinted=True)


def seen(found: Stored | Absence, *, shared: bool = False) -> Sighting:
    """Returns what a read showed; ``shared``: of a store in which other programs go on writing the same keys."""
    if isinstance(found, Absence):
        return NOTHING if found is Absence.CERTAIN else _PERHAPS_NOTHING
    stored = found
    if envelope := decode(stored.data):
        return Sighting(etag=stored.etag, content=envelope)
    # The store's etag alone would not do: on Redis it starts again with each life of the key.
    digest = hashlib.sha256(stored.etag.encode() + b"\0" + stored.data).digest()
    version = Version(digest[:VERSION_BYTES])
    raw = Raw(value=stored.data, version=version, expire_time=stored.expire_time, shared=shared)
    return Sighting(etag=stored.etag, content=raw)
