"""The outcomes of transactions: a record for each, created once and then never changed.

Whoever creates it first decides. docs/records.md has what follows from that.
"""

import random
from datetime import timedelta
from typing import NamedTuple

import structlog

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.names import internal_key
from keepstate_server.domain.times import Clock, Instant, in_milliseconds
from keepstate_server.engine import frames
from keepstate_server.engine.deadline import Deadline, pause
from keepstate_server.engine.envelope import Decision
from keepstate_server.engine.reads import read_one
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.trail import WriteId
from keepstate_server.stored.v1 import envelope_pb2
from keepstate_server.stores.base import CompareAndSet, Failure, Fate, Outcome, Stored, StoreEtag, Stores

__all__ = ["Outcomes", "Standing"]

_log = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """An outcome that was decided."""

    decision: Decision
    record: Stored | None
    """What the store has of it, where that is known without a read."""


class Outcomes:
    """Reads and creates outcomes in the stores that keep them."""

    def __init__(self, stores: Stores, *, settings: EngineSettings, clock: Clock, source: random.Random) -> None:
        """Works on ``stores``; ``source`` makes pauses."""
        self._stores = stores
        self._settings = settings
        self._clock = clock
        self._source = source

    async def read(self, store: str, transaction: WriteId, *, timeout: float) -> Decision | Failure | None:
        """Returns what was decided; None: nothing so far."""
        found = await self._find(store, transaction, timeout=timeout)
        return _decision(found) if isinstance(found, Stored) else found

    async def decide(
        self, store: str, transaction: WriteId, wanted: Decision, begun: Instant, limit: Deadline
    ) -> Standing | None:
        """Decides as ``wanted`` unless somebody has decided before, and returns what stands. None: nobody can tell.

        A transaction that was ``begun`` longer than half an outcome's life ago is aborted, whatever is wanted: it may
        have been aborted before, and that outcome may be gone.

        Once sent, a decision may stand at any later time: whoever is told None must not count on either.
        """
        tries = 0
        while not limit.over:
            now = self._clock.now()
            late = now - begun > in_milliseconds(self._settings.outcome_life) // 2
            decision = Decision.ABORTED if late else wanted
            message = envelope_pb2.Outcome(committed=decision is Decision.COMMITTED, time=now)
            data = frames.sealed(frames.OUTCOME, message.SerializeToString())
            # An intent of an aborted transaction may arrive as late as any write; one of a committed transaction may
            # stand for ever, and so must its outcome until all have been seen replaced.
            life = None if decision is Decision.COMMITTED else self._settings.outcome_life
            written = await self._write(store, _key(transaction), None, data, life, limit)
            if written.fate is Fate.APPLIED:
                return Standing(decision, Stored(data=data, etag=written.next_etag) if written.next_etag else None)
            stands = await self.read(store, transaction, timeout=limit.remaining)
            if isinstance(stands, Decision):
                return Standing(stands, None)
            tries += 1
            await limit.sleep(pause(tries + 1, self._source))
        return None

    async def retire(self, store: str, transaction: WriteId, record: Stored | None, limit: Deadline) -> None:
        """Has the store remove the outcome of a transaction of which no intent stands any more, after its life.

        ``record`` is what stands there, if that is known.
        """
        found = record or await self._find(store, transaction, timeout=limit.remaining)
        if isinstance(found, Stored) and _decision(found) is not None:
            key, life = _key(transaction), self._settings.outcome_life
            await self._write(store, key, found.etag, found.data, life, limit)

    async def _write(
        self, store: str, key: str, etag: StoreEtag | None, data: bytes, life: timedelta | None, limit: Deadline
    ) -> Outcome:
        try:
            found = await self._stores.find(store, timeout=limit.remaining)
            if await found.prepare(timeout=limit.remaining) is not None or limit.over:
                return Outcome(fate=Fate.FAILED)
            write = CompareAndSet(key=key, etag=etag, data=data, keep_for=life)
            outcome = await found.write_alone(write, timeout=limit.remaining)
        except KeepstateError as error:
            _log.warning("outcome not written", store=store, reason=error.reason.value)
            return Outcome(fate=Fate.FAILED)
        if outcome.fate in (Fate.UNCERTAIN, Fate.FAILED):
            _log.warning("outcome not confirmed", store=store, fate=outcome.fate.value, detail=outcome.detail)
        return outcome

    async def _find(self, store: str, transaction: WriteId, *, timeout: float) -> Stored | Failure | None:
        try:
            where = await self._stores.find(store, timeout=timeout)
            found = await read_one(where, _key(transaction), timeout=timeout)
        except KeepstateError as error:
            found = Failure(detail=error.reason.value)
        if isinstance(found, Failure):
            _log.warning("outcome not read", store=store, detail=found.detail)
        return found


def _key(transaction: WriteId) -> str:
    return internal_key(f"outcome/{transaction.hex()}")


def _decision(stored: Stored) -> Decision | None:
    body = frames.opened(frames.OUTCOME, stored.data)
    if body is None:
        return None
    return Decision.COMMITTED if envelope_pb2.Outcome.FromString(body).committed else Decision.ABORTED
