"""Several records as of one moment."""

import random
from collections.abc import Collection, Mapping

from keepstate_server.domain.errors import DeadlineExceeded, StoreUnavailable
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.envelope import Location
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting

__all__ = ["snapshot"]


async def snapshot(
    locations: Collection[Location],
    deadline: Deadline,
    *,
    resolver: Resolver,
    settings: EngineSettings,
    clock: Clock,
    source: random.Random,
) -> tuple[Mapping[Location, Sighting], Instant]:
    """Returns what stood in all ``locations`` at one moment, and that moment.

    What two readings find alike stood there from the end of the first to the begin of the second: no state of a record
    ever comes back under the name of an earlier one.

    Raises:
        StoreUnavailable: a store does not answer, or the records change faster than they can be read.
        DeadlineExceeded: the time is up.
    """
    stores = sorted({at.store for at in locations})
    before: Mapping[Location, Sighting] | None = None
    for tries in range(settings.snapshot_attempts):
        if not deadline.may_begin:
            raise DeadlineExceeded
        if tries % 2 == 0:  # not between the two readings of a pair: others would have the more time to write
            await deadline.sleep(pause(tries // 2, source))
        began = clock.now()
        found = await resolver.read(locations, deadline)
        if found is None:
            raise StoreUnavailable(stores[0], nothing_sent=True)
        if before is not None and all(_same(before[at], found[at]) for at in locations):
            return found, began
        before = found
    raise StoreUnavailable(stores[0], nothing_sent=True)


def _same(first: Sighting, second: Sighting) -> bool:
    return first.base == second.base
