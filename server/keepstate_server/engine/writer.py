"""Operations on records of one store, on any keys: every write a compare-and-set, every lost reply looked into.

docs/records.md describes the mechanics and their reasons.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence

import structlog

from keepstate_server.domain.errors import StoreUnavailable, UnsupportedByStore
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.death import STALE
from keepstate_server.engine.envelope import Location, tombstone
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.sighting import Sighting, seen
from keepstate_server.engine.writes import new_write, pieces
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Lack, Outcome, ReadResult, StateStore, Stored

__all__ = ["Writer"]

_log = structlog.get_logger(__name__)


# How often a group waits for a record to be collected, or for others to write it just then: milliseconds in all.
_PUT_OFF = 5

# An intent that is older than this, in milliseconds, was perhaps left by a coordinator that died.
_LEFT_OVER = 1000


class Writer:
    """Carries groups of operations to one store until each has its answers."""

    def __init__(
        self,
        store: StateStore,
        *,
        hints: Hints,
        resolver: Resolver,
        noting: Noting,
        clock: Clock,
        source: random.Random,
    ) -> None:
        """Works on ``store``; ``hints`` may be shared between stores, ``source`` makes identifiers and pauses."""
        self._store = store
        self._noting = noting
        self._resolver = resolver
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
        while todo := [group for group in groups if not group.done]:
            for group in todo:
                group.give_up_in_time()
            await self._read([group for group in todo if not group.done and group.sighting is None], deadline)
            await self._adopt(todo, deadline)
            await self._write(todo, deadline)
            for group in todo:
                if group.done:
                    settled(group.key)
            if any(not group.done and (group.sent or group.uncertain or group.put_off) for group in todo):
                tries += 1
                await deadline.sleep(pause(tries, self._source))

    def _use_hints(self, groups: Sequence[Group]) -> None:
        now = self._clock.now()
        for group in groups:
            if not group.must_read:
                hint = self._hints.get(self._store.scope, group.key, now)
                group.sighting = None if hint and self._noting.collects(hint) else hint

    async def _read(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Reads each group's key. One that cannot be read keeps its question if it must know, else it fails."""
        # One call for each way of reading: as a rule that is one call.
        for consistency, sure in dict.fromkeys((group.consistency, group.sure) for group in groups):
            asking = {each.key: each for each in groups if (each.consistency, each.sure) == (consistency, sure)}
            for group in asking.values():
                group.asked_at = self._clock.now()
            found = await self._store.read(
                tuple(asking), consistency=consistency, sure=sure, timeout=deadline.remaining
            )
            await self._take(asking, found, deadline)

    async def _take(self, groups: Mapping[str, Group], found: Mapping[str, ReadResult], deadline: Deadline) -> None:
        """Shows each group what was found under its key, once no transaction's intent stands in the way."""
        for key, group in groups.items():
            if isinstance(failure := found[key], Failure):
                _log.warning("read failed", store=self._store.name, detail=failure.detail)
                self._unread(group)
        sightings = {
            key: seen(each, shared=self._store.shared) for key, each in found.items() if not isinstance(each, Failure)
        }
        if any(sighting.intent for sighting in sightings.values()):
            sightings = await self._settle(groups, sightings, deadline)
        now = self._clock.now()
        for key, sighting in sightings.items():
            self._hints.note(self._store.scope, key, sighting, now)
            groups[key].see(sighting, now)

    async def _settle(
        self, groups: Mapping[str, Group], sightings: Mapping[str, Sighting], deadline: Deadline
    ) -> dict[str, Sighting]:
        name, now = self._store.name, self._clock.now()
        met = {Location(name, key): sighting for key, sighting in sightings.items()}
        # The others of a batch shall have their time, too, where a transaction cannot be resolved.
        settled = await self._resolver.settle(met, deadline if len(met) == 1 else deadline.half())
        left = {
            at: settled[at]
            for at, sighting in met.items()
            # Who writes replaces the intent by that, and for a young one its coordinator is about to.
            if sighting.intent
            and at in settled
            and groups[at.key].reads_only
            and now - sighting.intent.time > _LEFT_OVER
        }
        if left:
            await self._resolver.replace(left, deadline.half())
        for key, group in groups.items():
            if key in sightings and Location(name, key) not in settled:
                _log.warning("transaction not resolved", store=name)
                self._unread(group)
        return {at.key: sighting for at, sighting in settled.items()}

    def _unread(self, group: Group) -> None:
        """Fails a group whose record cannot be read, unless it must know what became of what it sent."""
        if not group.uncertain:
            group.fail(StoreUnavailable(self._store.name, nothing_sent=not group.sent))

    async def _adopt(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Makes other programs' values ready to be written over, if their preconditions hold."""
        raw = [group for group in groups if not group.done and group.raw is not None]
        if raw:
            await asyncio.gather(*(self._adopt_one(group, deadline) for group in raw))

    async def _adopt_one(self, group: Group, deadline: Deadline) -> None:
        raw, sighting = group.raw, group.sighting
        if raw is None or sighting is None or sighting.etag is None:
            return
        now = self._clock.now()
        if group.plan(new_write(self._source), now, tells_expiry=self._store.tells_expiry) is None:
            return
        group.withdraw()
        failure = await self._store.prepare(timeout=deadline.remaining)
        if failure is not None:
            self._not_ready([group], failure)
            return
        if not deadline.may_begin:
            group.give_up_in_time()
            return
        found = await self._store.adopt(
            group.key,
            Stored(data=raw.value, etag=sighting.etag, expire_time=raw.expire_time),
            tombstone=tombstone(new_write(self._source), now),
            timeout=deadline.remaining,
        )
        if not isinstance(found, Failure):
            group.adopted = raw
        await self._take({group.key: group}, {group.key: found}, deadline)

    async def _write(self, groups: Sequence[Group], deadline: Deadline) -> None:
        now = self._clock.now()
        asking: dict[str, Group] = {}
        plans = {}
        for group in groups:
            if not group.done and group.sighting is not None:
                # What expired while its reading was on the way back did exist when it was asked for.
                moment = group.asked_at if group.reads_only else now
                plan = group.plan(new_write(self._source), moment, tells_expiry=self._store.tells_expiry)
                if plan is not None:
                    asking[group.key] = group
                    plans[group.key] = plan
        if not plans:
            return
        failure = await self._store.prepare(timeout=deadline.remaining)
        ready = {} if failure else await self._noting.ready(plans, deadline)
        left = [group for key, group in asking.items() if key not in ready and not self._put_off(group, failure)]
        self._not_ready(left, failure or Failure(detail="a dead record is being collected, or cannot be noted"))
        for piece in pieces([(asking[key], asking[key].compare_and_set(envelope)) for key, envelope in ready.items()]):
            await self._send(piece, now, deadline)

    def _put_off(self, group: Group, failure: Failure | Lack | None) -> bool:
        """Takes back a plan that may not be sent; says whether to look again, since the record is collected now."""
        group.withdraw()
        seen_dying = failure is None and group.sighting is not None and self._noting.collects(group.sighting)
        if not seen_dying or group.put_off == _PUT_OFF:
            return False
        group.put_off += 1
        group.sighting = None
        return True

    async def _send(
        self, planned: Sequence[tuple[Group, CompareAndSet]], planned_at: Instant, deadline: Deadline
    ) -> None:
        stale = self._clock.now() - planned_at > STALE
        sent = [] if stale else [each for each in planned if each[0].may_send]
        for group, _ in planned:
            if stale or not group.may_send:
                group.withdraw()
                group.give_up_in_time()
        if not sent:
            return
        for group, _ in sent:
            group.begin()
        try:
            outcomes = await self._store.write([write for _, write in sent], timeout=deadline.remaining)
        except Exception:  # noqa: BLE001 - a fault of ours, and what was sent before it is nobody's knowledge
            _log.exception("write broke off", store=self._store.name)
            outcomes = [Outcome(fate=Fate.UNCERTAIN)] * len(sent)
        for (group, _), outcome in zip(sent, outcomes, strict=True):
            if outcome.kept_back:
                group.withdraw()
                group.give_up_in_time()
            else:
                self._conclude(group, group.conclude(outcome), outcome)

    def _conclude(self, group: Group, left: Sighting | None, outcome: Outcome) -> None:
        key, fate, detail = group.key, outcome.fate, outcome.detail
        if left is None:
            self._hints.forget(self._store.scope, key)
        else:
            self._hints.note(self._store.scope, key, left, self._clock.now())
        if fate in (Fate.UNCERTAIN, Fate.FAILED):
            _log.warning("write not confirmed", store=self._store.name, fate=fate.value, detail=detail)
        if fate is Fate.FAILED and not group.uncertain:
            group.fail(StoreUnavailable(self._store.name))

    def _not_ready(self, groups: Sequence[Group], failure: Failure | Lack) -> None:
        """Fails the groups for which nothing was sent: the store is not known well enough to be written, or cannot."""
        name = self._store.name
        for group in groups:
            if isinstance(failure, Failure):
                _log.warning("store not ready", store=name, detail=failure.detail)
            if group.uncertain:
                continue
            if isinstance(failure, Lack):
                group.fail(UnsupportedByStore(name, failure.capability, failure.explanation))
            else:
                group.fail(StoreUnavailable(name, nothing_sent=not group.sent))
