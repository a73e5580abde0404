"""What all Dapr state stores have in common: how they are read, and what is looked at before the first write."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc
import structlog

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Absence, CompareAndSet, Failure, Fate, Lack, Outcome, ReadResult, StoreEtag
from keepstate_server.stores.failures import mentions_network
from keepstate_server.stores.judgement import Behaviour, Kind, refined
from keepstate_server.stores.kind_probes import Judged, KindProbes
from keepstate_server.stores.kinds import UNKNOWN
from keepstate_server.stores.sidecar import BulkItem, Component, Sidecar, SidecarError, StateItem
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["ETAG_MINUS_ONE", "DaprStore", "seconds"]

_log = structlog.get_logger(__name__)

# How many single reads go out at once.
_PARALLEL = 32

# Codes with which the sidecar itself turns a call away, before any store has seen it.
_TURNED_AWAY = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)
ETAG_MINUS_ONE = StoreEtag("-1")
"""On some stores, with concurrency unset: creates where there is nothing, is refused where there is something."""

_PROBE = b"\xf5probe"

_OWN_TTL = Lack(
    capability="component's ttl",
    explanation="it can only be read: what is saved without a ttl expires; remove ttlInSeconds from the component",
)


def seconds(duration: timedelta) -> int:
    """Returns ``duration`` in the whole seconds that Dapr counts in, rounded up."""
    return -(-duration // timedelta(seconds=1))


class DaprStore:
    """A state component behind the sidecar. Subclasses know how it is written."""

    bulk_absence = Absence.LIKELY
    """What it means that a bulk read found nothing under a key."""

    known: Behaviour
    """What is known of such stores."""

    def __init__(
        self,
        sidecar: Sidecar,
        component: Component,
        *,
        shared: bool = False,
        kind: Kind = UNKNOWN,
        probes: KindProbes | None = None,
    ) -> None:
        """Speaks to ``component`` through ``sidecar``.

        Args:
            sidecar: the way to it.
            component: what is spoken to.
            shared: other programs go on writing the same keys.
            kind: what checks are expected to see.
            probes: where is looked before the first write whether that is so; None: it is taken to be so.
        """
        self.component = component
        self.shared = shared
        self._sidecar = sidecar
        self._kind = kind
        self._probes = probes
        self._judged: Judged | None = None
        self._behaviour: Behaviour | None = None
        self._transactions_keep_values = False
        self._own_lack: Lack | None = None
        self._probed_connection = -1  # none yet
        self._scope = (-1, "")

    @property
    def name(self) -> str:
        """The component's name."""
        return self.component.name

    @property
    def scope(self) -> str:
        """The component's name on the present connection: a sidecar that came back may have another store behind it."""
        connection = self._sidecar.connection
        if self._scope[0] != connection:  # every operation asks
            self._scope = (connection, f"{self.name}@{connection}")
        return self._scope[1]

    @property
    def lack(self) -> Lack | None:
        """Why nothing may be written, as far as was seen."""
        return (self._judged.lack if self._judged else None) or self._own_lack

    @property
    def behaviour(self) -> Behaviour:
        """What the store does: as it is known, or as it was seen."""
        return self._behaviour or self.known

    @property
    def transactions_keep_values(self) -> bool:
        """Whether values written by state transactions come back: with Dapr's encryption they are destroyed."""
        return self._transactions_keep_values

    async def read(
        self, keys: Sequence[str], *, consistency: Consistency, sure: bool, timeout: float
    ) -> Mapping[str, ReadResult]:
        """Reads each key once: one alone by a single read, several by one bulk read, or by single ones if ``sure``."""
        if len(keys) == 1:
            return {keys[0]: await self._get(keys[0], consistency, timeout)}
        if not keys:
            return {}
        if sure and self.bulk_absence is not Absence.CERTAIN:
            return await self._get_each(keys, consistency, timeout)
        return await self._get_bulk(keys, consistency, timeout)

    async def delete(self, etags: Mapping[str, StoreEtag], *, timeout: float) -> bool:
        """Deletes each key if the store's etag is still the one given. Says whether all are certainly gone."""
        try:
            await self._sidecar.delete_all(self.name, etags, timeout=timeout)
        except SidecarError as error:
            _log.info("deletes not confirmed", store=self.name, detail=str(error))
            return False
        return True

    async def prepare(self, *, timeout: float) -> Failure | Lack | None:
        """Looks, once for each kind of component, at what the store does; and at each component's own settings."""
        limit = TimeLimit(timeout)
        if self._probes is not None:
            judged = await self._probes.of(self.component, self._kind, timeout=limit.left)
            if isinstance(judged, Failure):
                return judged
            if judged is not self._judged:
                self._judged, self._behaviour = judged, refined(self.known, judged.observations)
            if judged.lack:
                return judged.lack
        return await self._look_at_settings(limit) or self._own_lack

    async def _look_at_settings(self, limit: TimeLimit) -> Failure | None:
        """Finds out whether the component encrypts, which destroys transactions' values, and has a ttl of its own."""
        # A sidecar that came back may have another component file: what was found out holds for one connection.
        connection = self._sidecar.connection
        if self._probed_connection == connection:
            return None
        # One key, that stays: this is asked by every instance, and often.
        key = internal_key("probe")
        # Different each time, so that what an earlier instance wrote there is never taken for this one's.
        value = _PROBE + os.urandom(16)
        try:
            await self._sidecar.transact(self.name, [self._probe_item(key, value)], timeout=limit.left)
            found = await self._sidecar.get(self.name, key, consistency=Consistency.STRONG, timeout=limit.left)
        except SidecarError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                return Failure(detail=str(error))
            self._transactions_keep_values, self._probed_connection = False, connection
            return None
        if found is None:
            return Failure(detail="what the probe wrote is not there")
        # Another instance may have written its own in between: its form shows as much.
        self._transactions_keep_values = found.data.startswith(_PROBE) and len(found.data) == len(value)
        if not self._transactions_keep_values:
            _log.warning("transactions destroy values: writes go as saves", store=self.name)
        self._own_lack = None if found.expire_time is None else _OWN_TTL
        self._probed_connection = connection
        return None

    def _probe_item(self, key: str, value: bytes) -> StateItem:
        return StateItem(key=key, value=value, etag=None)

    async def _get(self, key: str, consistency: Consistency, timeout: float) -> ReadResult:
        try:
            found = await self._sidecar.get(self.name, key, consistency=consistency, timeout=timeout)
        except SidecarError as error:
            return Failure(detail=str(error))
        return found or Absence.CERTAIN

    async def _get_each(
        self, keys: Sequence[str], consistency: Consistency, timeout: float
    ) -> Mapping[str, ReadResult]:
        room = asyncio.Semaphore(_PARALLEL)

        async def one(key: str) -> ReadResult:
            async with room:
                return await self._get(key, consistency, timeout)

        return dict(zip(keys, await asyncio.gather(*map(one, keys)), strict=True))

    async def _get_bulk(
        self, keys: Sequence[str], consistency: Consistency, timeout: float
    ) -> Mapping[str, ReadResult]:
        limit = TimeLimit(timeout)
        try:
            items = await self._sidecar.get_bulk(self.name, keys, timeout=timeout)
        except SidecarError as error:
            if error.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                return dict.fromkeys(keys, Failure(detail=str(error)))
            # The answer is too large for one message: ask for half at a time.
            middle = len(keys) // 2
            first = await self.read(keys[:middle], consistency=consistency, sure=False, timeout=limit.left)
            second = await self.read(keys[middle:], consistency=consistency, sure=False, timeout=limit.left)
            return {**first, **second}
        return {key: self._bulk_result(items.get(key)) for key in keys}

    def _bulk_result(self, item: BulkItem | None) -> ReadResult:
        if item is None:
            return Absence.LIKELY
        if item.error:
            return Failure(detail=item.error)
        return item.stored or self.bulk_absence

    def _outcome(
        self, error: SidecarError, writes: Sequence[CompareAndSet], *, refused: bool, took_nothing: bool
    ) -> Outcome:
        """Returns the fate of writes that failed so.

        Args:
            error: how they failed.
            writes: all that were in the call.
            refused: the store's words are those of a refusal of them.
            took_nothing: the store's words are those of one that is full, and took none of them.
        """
        if took_nothing or error.not_sent or error.too_large or (error.code in _TURNED_AWAY and not refused):
            fate = Fate.FAILED
        elif refused and not mentions_network(error.text, (write.key for write in writes)):
            fate = Fate.REFUSED
        else:
            fate = Fate.UNCERTAIN
        return Outcome(fate=fate, detail=str(error))
