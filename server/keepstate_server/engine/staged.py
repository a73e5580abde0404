"""All or nothing where no store rolls back: an intent in each record, and one outcome that decides.

docs/records.md describes it: lay intents on all records, decide, then replace each intent by its result. Whoever meets
an intent in between settles it by the outcome (``resolver``).
"""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from keepstate_server.domain.errors import OutcomeUnknown, StoreUnavailable
from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Clock
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.envelope import Decision, Envelope, Location
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.transaction_draft import TransactionDraft
from keepstate_server.engine.writes import compare_and_set, pieces
from keepstate_server.stores.base import CompareAndSet, Fate, Isolation, Outcome, StateStore

__all__ = ["StagedCommit"]

_log = structlog.get_logger(__name__)

# The largest message is 16 MiB; keys and what surrounds them need a little.
_MOST_BYTES = 15 * 1024 * 1024

# How often the replacing of intents is tried before it is left to whoever meets them.
_CLEANINGS = 3


class StagedCommit:
    """Commits the attempts at one transaction, one after the other."""

    def __init__(
        self, stores: Mapping[str, StateStore], resolver: Resolver, *, settings: EngineSettings, clock: Clock
    ) -> None:
        """Works on ``stores``, by name: those of all records of the transaction."""
        self._stores = stores
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._records: Sequence[Location] = ()
        self._decided: dict[WriteId, Decision] = {}  # of each attempt that may have left intents
        self._committed: tuple[str, WriteId] | None = None  # with the store that keeps its outcome
        self._laid: Mapping[Location, Sighting] = {}  # the intents of the last attempt, as far as they are known

    async def commit(
        self,
        draft: TransactionDraft,
        sightings: Mapping[Location, Sighting],
        request: Request | None,
        outcome_store: str,
        limit: Deadline,
    ) -> bool:
        """Says whether the transaction was committed; if not it never will be, and may be begun anew.

        Once the first intent is on its way this goes on to the end, for as long as ``limit``.

        Raises:
            OutcomeUnknown: nobody can tell.
            StoreUnavailable: nothing was written, and nothing will be.
        """
        self._records = tuple(sightings)
        writes, isolated = self._writes(draft, sightings, request, outcome_store)
        outcomes = await self._lay(writes, isolated=isolated, limit=limit)
        fates = {outcome.fate for outcome in outcomes.values()}
        if fates == {Fate.FAILED}:
            raise StoreUnavailable(outcome_store)
        if fates <= {Fate.REFUSED, Fate.FAILED}:
            return False
        wanted = Decision.ABORTED
        self._laid = {}
        if fates == {Fate.APPLIED}:
            self._laid = _known(writes, outcomes) if isolated else await self._look_again(draft.write, limit)
            # A lease, or whatever was demanded, may have expired meanwhile.
            if len(self._laid) == len(writes) and not draft.expired(self._clock.now()):
                wanted = Decision.COMMITTED
        stands = await self._resolver.outcomes.decide(outcome_store, draft.write, wanted, limit)
        if stands is None:
            raise OutcomeUnknown
        self._resolver.remember(draft.write, stands)
        self._decided[draft.write] = stands
        if stands is Decision.COMMITTED:
            self._committed = (outcome_store, draft.write)
        return stands is Decision.COMMITTED

    async def clean_up(self, limit: Deadline) -> None:
        """Replaces what intents are left by their results. What is not done in time is left to whoever meets them."""
        if not self._decided or not await self._replace_all(limit):
            return
        if self._committed is not None:
            await self._resolver.outcomes.retire(*self._committed, limit)

    async def _replace_all(self, limit: Deadline) -> bool:
        """Replaces all intents of all attempts; says whether none is left."""
        left = self._decided_of(self._laid)
        for _ in range(_CLEANINGS):
            if left:
                now = self._clock.now()
                settled = {at: each.settled(decision, now) for at, (each, decision) in left.items()}
                if await self._resolver.replace(settled, limit) and len(settled) == len(self._records):
                    return True
            found = await self._resolver.look(self._records, limit)
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

    def _writes(
        self,
        draft: TransactionDraft,
        sightings: Mapping[Location, Sighting],
        request: Request | None,
        outcome_store: str,
    ) -> tuple[Mapping[Location, tuple[CompareAndSet, Envelope]], bool]:
        """Returns what lays the intents, and whether one step does so."""
        stores = {at.store for at in sightings}
        isolated = len(stores) == 1 and self._stores[outcome_store].isolation is Isolation.STEP
        while True:
            intents = draft.intents(request, outcome_store=outcome_store, isolated=isolated)
            writes = {
                at: (compare_and_set(at.key, sightings[at].etag, envelope, draft.now, self._settings), envelope)
                for at, envelope in intents
            }
            if not isolated or sum(len(write.data) for write, _ in writes.values()) <= _MOST_BYTES:
                return writes, isolated
            isolated = False

    async def _lay(
        self, writes: Mapping[Location, tuple[CompareAndSet, Envelope]], *, isolated: bool, limit: Deadline
    ) -> Mapping[Location, Outcome]:
        async def in_store(store: str) -> Mapping[Location, Outcome]:
            its = [(at, write) for at, (write, _) in writes.items() if at.store == store]
            outcomes: dict[Location, Outcome] = {}
            for piece in [its] if isolated else pieces(its):
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

    async def _look_again(self, transaction: WriteId, limit: Deadline) -> Mapping[Location, Sighting]:
        """Returns the intents that stand. Laid one by one, all held at one moment only if all are still there now."""
        found = await self._resolver.look(self._records, limit) or {}
        return {at: sighting for at, sighting in found.items() if _laid_by(sighting) == transaction}


def _known(
    writes: Mapping[Location, tuple[CompareAndSet, Envelope]], outcomes: Mapping[Location, Outcome]
) -> Mapping[Location, Sighting]:
    """Returns the intents that were just laid, with the store's etags of them."""
    return {at: Sighting(etag=outcomes[at].next_etag, content=envelope) for at, (_, envelope) in writes.items()}


def _laid_by(sighting: Sighting) -> WriteId | None:
    return sighting.intent.transaction if sighting.intent else None
