"""Redis (component state.redis).

What was seen of it, on a live sidecar, is in docs/stores.md. What follows: never first-write (it overwrites), never a
positive ttl (EXPIRE also runs after a refused compare, on somebody else's record), always ttl -1 inside a transaction
call (EVAL and PERSIST are one step there), and no word "mismatch" believed that speaks of the network.
"""

from collections.abc import Sequence
from dataclasses import replace

import grpc

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import (
    Absence,
    CompareAndSet,
    Failure,
    Fate,
    Isolation,
    Outcome,
    ReadResult,
    Stored,
    StoreEtag,
)
from keepstate_server.stores.dapr_store import ETAG_MINUS_ONE, DaprStore, seconds
from keepstate_server.stores.failures import mentions_network
from keepstate_server.stores.judgement import Behaviour, Creation
from keepstate_server.stores.sidecar import SidecarError, StateItem

__all__ = ["RedisStore"]

# Clears an expiry (PERSIST), and overrides a ttl that is set on the component.
_NO_EXPIRY = -1


class RedisStore(DaprStore):
    """Redis through Dapr. Its transactions are pipelines without rollback: each write stands for itself."""

    known = Behaviour(creation=Creation.ETAG_MINUS_ONE, counts_etags=True, rolls_back=False)
    bulk_absence = Absence.CERTAIN  # a bulk read is single reads in parallel, each with an error of its own
    tells_expiry = False
    removes_dead = False  # a ttl would strike whatever stands there in the end

    @property
    def isolation(self) -> Isolation:
        """One step, as long as Dapr's encryption does not forbid transaction calls."""
        return Isolation.STEP if self.transactions_keep_values else Isolation.NONE

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        """Performs each write independently: all in one transaction call, or where that destroys values, in a save."""
        items = [self._item(write) for write in writes]
        call = self._sidecar.transact if self.transactions_keep_values else self._sidecar.save
        try:
            await call(self.name, items, timeout=timeout)
        except SidecarError as error:
            # With several items a refusal may have been another's. One of a script in a transaction says that all ran.
            refused = _is_refusal(error)
            if refused and len(writes) > 1:
                ran = self.transactions_keep_values and not mentions_network(
                    error.text, (write.key for write in writes)
                )
                return [Outcome(fate=Fate.PARTLY if ran else Fate.UNCERTAIN, detail=str(error))] * len(writes)
            outcome = self._outcome(error, writes, refused=refused, took_nothing=_took_nothing(error, len(writes)))
            return [outcome] * len(writes)
        return [Outcome(fate=Fate.APPLIED, next_etag=self._next(write.etag)) for write in writes]

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        """Performs one write by a save: there EXPIRE follows only where the compare held, though not in one step."""
        item = self._item(write)
        if write.keep_for is not None:
            item = replace(item, ttl_seconds=seconds(write.keep_for))
        try:
            await self._sidecar.save(self.name, [item], timeout=timeout)
        except SidecarError as error:
            return self._outcome(error, [write], refused=_is_refusal(error), took_nothing=_took_nothing(error, 1))
        return Outcome(fate=Fate.APPLIED, next_etag=self._next(write.etag))

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        """Never: where one compare fails the other writes stay applied."""
        raise NotImplementedError("Redis does not roll back; the engine asks for the isolation first")

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        """Clears the expiry that the value may have, which no read shows and which would leave no tombstone."""
        if self.transactions_keep_values:
            # A create is refused where something stands, but its PERSIST runs all the same.
            item = StateItem(key=key, value=tombstone, etag=ETAG_MINUS_ONE, ttl_seconds=_NO_EXPIRY)
            call = self._sidecar.transact
        else:
            item = StateItem(key=key, value=stored.data, etag=stored.etag, ttl_seconds=_NO_EXPIRY)
            call = self._sidecar.save
        try:
            await call(self.name, [item], timeout=timeout)
        except SidecarError as error:
            if not _is_refusal(error) or mentions_network(error.text, [key]):
                return Failure(detail=str(error))
        return await self._get(key, Consistency.STRONG, timeout)

    def _probe_item(self, key: str, value: bytes) -> StateItem:
        return StateItem(key=key, value=value, etag=None, ttl_seconds=_NO_EXPIRY)

    def _item(self, write: CompareAndSet) -> StateItem:
        first_write = write.etag is None and self.behaviour.creation is Creation.FIRST_WRITE
        return StateItem(
            key=write.key,
            value=write.data,
            etag=None if first_write else write.etag or ETAG_MINUS_ONE,
            create_only=first_write,
            ttl_seconds=_NO_EXPIRY,
            consistency=write.consistency,
        )

    def _next(self, etag: StoreEtag | None) -> StoreEtag | None:
        """Returns the version that Redis counts to when a write upon ``etag`` is applied."""
        return StoreEtag(str(int(etag) + 1 if etag else 1)) if self.behaviour.counts_etags else None


def _is_refusal(error: SidecarError) -> bool:
    """Says whether these are the words of the component's script when the version is another."""
    return error.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL) and "failed to set key" in error.text


def _took_nothing(error: SidecarError, writes: int) -> bool:
    """Says whether Redis, for want of memory, discarded the whole call.

    EXECABORT is of a whole transaction. Inside one, a script that finds no memory fails for itself alone. Neither text
    names a key; a refusal does, and the key may look like these.
    """
    if _is_refusal(error):
        return False
    return "EXECABORT" in error.text or (writes == 1 and "OOM command not allowed" in error.text)
