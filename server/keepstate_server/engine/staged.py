"""All or nothing where no store rolls back: an intent in each record, and one outcome that decides.

docs/records.md describes it: lay intents on all records, decide, then replace each intent by its result. Whoever meets
an intent in between settles it by the outcome (``resolver``).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from keepstate_server.domain.errors import OutcomeUnknown, StoreUnavailable
from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.death import STALE
from keepstate_server.engine.envelope import Decision, Envelope, Location
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.transaction_draft import TransactionDraft
from keepstate_server.engine.writes import MESSAGE_BYTES, compare_and_set, pieces
from keepstate_server.stores.base import CompareAndSet, Fate, Isolation, Outcome, StateStore, Stored

__all__ = ["StagedCommit"]

_log = structlog.get_logger(__name__)

# How often the replacing of intents is tried before it is left to whoever meets them.
_CLEANINGS = 3


class StagedCommit:
    """Commits the attempts at one transaction, one after the other."""

    def __init__(
        self,
        stores: Mapping[str, StateStore],
        notings: Mapping[str, Noting],
        resolver: Resolver,
        *,
        settings: EngineSettings,
        clock: Clock,
    ) -> None:
        """Works on ``stores``, by name: those of all records of the transaction."""
        self._stores = stores
        self._notings = notings
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._outcome_store = ""
        self._isolated = False
        self._planned_at = Instant(0)
        self._writes: Mapping[Location, tuple[CompareAndSet, Envelope]] = {}  # that lay the next attempt's intents
        self._decided: dict[WriteId, Decision] = {}  # of each attempt that may have left intents
        self._committed: tuple[WriteId, Stored | None] | None = None  # with its outcome's record
        self._laid: Mapping[Location, Sighting] = {}  # the intents of the last attempt, as far as they are known

    async def prepare(
        self,
        draft: TransactionDraft,
        sightings: Mapping[Location, Sighting],
        request: Request | None,
        outcome_store: str,
        deadline: Deadline,
    ) -> bool:
        """Works out an attempt's intents, and has those noted that may have to be collected; says whether all were."""
        stores = {at.store for at in sightings}
        self._outcome_store = outcome_store
        self._planned_at = draft.now
        self._isolated = len(stores) == 1 and self._stores[outcome_store].isolation is Isolation.STEP
        intents = draft.intents(request, outcome_store=outcome_store, isolated=self._isolated)
        ready: dict[Location, Envelope] = {}
        for store in stores:
            plans = {at.key: (sightings[at], envelope) for at, envelope in intents if at.store == store}
            noted = await self._notings[store].ready(plans, deadline)
            ready |= {Location(store, key): envelope for key, envelope in noted.items()}
        if len(ready) < len(intents):
            return False
        self._writes = self._written(draft, sightings, ready)
        if self._isolated and sum(len(write.data) for write, _ in self._writes.values()) > MESSAGE_BYTES:
            self._isolated = False
            self._writes = self._written(draft, sightings, {at: _laid_singly(each) for at, each in ready.items()})
        return True

    def _written(
        self, draft: TransactionDraft, sightings: Mapping[Location, Sighting], intents: Mapping[Location, Envelope]
    ) -> Mapping[Location, tuple[CompareAndSet, Envelope]]:
        return {
            at: (compare_and_set(at.key, sightings[at].etag, envelope, draft.now, self._settings), envelope)
            for at, envelope in intents.items()
        }

    async def commit(self, draft: TransactionDraft, limit: Deadline) -> bool:
        """Commits what was prepared of ``draft``; says whether it was: if not it never will be, and may be begun anew.

        Once the first intent is on its way this goes on to the end, for as long as ``limit``.

        Raises:
            OutcomeUnknown: nobody can tell.
            StoreUnavailable: nothing was written, and nothing will be.
        """
        writes = self._writes
        self._laid = {}
        outcomes = await self._lay(limit)
        fates = {outcome.fate for outcome in outcomes.values()}
        if fates == {Fate.FAILED}:
            raise StoreUnavailable(self._outcome_store)
        wanted = Decision.ABORTED
        if Fate.UNCERTAIN not in fates:
            at_once = self._isolated and fates == {Fate.APPLIED}
            found = _known(writes, outcomes) if at_once else await self._look_again(limit)
            if found is not None and _undone(found, draft.write):
                # None is under way, and one is not there: nobody will ever see all of them. That needs no outcome.
                self._resolver.remember(draft.write, Decision.ABORTED)
                self._decided[draft.write] = Decision.ABORTED
                return False
            self._laid = {at: each for at, each in (found or {}).items() if each.carries(draft.write)}
            # A lease, or whatever was demanded, may have expired meanwhile.
            if len(self._laid) == len(writes) and not draft.expired(self._clock.now()):
                wanted = Decision.COMMITTED
        standing = await self._resolver.outcomes.decide(self._outcome_store, draft.write, wanted, draft.now, limit)
        if standing is None:
            raise OutcomeUnknown
        self._resolver.remember(draft.write, standing.decision)
        self._decided[draft.write] = standing.decision
        if standing.decision is Decision.COMMITTED:
            self._committed = (draft.write, standing.record)
        return standing.decision is Decision.COMMITTED

    async def clean_up(self, limit: Deadline) -> None:
        """Replaces what intents are left by their results. What is not done in time is left to whoever meets them."""
        if not self._decided or not await self._replace_all(limit):
            return
        if self._committed is not None:
            await self._resolver.outcomes.retire(self._outcome_store, *self._committed, limit)

    async def _replace_all(self, limit: Deadline) -> bool:
        """Replaces all intents of all attempts; says whether none is left."""
        stale = self._clock.now() - self._planned_at > STALE  # others may have replaced them, and more
        left = {} if stale else self._decided_of(self._laid)
        for _ in range(_CLEANINGS):
            if left:
                now = self._clock.now()
                settled = {at: each.settled(decision, now) for at, (each, decision) in left.items()}
                if await self._resolver.replace(settled, limit) and len(settled) == len(self._writes):
                    return True
            found = await self._resolver.look(self._writes, limit)
            if found is None or limit.over:
                break
            left = self._decided_of(found)
            if not left:
                return True
        return False

    def _decided_of(self, sightings: Mapping[Location, Sighting]) -> Mapping[Location, tuple[Sighting, Decision]]:
        """Returns those of ``sightings`` that carry an intent of ours, with what became of it."""
        return {
            at: (each, self._decided[each.intent.transaction])
            for at, each in sightings.items()
            if each.intent and each.intent.transaction in self._decided
        }

    async def _lay(self, limit: Deadline) -> Mapping[Location, Outcome]:
        """Sends the intents."""
        writes = self._writes

        async def in_store(store: str) -> Mapping[Location, Outcome]:
            its = [(at, write) for at, (write, _) in writes.items() if at.store == store]
            outcomes: dict[Location, Outcome] = {}
            for piece in [its] if self._isolated else pieces(its):
                if self._clock.now() - self._planned_at > STALE:
                    outcomes |= {at: Outcome(fate=Fate.FAILED, detail="too late") for at, _ in piece}
                    continue
                told = await self._write(self._stores[store], [write for _, write in piece], limit)
                outcomes |= {at: each for (at, _), each in zip(piece, told, strict=True)}
            return outcomes

        told = await asyncio.gather(*(in_store(store) for store in dict.fromkeys(at.store for at in writes)))
        return {at: outcome for each in told for at, outcome in each.items()}

    async def _write(self, store: StateStore, writes: Sequence[CompareAndSet], limit: Deadline) -> Sequence[Outcome]:
        try:
            outcomes = await store.write(writes, timeout=limit.remaining)
        except Exception:  # noqa: BLE001 - a fault of ours, and what was sent before it is nobody's knowledge
            _log.exception("intents broke off", store=store.name)
            outcomes = [Outcome(fate=Fate.UNCERTAIN)] * len(writes)
        for outcome in outcomes[:1]:
            if outcome.fate is not Fate.APPLIED:
                _log.info("intents not confirmed", store=store.name, fate=outcome.fate.value, detail=outcome.detail)
        return outcomes

    async def _look_again(self, limit: Deadline) -> Mapping[Location, Sighting] | None:
        """Returns the records as they stand now. None: they cannot be read."""
        return await self._resolver.look(self._writes, limit)


def _known(
    writes: Mapping[Location, tuple[CompareAndSet, Envelope]], outcomes: Mapping[Location, Outcome]
) -> Mapping[Location, Sighting]:
    """Returns the intents that were just laid, with the store's etags of them."""
    return {at: Sighting(etag=outcomes[at].next_etag, content=envelope) for at, (_, envelope) in writes.items()}


def _undone(found: Mapping[Location, Sighting], transaction: WriteId) -> bool:
    """Says whether an intent is missing, and not because the transaction was committed by somebody who met all.

    Laid one by one, all held at one moment only if all are still there. Where one was refused, all may be there all the
    same: a client of Redis that sends again by itself hears that of its second try.
    """
    missing = [each for each in found.values() if not each.carries(transaction)]
    committed = any(isinstance(each.content, Envelope) and each.content.trail.names(transaction) for each in missing)
    return bool(missing) and not committed


def _laid_singly(envelope: Envelope) -> Envelope:
    assert envelope.intent is not None
    return replace(envelope, intent=replace(envelope.intent, isolated=False))
