"""What the service last read or wrote, so that a write need not read first."""

from collections import OrderedDict

from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.sighting import Sighting

__all__ = ["Hints"]


class Hints:
    """A bounded cache of records' headers with the store's etag; the least recently used goes first.

    A hint is never believed: only a compare-and-set may rest on it, which the store refuses if the hint is wrong.
    """

    def __init__(self, *, size: int, life_ms: int) -> None:
        """Holds up to ``size`` hints, each for ``life_ms`` milliseconds.

        The life must be well under a dead record's: after a collection, Redis counts etags from 1 again, and an old
        hint could match another life.
        """
        self._size = size
        self._life_ms = life_ms
        self._hints: OrderedDict[tuple[str, str], tuple[Sighting, Instant]] = OrderedDict()

    def get(self, scope: str, key: str, now: Instant) -> Sighting | None:
        """Returns what was last seen under the key, if that is not too long ago."""
        found = self._hints.get((scope, key))
        if found is None:
            return None
        sighting, noted = found
        if now - noted > self._life_ms:
            del self._hints[scope, key]
            return None
        self._hints.move_to_end((scope, key))
        return sighting

    def note(self, scope: str, key: str, sighting: Sighting, now: Instant) -> None:
        """Remembers what was seen; only envelopes are worth it. Another program's value and an intent have no hint."""
        content = sighting.content
        if not isinstance(content, Envelope) or content.intent:
            self.forget(scope, key)
            return
        known = self._hints.get((scope, key))
        # What is read again and again is remembered once, and with it what a write upon it took apart.
        hint = known[0] if known and _same(known[0], sighting) else sighting.as_hint()
        self._hints[scope, key] = (hint, now)
        self._hints.move_to_end((scope, key))
        if len(self._hints) > self._size:
            self._hints.popitem(last=False)

    def forget(self, scope: str, key: str) -> None:
        """Forgets the key: its etag in the store is no longer known."""
        self._hints.pop((scope, key), None)


def _same(hint: Sighting, sighting: Sighting) -> bool:
    """Says whether both are of one write. The store's etag alone would not do: it may be of another life."""
    one, other = hint.content, sighting.content
    return (
        isinstance(one, Envelope)
        and isinstance(other, Envelope)
        and (hint.etag, one.version, one.write_time, one.journal)
        == (sighting.etag, other.version, other.write_time, other.journal)
    )
