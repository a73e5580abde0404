"""All or nothing over several records, of one store or of several.

Read all, test the preconditions, then commit: by one call of the store where all records lie in one that rolls back,
with a compare for everything that was read, else in stages (``staged``). What is only checked is
written again as it is. Strictly serialisable either way, because all compares hold at one moment.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
)
from keepstate_server.domain.operations import Answer
from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Clock
from keepstate_server.engine.attempts import Attempt, Verdict, judge
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.death import STALE
from keepstate_server.engine.envelope import Location, tombstone
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Raw, Sighting
from keepstate_server.engine.snapshots import snapshot
from keepstate_server.engine.staged import StagedCommit
from keepstate_server.engine.trail import WriteId
from keepstate_server.engine.transaction_draft import Located, TransactionDraft, witness_of
from keepstate_server.engine.writes import MESSAGE_BYTES, compare_and_set, new_write
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Isolation, Lack, Outcome, StateStore, Stored

__all__ = ["Transaction"]

_log = structlog.get_logger(__name__)

# How long a transaction that has begun to write may go on, when its caller's time is up; seconds.
_FINISHING = 10.0


class Transaction:
    """One transaction, all its attempts."""

    def __init__(
        self,
        operations: Located,
        request: Request | None,
        deadline: Deadline,
        *,
        stores: Mapping[str, StateStore],
        notings: Mapping[str, Noting],
        hints: Hints,
        resolver: Resolver,
        settings: EngineSettings,
        clock: Clock,
        source: random.Random,
    ) -> None:
        """Prepares to perform ``operations``, all on distinct records of ``stores``.

        ``hints`` may be shared between stores, ``source`` makes identifiers and pauses.
        """
        self._operations = operations
        self._locations = [at for at, _ in operations]
        self._request = request
        self._deadline = deadline
        self._stores = stores
        self._notings = notings
        self._hints = hints
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._source = source
        self._blind = frozenset(name for name, store in stores.items() if not store.tells_expiry)
        self._staged = StagedCommit(stores, notings, resolver, settings=settings, clock=clock)
        self._under_way = False  # something was sent, and it is not known yet what became of it
        self._pending: list[Attempt] = []  # of which the store did not say what became of them
        self._adopted: dict[Location, Raw] = {}
        self._own: set[WriteId] = set()
        self._before: Mapping[Location, Sighting] = {}
        self._overtaken = False

    @property
    def uncertain(self) -> bool:
        """Whether something was sent of which nobody knows whether it was or will be applied."""
        return self._under_way or bool(self._pending)

    async def run(self) -> Sequence[Answer]:
        """Performs it and returns the operations' answers.

        Raises:
            PreconditionFailed: one of them does not hold; nothing was changed.
            UpdateNotApplicable: an update does not fit its record; nothing was changed.
            TransactionConflict: others wrote the same records again and again; nothing was changed.
            Overloaded: more repeats of writes to one of the records than it can remember; nothing was changed.
            OutcomeUnknown: nobody can tell whether it was applied.
            UnsupportedByStore: a store cannot be written; nothing was changed.
            StoreUnavailable: a store does not answer; nothing was changed.
            DeadlineExceeded: the time is up; nothing was changed.
        """
        witness = witness_of(self._operations)
        if witness is None:
            return await self._check()
        for store in self._stores.values():
            failure = await store.prepare(timeout=self._deadline.remaining)
            if isinstance(failure, Lack):
                raise UnsupportedByStore(store.name, failure.capability, failure.explanation)
            if failure:
                _log.warning("store not ready", store=store.name, detail=failure.detail)
                raise StoreUnavailable(store.name, nothing_sent=True)
        for tries in range(self._settings.transaction_attempts):
            await self._deadline.sleep(pause(tries, self._source))
            self._give_up_in_time()
            found = await self._resolver.read(self._locations, self._deadline)
            if found is not None:
                answers = await self._attempt(witness, self._seen(found))
                if answers is not None:
                    return answers
            elif not self._pending:
                raise StoreUnavailable(witness.store, nothing_sent=tries == 0)
        if self._pending or (self._overtaken and self._request and self._request.repeated):
            # Of a repeat "begin it anew" would be no answer: its first attempt may still be running.
            raise OutcomeUnknown
        raise TransactionConflict if self._overtaken else StoreUnavailable(witness.store)

    async def clean_up(self) -> None:
        """Does what the caller need not wait for."""
        await self._staged.clean_up(Deadline(_FINISHING))

    async def _check(self) -> Sequence[Answer]:
        """Tests preconditions alone."""
        found, now = await snapshot(
            self._locations,
            self._deadline,
            resolver=self._resolver,
            settings=self._settings,
            clock=self._clock,
            source=self._source,
        )
        draft = TransactionDraft(self._operations, found, new_write(self._source), now, self._settings)
        if draft.refusal is not None:
            raise draft.refusal
        return draft.answers

    def _give_up_in_time(self) -> None:
        """Ends a transaction for which nothing more may be sent: the time is up, or the caller has gone."""
        if not self._deadline.may_begin:
            raise OutcomeUnknown if self._pending else DeadlineExceeded

    def _seen(self, found: Mapping[Location, Sighting]) -> Mapping[Location, Sighting]:
        """Notes what is still the value that was adopted, and whether others wrote since the last reading."""
        sightings = dict(found)
        for at, adopted in self._adopted.items():
            content = found[at].content
            if isinstance(content, Raw) and content.value == adopted.value:
                # Adopting may change the store's etag, but the value and so its public etag are the same.
                sightings[at] = replace(found[at], content=replace(content, version=adopted.version))
        for at, before in self._before.items():
            base = sightings[at].base
            self._overtaken = self._overtaken or (base != before.base and base not in self._own)
        self._before = sightings
        return sightings

    async def _attempt(self, witness: Location, sightings: Mapping[Location, Sighting]) -> Sequence[Answer] | None:
        """Tries once, upon what was read; None: begin anew."""
        if answers := self._judged(sightings[witness]):
            return answers
        draft = TransactionDraft(
            self._operations, sightings, new_write(self._source), self._clock.now(), self._settings, blind=self._blind
        )
        self._own.add(draft.write)
        if self._request and (answers := draft.first_answers(self._request, witness)):
            return answers
        if draft.refusal is not None:
            await self._refuse(draft, witness, sightings[witness])
            return None
        if await self._adopt(sightings):
            return None
        return await self._commit(draft, witness, sightings)

    async def _refuse(self, draft: TransactionDraft, witness: Location, sighting: Sighting) -> None:
        """Raises the refusal, unless it must be noted first and that fails."""
        assert draft.refusal is not None
        if self._pending:
            raise OutcomeUnknown  # an earlier attempt may yet arrive and make this answer wrong
        repeated = self._request if self._request and self._request.repeated else None
        if repeated and (refused := draft.refused(repeated, witness)):
            if await self._adopt({witness: sighting}):
                return
            ready = await self._notings[witness.store].ready({witness.key: (sighting, refused)}, self._deadline)
            self._give_up_in_time()
            if witness.key not in ready or self._clock.now() - draft.now > STALE:
                return
            write = compare_and_set(witness.key, sighting.etag, ready[witness.key], draft.now, self._settings)
            self._hints.forget(self._stores[witness.store].scope, witness.key)
            outcome = (await self._stores[witness.store].write([write], timeout=self._deadline.remaining))[0]
            if outcome.fate is not Fate.APPLIED:
                return
        raise draft.refusal

    async def _adopt(self, sightings: Mapping[Location, Sighting]) -> bool:
        """Makes other programs' values ready to be written over; says whether there were any not ready yet."""
        met = False
        for at, sighting in sightings.items():
            raw = sighting.content
            if at.store not in self._blind or not isinstance(raw, Raw) or sighting.etag is None:
                continue
            adopted = self._adopted.get(at)
            if adopted is not None and adopted.version == raw.version:
                continue
            met = True
            self._give_up_in_time()
            found = await self._stores[at.store].adopt(
                at.key,
                Stored(data=raw.value, etag=sighting.etag, expire_time=raw.expire_time),
                tombstone=tombstone(new_write(self._source), self._clock.now()),
                timeout=self._deadline.remaining,
            )
            if not isinstance(found, Failure):
                self._adopted[at] = raw
        return met

    async def _commit(
        self, draft: TransactionDraft, witness: Location, sightings: Mapping[Location, Sighting]
    ) -> Sequence[Answer] | None:
        self._give_up_in_time()
        for at in self._locations:
            self._hints.forget(self._stores[at.store].scope, at.key)  # the store's new etags are not known
        store = self._stores[witness.store]
        if len(self._stores) == 1 and store.isolation is Isolation.ROLLBACK:
            writes = [
                compare_and_set(at.key, sightings[at].etag, envelope, draft.now, self._settings)
                for at, envelope in draft.results(self._request)
            ]
            if sum(len(write.data) for write in writes) <= MESSAGE_BYTES:
                return await self._commit_at_once(draft, store, writes, sightings[witness])
        if not await self._staged.prepare(draft, sightings, self._request, witness.store, self._deadline):
            _log.warning("transaction not noted", store=witness.store)
            return None
        self._give_up_in_time()
        if self._clock.now() - draft.now > STALE:
            _log.warning("transaction was slow to be noted", store=witness.store)
            return None
        self._under_way = True
        try:
            committed = await self._staged.commit(draft, Deadline(max(self._deadline.remaining, _FINISHING)))
        except StoreUnavailable:
            if not self._pending:
                raise
            committed = False
        self._under_way = False
        return draft.answers if committed else None

    async def _commit_at_once(
        self, draft: TransactionDraft, store: StateStore, writes: Sequence[CompareAndSet], witness: Sighting
    ) -> Sequence[Answer] | None:
        """Commits by one call of a store that rolls back."""
        self._under_way = True
        try:
            outcome = await store.transact(writes, timeout=self._deadline.remaining)
        except Exception:  # noqa: BLE001 - a fault of ours, and what was sent before it is nobody's knowledge
            _log.exception("transaction broke off", store=store.name)
            outcome = Outcome(fate=Fate.UNCERTAIN)
        self._under_way = False
        if outcome.fate is Fate.APPLIED:
            return draft.answers
        _log.info("transaction not confirmed", store=store.name, fate=outcome.fate.value, detail=outcome.detail)
        self._overtaken = self._overtaken or outcome.fate is Fate.REFUSED
        if outcome.fate is Fate.FAILED and not self._pending:
            raise StoreUnavailable(store.name)
        if outcome.fate is Fate.UNCERTAIN:
            self._pending.append(
                Attempt(
                    write=draft.write, base=witness.base, etag=witness.etag, sent_at=draft.now, results=draft.answers
                )
            )
        return None

    def _judged(self, witness: Sighting) -> Sequence[Answer] | None:
        """Judges earlier attempts by what now stands under the witness; forgets those that can never arrive."""
        now = self._clock.now()
        verdicts = [judge(attempt, witness, now, self._settings) for attempt in self._pending]
        if Verdict.APPLIED in verdicts:
            results = self._pending[verdicts.index(Verdict.APPLIED)].results
            return [each for each in results if not isinstance(each, KeepstateError)]
        if Verdict.UNKNOWN in verdicts:
            raise OutcomeUnknown(for_good=True)
        self._pending = [attempt for attempt in self._pending if attempt.may_yet_arrive(witness)]
        return None
