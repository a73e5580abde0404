"""Operations on records of one store, on any keys: every write a compare-and-set, every lost reply looked into.

docs/records.md describes the mechanics and their reasons.
"""

import random
from collections.abc import Callable, Iterator, Sequence

import structlog

from keepstate_server.domain.errors import DeadlineExceeded, OutcomeUnknown, StoreUnavailable
from keepstate_server.domain.times import Clock
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.envelope import tombstone
from keepstate_server.engine.group import Group, new_write
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.sighting import Sighting, seen
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Outcome, ReadResult, StateStore, Stored

__all__ = ["Writer", "pause"]

_log = structlog.get_logger(__name__)


def pause(tries: int, source: random.Random) -> float:
    """Returns how many seconds to wait after ``tries`` refusals or failures: from nothing to 1 s, at random."""
    return source.uniform(0, min(0.002 * 2**tries, 1.0)) if tries > 1 else 0.0


# What one call of the sidecar writes at most: enough to share its cost, too little to hold others up.
_CALL_BYTES = 1024 * 1024


def _pieces(
    planned: Sequence[tuple[Group, CompareAndSet]],
) -> Iterator[Sequence[tuple[Group, CompareAndSet]]]:
    """Yields ``planned`` in order, in pieces that one call carries."""
    piece: list[tuple[Group, CompareAndSet]] = []
    size = 0
    for group, write in planned:
        if piece and size + len(write.data) > _CALL_BYTES:
            yield piece
            piece, size = [], 0
        piece.append((group, write))
        size += len(write.data)
    yield piece


class Writer:
    """Carries groups of operations to one store until each has its answers."""

    def __init__(self, store: StateStore, *, hints: Hints, clock: Clock, source: random.Random) -> None:
        """Works on ``store``; ``hints`` may be shared between stores, ``source`` makes identifiers and pauses."""
        self._store = store
        self._hints = hints
        self._clock = clock
        self._source = source

    async def run(
        self, groups: Sequence[Group], deadline: Deadline, settled: Callable[[str], None] = lambda _: None
    ) -> None:
        """Works until every group has results. The groups' keys are distinct. Raises nothing for what a store does.

        ``settled`` is told each key as soon as its group has results: it may be before the others have.
        """
        self._use_hints(groups)
        tries = 0
        while todo := [group for group in groups if group.results is None]:
            for group in todo:
                self._give_up_in_time(group, deadline)
            await self._read([group for group in todo if group.results is None and group.sighting is None], deadline)
            await self._adopt(todo, deadline)
            await self._write(todo, deadline)
            for group in todo:
                if group.results is not None:
                    settled(group.key)
            if any(group.results is None and (group.sent or group.uncertain) for group in todo):
                tries += 1
                await deadline.sleep(pause(tries, self._source))

    def _use_hints(self, groups: Sequence[Group]) -> None:
        now = self._clock.now()
        for group in groups:
            if not group.must_read:
                group.sighting = self._hints.get(self._store.scope, group.key, now)

    def _give_up_in_time(self, group: Group, deadline: Deadline) -> None:
        """Answers a group for which nothing more may be sent: the time is up, or the caller has gone."""
        if not deadline.may_begin:
            group.fail(OutcomeUnknown() if group.uncertain else DeadlineExceeded())

    async def _read(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Reads each group's key. One that cannot be read keeps its question if it must know, else it fails."""
        # One call for each way of reading: as a rule that is one call.
        for consistency, sure in dict.fromkeys((group.consistency, group.sure) for group in groups):
            asking = {each.key: each for each in groups if (each.consistency, each.sure) == (consistency, sure)}
            found = await self._store.read(
                tuple(asking), consistency=consistency, sure=sure, timeout=deadline.remaining
            )
            for key, group in asking.items():
                self._take(group, found[key])

    def _take(self, group: Group, found: ReadResult) -> None:
        now = self._clock.now()
        if isinstance(found, Failure):
            _log.warning("read failed", store=self._store.name, detail=found.detail)
            if not group.uncertain:
                group.fail(StoreUnavailable(self._store.name, nothing_sent=not group.sent))
            return
        sighting = seen(found)
        self._hints.note(self._store.scope, group.key, sighting, now)
        group.see(sighting, now)

    async def _adopt(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Makes other programs' values ready to be written over, if their preconditions hold."""
        for group in groups:
            raw, sighting = group.raw, group.sighting
            if group.results is not None or raw is None or sighting is None or sighting.etag is None:
                continue
            now = self._clock.now()
            if group.plan(new_write(self._source), now, tells_expiry=self._store.tells_expiry) is None:
                continue
            group.withdraw()
            failure = await self._store.prepare(timeout=deadline.remaining)
            if failure is not None:
                self._not_ready([group], failure)
                continue
            if not deadline.may_begin:
                self._give_up_in_time(group, deadline)
                continue
            found = await self._store.adopt(
                group.key,
                Stored(data=raw.value, etag=sighting.etag, expire_time=raw.expire_time),
                tombstone=tombstone(new_write(self._source), now),
                timeout=deadline.remaining,
            )
            if not isinstance(found, Failure):
                group.adopted = raw
            self._take(group, found)

    async def _write(self, groups: Sequence[Group], deadline: Deadline) -> None:
        now = self._clock.now()
        planned = []
        for group in groups:
            if group.results is None and group.sighting is not None:
                write = group.plan(new_write(self._source), now, tells_expiry=self._store.tells_expiry)
                if write is not None:
                    planned.append((group, write))
        if not planned:
            return
        asking = [group for group, _ in planned]
        failure = await self._store.prepare(timeout=deadline.remaining)
        if failure is not None:
            for group in asking:
                group.withdraw()
            self._not_ready(asking, failure)
            return
        for piece in _pieces(planned):
            await self._send(piece, deadline)

    async def _send(self, planned: Sequence[tuple[Group, CompareAndSet]], deadline: Deadline) -> None:
        if not deadline.may_begin:
            for group, _ in planned:
                group.withdraw()
                self._give_up_in_time(group, deadline)
            return
        try:
            outcomes = await self._store.write([write for _, write in planned], timeout=deadline.remaining)
        except Exception:  # noqa: BLE001 - a fault of ours, and what was sent before it is nobody's knowledge
            _log.exception("write broke off", store=self._store.name)
            outcomes = [Outcome(fate=Fate.UNCERTAIN)] * len(planned)
        for (group, write), outcome in zip(planned, outcomes, strict=True):
            self._conclude(group, write.key, group.conclude(outcome), fate=outcome.fate, detail=outcome.detail)

    def _conclude(self, group: Group, key: str, left: Sighting | None, *, fate: Fate, detail: str) -> None:
        if left is None:
            self._hints.forget(self._store.scope, key)
        else:
            self._hints.note(self._store.scope, key, left, self._clock.now())
        if fate in (Fate.UNCERTAIN, Fate.FAILED):
            _log.warning("write not confirmed", store=self._store.name, fate=fate.value, detail=detail)
        if fate is Fate.FAILED and not group.uncertain:
            group.fail(StoreUnavailable(self._store.name))

    def _not_ready(self, groups: Sequence[Group], failure: Failure) -> None:
        """Fails the groups for which nothing was sent: the store is not known well enough to be written."""
        _log.warning("store not ready", store=self._store.name, detail=failure.detail)
        for group in groups:
            if not group.uncertain:
                group.fail(StoreUnavailable(self._store.name, nothing_sent=not group.sent))
