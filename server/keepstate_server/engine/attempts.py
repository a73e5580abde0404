"""Whether a write whose reply was lost was applied, as later reads tell."""

from collections.abc import Sequence
from enum import Enum

from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen
from keepstate_server.engine.draft import Result
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.trail import WriteId
from keepstate_server.stores.base import Fate, StoreEtag

__all__ = ["Attempt", "Verdict", "judge"]


@frozen
class Attempt:
    """A compare-and-set that was sent."""

    write: WriteId
    base: WriteId | None
    """The write that stood under the key, upon which it was conditional; None: nothing stood there."""
    etag: StoreEtag | None
    """The store's etag that it named; None: that there be none."""
    sent_at: Instant
    results: Sequence[Result]
    """What the operations are to be answered if it was applied."""
    fate: Fate = Fate.UNCERTAIN
    """What the store said of it."""

    def may_yet_arrive(self, sighting: Sighting) -> bool:
        """Says whether the store may still apply it."""
        return self.fate is Fate.UNCERTAIN and self.would_hold(sighting)

    def would_hold(self, sighting: Sighting) -> bool:
        """Says whether what it was conditional on still stands."""
        # The write alone would not do: a check stores its record again to the letter, under another etag.
        return self.base == sighting.base and self.etag == sighting.etag


class Verdict(Enum):
    """What a read says of an attempt."""

    APPLIED = "applied"
    NOT_APPLIED = "not applied"
    """Not so far."""
    UNKNOWN = "unknown"


def judge(attempt: Attempt, sighting: Sighting, now: Instant, settings: EngineSettings) -> Verdict:
    """Says what became of ``attempt``, given what stands under its key at ``now``."""
    trail = sighting.trail(now, settings.dead_life_ms // 2)
    # Also where the store said "refused": a client of Redis that sends again by itself hears that of its second try.
    if trail.names(attempt.write):
        return Verdict.APPLIED
    if attempt.fate is Fate.REFUSED or attempt.would_hold(sighting):
        return Verdict.NOT_APPLIED
    if attempt.base is not None and trail.reaches(attempt.base):
        return Verdict.NOT_APPLIED
    if trail.remembers_since(Instant(attempt.sent_at - 2 * settings.clock_difference_ms)):
        return Verdict.NOT_APPLIED
    return Verdict.UNKNOWN
