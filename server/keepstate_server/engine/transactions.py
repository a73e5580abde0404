"""All or nothing over several records of a store that rolls back.

Read all, test the preconditions, then one call of the store with a compare for everything that was read: a check
rewrites its record as it is. Strictly serialisable, because all compares hold at the moment when the store commits.
"""

import random
from collections.abc import Mapping, Sequence

import structlog

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
)
from keepstate_server.domain.operations import Answer, Check, Delete, Deleted, TransactionOperation, Written
from keepstate_server.domain.records import Consistency, Request, Version
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.engine.attempts import Attempt, Verdict, judge
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Draft, first_answer, remembers
from keepstate_server.engine.envelope import Envelope, encode
from keepstate_server.engine.group import new_write, physical_life
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import Sighting, seen
from keepstate_server.engine.trail import FirstAnswer, Trail, WriteId, version_at, write_of
from keepstate_server.engine.writer import pause
from keepstate_server.stores.base import Absence, CompareAndSet, Failure, Fate, Outcome, ReadResult, StateStore

__all__ = ["Transactor"]

_log = structlog.get_logger(__name__)

# The largest message is 16 MiB; keys and what surrounds them need a little.
_MOST_BYTES = 15 * 1024 * 1024

Keyed = Sequence[tuple[str, TransactionOperation]]


class Transactor:
    """Performs transactions on one store that rolls back."""

    def __init__(
        self, store: StateStore, *, hints: Hints, settings: EngineSettings, clock: Clock, source: random.Random
    ) -> None:
        """Works on ``store``; ``hints`` may be shared between stores, ``source`` makes identifiers and pauses."""
        self._store = store
        self._hints = hints
        self._settings = settings
        self._clock = clock
        self._source = source

    async def run(self, operations: Keyed, request: Request | None, deadline: Deadline) -> Sequence[Answer]:
        """Performs ``operations``, each with its key in the store, all keys distinct, and returns their answers.

        Raises:
            PreconditionFailed: one of them does not hold; nothing was changed.
            TransactionConflict: others wrote the same records again and again; nothing was changed.
            Overloaded: more repeats of writes to one of the records than it can remember; nothing was changed.
            OutcomeUnknown: nobody can tell whether it was applied.
            StoreUnavailable: the store does not answer; nothing was changed.
            DeadlineExceeded: the time is up; nothing was changed.
            UnsupportedByStore: the records are too large together; nothing was changed.
        """
        # The record by which a lost reply and a repeated request are judged: the first that is written.
        witness = min((key for key, operation in operations if not isinstance(operation, Check)), default=None)
        pending: list[Attempt] = []
        overtaken = False
        for tries in range(self._settings.transaction_attempts):
            await deadline.sleep(pause(tries, self._source))
            self._give_up_in_time(pending, deadline)
            sightings = await self._read([key for key, _ in operations], deadline)
            if sightings is not None:
                answers = await self._attempt(operations, request, witness, sightings, pending, deadline)
                if not isinstance(answers, Fate):
                    return answers
                overtaken = overtaken or answers is Fate.REFUSED
            elif not pending:
                raise StoreUnavailable(self._store.name, nothing_sent=tries == 0)
        if pending:
            raise OutcomeUnknown
        raise TransactionConflict if overtaken else StoreUnavailable(self._store.name)

    @staticmethod
    def _give_up_in_time(pending: Sequence[Attempt], deadline: Deadline) -> None:
        """Ends a transaction for which nothing more may be sent: the time is up, or the caller has gone."""
        if not deadline.may_begin:
            raise OutcomeUnknown if pending else DeadlineExceeded

    async def _attempt(
        self,
        operations: Keyed,
        request: Request | None,
        witness: str | None,
        sightings: Mapping[str, Sighting],
        pending: list[Attempt],
        deadline: Deadline,
    ) -> Sequence[Answer] | Fate:
        """Tries once, upon what was read; a fate: begin anew. ``pending`` are attempts of which it is not known."""
        if witness is not None and (answers := self._settle(pending, sightings[witness])):
            return answers
        attempt = _Attempting(operations, sightings, new_write(self._source), self._clock.now(), self._settings)
        if request and witness is not None and (answers := attempt.first_answers(request, witness)):
            return answers
        if attempt.refusal is not None:
            if pending:
                raise OutcomeUnknown  # an earlier attempt may yet arrive and make this answer wrong
            if request and request.repeated and witness is not None:
                outcome = await self._send([attempt.refusal_write(request, witness)], pending, deadline)
                if outcome.fate is not Fate.APPLIED:
                    return outcome.fate
            raise attempt.refusal
        outcome = await self._send(attempt.writes(request), pending, deadline)
        if outcome.fate is Fate.APPLIED:
            return attempt.answers
        if outcome.fate is Fate.FAILED and not pending:
            raise StoreUnavailable(self._store.name)
        if outcome.fate is Fate.UNCERTAIN and witness is not None:
            pending.append(attempt.sent(witness))
        return outcome.fate

    async def _send(self, writes: Sequence[CompareAndSet], pending: Sequence[Attempt], deadline: Deadline) -> Outcome:
        self._give_up_in_time(pending, deadline)
        if sum(len(write.data) for write in writes) > _MOST_BYTES:
            raise UnsupportedByStore(
                self._store.name,
                "transactions of this size",
                "what the transaction writes and checks is too large for one call of the sidecar: what is checked is"
                " written again as it is",
            )
        try:
            outcome = await self._store.transact(writes, timeout=deadline.remaining)
        except Exception:  # noqa: BLE001 - a fault of ours, and what was sent before it is nobody's knowledge
            _log.exception("transaction broke off", store=self._store.name)
            outcome = Outcome(fate=Fate.UNCERTAIN)
        for write in writes:
            self._hints.forget(self._store.scope, write.key)  # the store's new etags are not known
        if outcome.fate is not Fate.APPLIED:
            _log.info(
                "transaction not confirmed", store=self._store.name, fate=outcome.fate.value, detail=outcome.detail
            )
        return outcome

    async def _read(self, keys: Sequence[str], deadline: Deadline) -> dict[str, Sighting] | None:
        """Reads all records; None if that fails."""
        failure: Failure | None = None
        found: dict[str, ReadResult] = {}
        for sure in (False, True):
            ask = [key for key in keys if found.get(key, Absence.LIKELY) is Absence.LIKELY]
            if ask and failure is None:
                found |= await self._store.read(
                    ask, consistency=Consistency.STRONG, sure=sure, timeout=deadline.remaining
                )
                failure = next((each for each in found.values() if isinstance(each, Failure)), None)
        if failure is not None:
            _log.warning("read failed", store=self._store.name, detail=failure.detail)
            return None
        return {key: seen(stored) for key, stored in found.items() if not isinstance(stored, Failure)}

    def _settle(self, pending: list[Attempt], witness: Sighting) -> Sequence[Answer] | None:
        """Judges earlier attempts by what now stands under the witness; forgets those that can never arrive."""
        now = self._clock.now()
        verdicts = [judge(attempt, witness, now, self._settings) for attempt in pending]
        if Verdict.APPLIED in verdicts:
            results = pending[verdicts.index(Verdict.APPLIED)].results
            return [each for each in results if not isinstance(each, KeepstateError)]
        if Verdict.UNKNOWN in verdicts:
            raise OutcomeUnknown
        pending[:] = [attempt for attempt in pending if attempt.may_yet_arrive(witness)]
        return None


class _Attempting:
    """One attempt at a transaction, upon what was read for it. Pure."""

    def __init__(
        self,
        operations: Keyed,
        sightings: Mapping[str, Sighting],
        write: WriteId,
        now: Instant,
        settings: EngineSettings,
    ) -> None:
        self._operations = operations
        self._sightings = sightings
        self._write = write
        self._now = now
        self._settings = settings
        self._drafts = {
            key: Draft(sighting, write=write, now=now, settings=settings) for key, sighting in sightings.items()
        }
        self.answers: list[Answer] = []
        self.refusal: KeepstateError | None = None
        for position, (key, operation) in enumerate(operations):
            result = self._drafts[key].apply(operation, position)
            if isinstance(result, KeepstateError):
                self.refusal = self.refusal or result
            else:
                self.answers.append(result)

    def first_answers(self, request: Request, witness: str) -> Sequence[Answer] | None:
        """Returns what ``request`` was answered by an earlier attempt; None if there was none.

        Raises:
            KeepstateError: it was refused, or a repeat cannot be told from a first attempt any more.
        """
        trails = {
            key: sighting.trail(self._now, self._settings.dead_life_ms // 2)
            for key, sighting in self._sightings.items()
        }
        for key, operation in self._operations:
            found = None if isinstance(operation, Check) else trails[key].find(request)
            if found is None:
                continue
            version, answer = found
            if answer in (FirstAnswer.APPLIED, FirstAnswer.NOTHING_THERE):
                return [
                    _first_answer(each, trails[its_key], request, version_at(write_of(version), position))
                    for position, (its_key, each) in enumerate(self._operations)
                ]
            raise self.refusal or TransactionConflict
        if request.repeated and not remembers(trails[witness], request, self._settings):
            raise OutcomeUnknown
        written = [trails[key] for key, operation in self._operations if not isinstance(operation, Check)]
        if request.repeated and not all(trail.room_for_repeat(self._now) for trail in written):
            raise Overloaded("repeated writes of one record at a time")
        return None

    def writes(self, request: Request | None) -> list[CompareAndSet]:
        """Returns a compare-and-set for each record; those that change remember ``request``."""
        writes = []
        for position, (key, operation) in enumerate(self._operations):
            content = self._sightings[key].content
            draft = self._drafts[key]
            answer = first_answer(self.answers[position])
            if request and answer is not None and not isinstance(operation, Check):
                draft.carry(request, position, answer)
            # What is only checked is rewritten to the letter: its etag in the store changes, nothing else.
            unchanged = content if isinstance(operation, Check) and isinstance(content, Envelope) else None
            writes.append(self._compare_and_set(key, unchanged or draft.envelope()))
        return writes

    def refusal_write(self, request: Request, witness: str) -> CompareAndSet:
        """Returns a compare-and-set that leaves the witness as it is, but remembers that ``request`` was refused.

        The first attempt may still be running: it shall find this and be refused too.
        """
        draft = Draft(self._sightings[witness], write=self._write, now=self._now, settings=self._settings)
        draft.carry(request, 0, FirstAnswer.ETAG_MISMATCH)
        return self._compare_and_set(witness, draft.envelope())

    def _compare_and_set(self, key: str, envelope: Envelope) -> CompareAndSet:
        return CompareAndSet(
            key=key,
            etag=self._sightings[key].etag,
            data=encode(envelope),
            keep_for=physical_life(envelope, self._now, self._settings),
        )

    def sent(self, witness: str) -> Attempt:
        """Returns this attempt to be judged later."""
        base = self._sightings[witness]
        return Attempt(write=self._write, base=base.base, etag=base.etag, sent_at=self._now, results=self.answers)


def _first_answer(operation: TransactionOperation, trail: Trail, request: Request, version: Version) -> Answer:
    if not isinstance(operation, Delete):
        return Written(version=version)
    found = trail.find(request)
    if found is None:
        raise OutcomeUnknown  # whether there was something to delete is forgotten
    return Deleted(existed=found[1] is FirstAnswer.APPLIED)
