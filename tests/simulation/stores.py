"""Redis, PostgreSQL, SQLite and in-memory, as they behave behind Dapr: docs/stores.md, in code.

Each keeps a note of every write that was applied: what the engine's answers are held to.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import grpc

from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from keepstate_server.engine.trail import FirstAnswer
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.sidecar import Component, SidecarError, StateItem
from tests.simulation.clocks import OffsetClock

__all__ = ["KINDS", "SimStore", "make_store"]

_SAVING = "failed saving state in state store sim: "
_MISMATCH = "possible etag mismatch. error from state store: "
_TRANSACTION = "error while executing state transaction: "
_SCRIPT = "ERR user_script:12: failed to set key sim||{key} script: 6f4bd3b0a1, on @user_script:12."

_ABORTED, _INTERNAL = grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """What stands under a key."""

    data: bytes
    etag: StoreEtag
    gone_at: Instant | None = None


@dataclass(kw_only=True)
class SimStore:
    """A store that rolls back and makes up random etags; ``RedisLike`` does neither."""

    kind: str
    clock: OffsetClock
    chance: random.Random
    reads_singly: bool = False
    encrypted: bool = False
    """By Dapr: what a transaction writes comes back as the numbers of its bytes."""
    items: dict[str, Item] = field(default_factory=dict)
    carried: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    """By key and request (client and number): the compare-and-set that said it applies it. Never more than one."""
    landed: dict[tuple[str, int, int], float] = field(default_factory=dict)
    """By key and request: when that was applied; seconds."""
    violations: list[str] = field(default_factory=list)
    refusals: int = 0

    @property
    def component(self) -> Component:
        version = "v2" if self.kind == "state.postgresql" else "v1"
        return Component(name="sim", type=self.kind, version=version, capabilities=frozenset())

    def read(self, key: str) -> Stored | None:
        item = self._live(key)
        return Stored(data=item.data, etag=item.etag, expire_time=item.gone_at) if item else None

    def save(self, item: StateItem) -> None:
        """Saves one item.

        Raises:
            SidecarError: the compare does not hold.
        """
        if not self._holds(item):
            self.refusals += 1
            raise self._refused(item, transaction=False)
        self._put(item)

    def transact(self, items: Sequence[StateItem]) -> None:
        """Saves all items or none.

        Raises:
            SidecarError: a compare does not hold.
        """
        for item in items:
            if not self._holds(item):
                self.refusals += 1
                raise self._refused(item, transaction=True)
        for item in items:
            self._put(self._as_kept(item))

    def _as_kept(self, item: StateItem) -> StateItem:
        return replace(item, value=str(list(item.value)).encode()) if self.encrypted else item

    def full(self, transaction: bool) -> SidecarError | None:
        """Returns what the sidecar says when the store has no room; None: such stores are never full here."""
        return None

    def gone(self, cause: str, writes: bool, transaction: bool) -> SidecarError:
        """Returns what the sidecar says when the store's connection failed."""
        if transaction:
            return SidecarError(_INTERNAL, _TRANSACTION + cause)
        if writes and self.kind == "state.sqlite":
            # With several saves at once others' mismatches are joined to it.
            return SidecarError(_ABORTED, _SAVING + _MISMATCH + cause)
        return SidecarError(_INTERNAL, (_SAVING if writes else "fail to get from sim state store: ") + cause)

    def put_raw(self, key: str, value: bytes, gone_at: Instant | None) -> None:
        """Another program writes."""
        self.items[key] = Item(data=value, etag=self._next_etag(None), gone_at=gone_at)

    def _holds(self, item: StateItem) -> bool:
        there = self._live(item.key)
        if item.etag is None:
            return there is None or not item.create_only
        return there is not None and there.etag == item.etag

    def _refused(self, item: StateItem, *, transaction: bool) -> SidecarError:
        create_on_postgresql = self.kind == "state.postgresql" and item.etag is None
        text = "no item was updated" if create_on_postgresql else _MISMATCH + "%!w(<nil>)"
        if transaction:
            return SidecarError(_INTERNAL, _TRANSACTION + text)
        return SidecarError(_INTERNAL if create_on_postgresql else _ABORTED, _SAVING + text)

    def _put(self, item: StateItem) -> None:
        ttl = item.ttl_seconds
        gone_at = Instant(self.clock.now() + ttl * 1000) if ttl is not None and ttl > 0 else None
        self.items[item.key] = Item(data=item.value, etag=self._next_etag(self._live(item.key)), gone_at=gone_at)
        self._watch(item)

    def _live(self, key: str) -> Item | None:
        item = self.items.get(key)
        if item is not None and item.gone_at is not None and item.gone_at <= self.clock.now():
            del self.items[key]
            return None
        return item

    def _next_etag(self, before: Item | None) -> StoreEtag:
        return StoreEtag(self.chance.randbytes(8).hex())

    def _watch(self, item: StateItem) -> None:
        """Holds every applied write to promise 11: no request is applied by two of them."""
        envelope = decode(item.value)
        if envelope is None:
            return
        entry = envelope.trail.entries[0]
        for requests in entry.requests:
            if requests.answer is not FirstAnswer.APPLIED:
                continue
            for number in range(requests.first, requests.first + requests.more + 1):
                request = (item.key, requests.client, number)
                if self.carried.setdefault(request, entry.write) != entry.write:
                    self.violations.append(f"request {requests.client}/{number} on {item.key} was applied twice")
                self.landed.setdefault(request, self.clock.loop.time())


@dataclass(kw_only=True)
class RedisLike(SimStore):
    """Etags that count from 1 in each life, transactions that roll nothing back, expiries that reads do not show."""

    def read(self, key: str) -> Stored | None:
        item = self._live(key)
        return Stored(data=item.data, etag=item.etag) if item else None

    def save(self, item: StateItem) -> None:
        self._run(item, in_transaction=False)

    def transact(self, items: Sequence[StateItem]) -> None:
        refused = [item.key for item in items if not self._run_quietly(self._as_kept(item))]
        if refused:
            self.refusals += 1
            raise SidecarError(_INTERNAL, _TRANSACTION + "; ".join(_SCRIPT.format(key=key) for key in refused))

    def gone(self, cause: str, writes: bool, transaction: bool) -> SidecarError:
        if transaction:
            # Some versions name the command that failed, others do not.
            script = _SCRIPT.format(key="k") + "; " if self.chance.random() < 0.3 else ""
            return SidecarError(_INTERNAL, _TRANSACTION + script + cause)
        if writes:
            return SidecarError(_ABORTED, _SAVING + _MISMATCH + cause)
        return SidecarError(_INTERNAL, "fail to get from sim state store: " + cause)

    def full(self, transaction: bool) -> SidecarError | None:
        if transaction:
            text = "EXECABORT Transaction discarded because of previous errors."
            return SidecarError(_INTERNAL, _TRANSACTION + text)
        text = "OOM command not allowed when used memory > 'maxmemory'."
        return SidecarError(_ABORTED, _SAVING + _MISMATCH + text)

    def _run_quietly(self, item: StateItem) -> bool:
        try:
            self._run(item, in_transaction=True)
        except SidecarError:
            return False
        return True

    def _run(self, item: StateItem, *, in_transaction: bool) -> None:
        if item.create_only:
            self.violations.append("FIRST_WRITE was sent to Redis")
        if item.ttl_seconds is not None and item.ttl_seconds > 0:
            self.violations.append("a positive ttl was sent to Redis")
        there = self._live(item.key)
        holds = there is None or item.etag is None or there.etag == item.etag
        if holds:
            kept = there.gone_at if there else None
            self.items[item.key] = Item(data=item.value, etag=self._next_etag(there), gone_at=kept)
            self._watch(item)
        if (holds or in_transaction) and item.ttl_seconds is not None and item.key in self.items:
            later = Instant(self.clock.now() + item.ttl_seconds * 1000) if item.ttl_seconds > 0 else None
            self.items[item.key] = replace(self.items[item.key], gone_at=later)
        if not holds:
            self.refusals += 1
            raise SidecarError(_ABORTED, _SAVING + _MISMATCH + _SCRIPT.format(key=item.key))

    def _next_etag(self, before: Item | None) -> StoreEtag:
        return StoreEtag(str(int(before.etag) + 1 if before else 1))


KINDS = ("state.redis", "state.postgresql", "state.sqlite", "state.in-memory")


def make_store(kind: str, clock: OffsetClock, chance: random.Random, *, encrypted: bool = False) -> SimStore:
    """Returns an empty store of ``kind``."""
    make = RedisLike if kind == "state.redis" else SimStore
    singly = kind in ("state.redis", "state.in-memory")
    return make(kind=kind, clock=clock, chance=chance, reads_singly=singly, encrypted=encrypted)
