"""What becomes of one call between a sidecar and a store: nothing, mostly; else it is lost, late or in doubt."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import grpc

from keepstate_server.stores.sidecar import SidecarError, StateItem
from tests.simulation.stores import SimStore

__all__ = ["Network", "Outage", "Passing", "Way"]

# How much less often something happens to a read than to a write.
_READS_FAIL = 0.3

# What the texts of a store look like when its connection fails; the first three may come after it was applied.
_CAUSES = (
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: i/o timeout",
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: read: connection reset by peer",
    "unexpected EOF",
)
_REFUSED_CONNECTION = "dial tcp 172.17.0.2:6379: connect: connection refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """A while in which a store, or an instance's sidecar, does not work."""

    begin: float
    end: float
    paused: bool
    """Requests wait for its end; else they fail at once."""
    store: str = ""
    """The store that is gone."""
    sidecar: int | None = None
    """The sidecar that is gone; None: it is the store."""

    def holds(self, now: float) -> bool:
        return self.begin <= now < self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class Passing:
    """One call, as it leaves a sidecar for a store."""

    instance: int
    store: SimStore
    what: str
    """get, get_bulk, save, expire, transact or delete."""
    keys: tuple[str, ...]
    items: tuple[StateItem, ...] = ()
    """What it writes."""

    @property
    def writes(self) -> bool:
        return self.what not in ("get", "get_bulk")

    def __str__(self) -> str:
        keys = [f"{item.key}@{item.etag}" for item in self.items] or self.keys
        return f"s{self.instance} {self.store.name} {self.what} {' '.join(keys)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """What happens to one call on its way."""

    mishap: str | None = None
    error: SidecarError | None = None
    """What the caller hears if something happens; None then: nothing, until his time is up."""
    there: float | None = None
    """When the request arrives; None: never."""
    back: float
    """When the caller hears of the mishap; without one, how long the reply takes."""

    @property
    def heard_after(self) -> float:
        if self.mishap is None:
            return (self.there or 0.0) + self.back
        return self.back if self.error else math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How often what happens to one call, and how long things take; seconds."""

    latency: float = 0.004
    lost: float = 0.0
    """The request is lost."""
    unheard: float = 0.0
    """The reply is lost."""
    late: float = 0.0
    """The caller gets an error, and the request is applied later, up to ``longest_delay`` after it was sent."""
    full: float = 0.0
    """Redis has no room for a write."""
    broken_off: float = 0.0
    """A bulk read breaks off in the middle."""
    slow: float = 0.0
    """The request or the reply takes up to some seconds."""
    outages: tuple[Outage, ...] = ()
    longest_delay: float = 30.0

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.unheard or self.late or self.broken_off or self.slow or self.outages)

    def way(self, passing: Passing, now: float, chance: random.Random) -> Way:
        """Returns what happens to a call that is sent at ``now``."""
        there, back = chance.uniform(0.0001, self.latency), chance.uniform(0.0001, self.latency)
        for outage in self.outages:
            if outage.sidecar is None and outage.store == passing.store.name and outage.holds(now):
                return self._in_outage(passing, outage, now, back, chance)
        if chance.random() < self.slow:
            long = chance.uniform(0, 4.0)
            return Way(there=long, back=back) if chance.random() < 0.5 else Way(there=there, back=long)
        if passing.writes and chance.random() < self.full and (full := passing.store.full(passing.what)):
            return Way(mishap="writes to a full store", error=full, back=there + back)
        roll = chance.random()
        if not passing.writes:
            roll /= _READS_FAIL  # a call that could not read has shown nothing
        if roll >= self.lost + self.unheard + self.late:
            return Way(there=there, back=back)
        return self._mishap(passing, roll, there, back, chance)

    def _mishap(self, passing: Passing, roll: float, there: float, back: float, chance: random.Random) -> Way:
        error = _heard(passing, chance.choice(_CAUSES), chance)
        soon = chance.choice((back, 0.2, 3.0))
        if roll < self.lost:
            return Way(mishap="requests lost", error=error, back=soon)
        if roll < self.lost + self.unheard or not passing.writes:
            return Way(mishap="replies lost", error=error, there=there, back=there + soon)
        delay = chance.choice((0.05, 1.0, 5.0, self.longest_delay)) * chance.random()
        late = soon + delay if soon + delay < self.longest_delay else delay
        return Way(mishap="late deliveries", error=error, there=late, back=soon)

    def _in_outage(self, passing: Passing, outage: Outage, now: float, back: float, chance: random.Random) -> Way:
        if not outage.paused:
            error = passing.store.gone(_REFUSED_CONNECTION, passing.what)
            return Way(mishap="calls while gone", error=error, back=back)
        wait = outage.end - now + chance.uniform(0, self.latency)
        arrives = wait if wait < self.longest_delay and chance.random() < 0.7 else None
        return Way(mishap="calls while paused", error=_heard(passing, _CAUSES[0], chance), there=arrives, back=3 + back)


def _heard(passing: Passing, cause: str, chance: random.Random) -> SidecarError | None:
    """Returns what a caller hears whose call was lost on one of its hops. None: nothing until his time is up."""
    roll = chance.random()
    if roll < 0.25:
        return None
    if roll < 0.45:
        return SidecarError(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    return passing.store.gone(cause, passing.what)
