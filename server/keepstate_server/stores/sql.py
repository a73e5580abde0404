"""Stores with true transactions and etags that are never used again.

PostgreSQL v2, SQLite, in-memory, and Keepstate's own embedded store.
"""

from collections.abc import Sequence

import grpc

from keepstate_server.stores.base import Absence, CompareAndSet, Fate, Isolation, Outcome, ReadResult, Stored
from keepstate_server.stores.dapr_store import ETAG_MINUS_ONE, DaprStore, seconds
from keepstate_server.stores.judgement import Behaviour, Creation, Kind
from keepstate_server.stores.kind_probes import KindProbes
from keepstate_server.stores.kinds import SQL
from keepstate_server.stores.sidecar import Component, Sidecar, SidecarError, StateItem
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["SqlStore"]


class SqlStore(DaprStore):
    """A store whose transactions roll back, and in which value and expiry change in one step."""

    known = Behaviour(creation=Creation.FIRST_WRITE, counts_etags=False, rolls_back=True)
    tells_expiry = True
    removes_dead = True

    def __init__(
        self,
        sidecar: Sidecar,
        component: Component,
        *,
        shared: bool = False,
        kind: Kind = SQL,
        probes: KindProbes | None = None,
        bulk_absence: Absence = Absence.LIKELY,
        breaks_off: bool = True,
    ) -> None:
        """Speaks to ``component``. The first arguments are those of every store.

        Args:
            bulk_absence: what it means that a bulk read found nothing under a key.
            breaks_off: whether a call that nobody waits for any more may be broken off.
        """
        super().__init__(sidecar, component, shared=shared, kind=kind, probes=probes)
        if not breaks_off:
            sidecar.let_finish(component.name)
        self.bulk_absence = bulk_absence

    @property
    def isolation(self) -> Isolation:
        """Rollback, as long as none was seen to fail and Dapr's encryption does not forbid transaction calls."""
        usable = self.transactions_keep_values and self.behaviour.rolls_back
        return Isolation.ROLLBACK if usable else Isolation.NONE

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        """Performs each write independently: several at first in one transaction, which is much cheaper.

        If one is refused the transaction rolls back whole; then each is saved for itself.
        """
        limit = TimeLimit(timeout)
        if len(writes) > 1 and self.isolation is Isolation.ROLLBACK:
            outcome = await self.transact(writes, timeout=limit.left)
            if outcome.fate is not Fate.REFUSED:
                return [outcome] * len(writes)
        try:
            await self._sidecar.save(self.name, [self._item(write) for write in writes], timeout=limit.left)
        except SidecarError as error:
            # With several items it may have been another's refusal, or another's lack of room: only a read can tell.
            alone = len(writes) == 1
            outcome = self._outcome(
                error, writes, refused=alone and _is_refusal(error), took_nothing=alone and _is_full(error)
            )
            return [outcome] * len(writes)
        return [Outcome(fate=Fate.APPLIED)] * len(writes)

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        """Performs one write; here the expiry always goes with it."""
        return (await self.write([write], timeout=timeout))[0]

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        """Performs all writes or none, in the order of their keys: two transactions never wait for each other."""
        items = [self._item(write) for write in sorted(writes, key=lambda write: write.key)]
        try:
            await self._sidecar.transact(self.name, items, timeout=timeout)
        except SidecarError as error:
            return self._outcome(error, writes, refused=_is_refusal(error), took_nothing=_is_full(error))
        return Outcome(fate=Fate.APPLIED)

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        """Returns ``stored``: its expiry is seen, and goes with the write."""
        del key, tombstone, timeout
        return stored

    def _item(self, write: CompareAndSet) -> StateItem:
        first_write = write.etag is None and self.behaviour.creation is Creation.FIRST_WRITE
        return StateItem(
            key=write.key,
            value=write.data,
            etag=None if first_write else write.etag or ETAG_MINUS_ONE,
            create_only=first_write,
            ttl_seconds=None if write.keep_for is None else seconds(write.keep_for),
            consistency=write.consistency,
        )


def _is_refusal(error: SidecarError) -> bool:
    """Says whether these are the words of a compare that did not hold.

    A create where something stands is "no item was updated" on PostgreSQL. A transaction's failure is always INTERNAL,
    with the cause in the text alone.
    """
    text = error.text.lower()
    words = "etag mismatch" in text or "no item was updated" in text
    return error.code is grpc.StatusCode.ABORTED or (error.code is grpc.StatusCode.INTERNAL and words)


def _is_full(error: SidecarError) -> bool:
    """Says whether the store took nothing because its disk is full (SQLite's words, PostgreSQL's code)."""
    return error.code is grpc.StatusCode.INTERNAL and any(
        words in error.text for words in ("database or disk is full", "SQLSTATE 53100")
    )
