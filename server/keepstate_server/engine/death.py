"""When a dead record may be collected, and who must know of it before. Pure; docs/records.md has the reasons."""

from keepstate_server.domain.times import Instant, in_milliseconds
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.settings import EngineSettings

__all__ = ["LONGEST_WAIT", "STALE", "collectable_at", "in_last_moments", "look_at"]

STALE = 5_000
"""What was worked out longer ago than this, in milliseconds, is not sent any more but worked out anew."""

LONGEST_WAIT = 1_000
"""What waited for longer than this, in milliseconds, to go out with what others write, is not sent any more."""


def collectable_at(envelope: Envelope, settings: EngineSettings) -> Instant | None:
    """Returns when the record will have been dead for its dead life. None: it may live for ever.

    That counts from its last write of any kind, too: a request that was refused lately is remembered there.
    """
    ends = [each for each in (envelope.death_time, envelope.expire_time) if each is not None]
    return Instant(max(*ends, envelope.write_time) + settings.dead_life_ms) if ends else None


def look_at(envelope: Envelope, settings: EngineSettings) -> Instant | None:
    """Returns when a collector is to look at the record. None: never.

    Of a record with an intent that is when the first of what it is and what it may become could be collected: then
    the intent must be resolved, if nobody met it before.
    """
    becomes = envelope.intent.becomes if envelope.intent else None
    times = [collectable_at(each, settings) for each in (envelope, becomes) if each is not None]
    known = [each for each in times if each is not None]
    return Instant(min(known) + 2 * settings.clock_difference_ms) if known else None


def in_last_moments(envelope: Envelope, now: Instant, settings: EngineSettings) -> bool:
    """Says whether a write upon the record that is sent now may arrive after it was collected."""
    at = collectable_at(envelope, settings)
    if at is None or envelope.intent is not None:
        return False
    sent_after = STALE + LONGEST_WAIT
    return now >= at - in_milliseconds(settings.longest_delay) - 2 * settings.clock_difference_ms - sent_after
