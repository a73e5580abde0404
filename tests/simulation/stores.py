"""Redis, PostgreSQL, SQLite and in-memory, as they behave behind Dapr: docs/stores.md, in code."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import grpc

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import decode
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.sidecar import Component, SidecarError, StateItem
from tests.simulation.applied import Applied
from tests.simulation.clocks import OffsetClock

__all__ = ["KINDS", "RedisLike", "SimStore", "make_store"]

_MISMATCH = "possible etag mismatch. error from state store: "
_TRANSACTION = "error while executing state transaction: "
_SCRIPT = "ERR user_script:{line}: failed to {verb} {store}||{key} script: 6f4bd3b0a1, on @user_script:{line}."

# What the keys of the service's own records begin with.
_OWN = internal_key("")

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

    name: str
    kind: str
    clock: OffsetClock
    chance: random.Random
    applied: Applied
    reads_singly: bool = False
    encrypted: bool = False
    """By Dapr: what a transaction writes comes back as the numbers of its bytes."""
    items: dict[str, Item] = field(default_factory=dict)
    refusals: int = 0
    deleted: int = 0

    @property
    def component(self) -> Component:
        version = "v2" if self.kind == "state.postgresql" else "v1"
        return Component(name=self.name, type=self.kind, version=version, capabilities=frozenset())

    @property
    def intents(self) -> int:
        """How many records carry an intent."""
        envelopes = (decode(item.data) for item in self.items.values())
        return sum(envelope is not None and envelope.intent is not None for envelope in envelopes)

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

    def delete(self, key: str, etag: StoreEtag) -> None:
        """Deletes one item.

        Raises:
            SidecarError: the compare does not hold.
        """
        there = self._live(key)
        if there is None or there.etag != etag:
            self.refusals += 1
            raise SidecarError(_ABORTED, self._deleting(key) + _MISMATCH + "%!w(<nil>)")
        del self.items[key]
        self.deleted += 1

    def delete_all(self, etags: Mapping[str, StoreEtag]) -> None:
        """Deletes all items or none.

        Raises:
            SidecarError: a compare does not hold.
        """
        there = {key: item for key in etags if (item := self._live(key))}
        if any(key not in there or there[key].etag != etag for key, etag in etags.items()):
            self.refusals += 1
            raise SidecarError(_INTERNAL, _TRANSACTION + _MISMATCH + "%!w(<nil>)")
        for key, etag in etags.items():
            self.delete(key, etag)

    def full(self, what: str) -> SidecarError | None:
        """Returns what the sidecar says when the store has no room; None: such stores are never full here."""
        return None

    def gone(self, cause: str, what: str) -> SidecarError:
        """Returns what the sidecar says of a call (save, transact, ...) during which the store's connection failed."""
        if what == "transact":
            return SidecarError(_INTERNAL, _TRANSACTION + cause)
        if what == "save" and self.kind == "state.sqlite":
            # With several saves at once others' mismatches are joined to it.
            return SidecarError(_ABORTED, self._saving + _MISMATCH + cause)
        return SidecarError(_INTERNAL, self._doing(what) + cause)

    @property
    def _saving(self) -> str:
        return f"failed saving state in state store {self.name}: "

    def _deleting(self, key: str) -> str:
        return f"failed deleting state with key {key}: "

    def _doing(self, what: str) -> str:
        if what == "delete":
            return self._deleting("k")
        return self._saving if what == "save" else f"fail to get from {self.name} state store: "

    def put_raw(self, key: str, value: bytes, gone_at: Instant | None) -> None:
        """Another program writes."""
        self.items[key] = Item(data=value, etag=self._next_etag(self._live(key)), gone_at=gone_at)

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
        return SidecarError(_INTERNAL if create_on_postgresql else _ABORTED, self._saving + text)

    def _put(self, item: StateItem) -> None:
        ttl = item.ttl_seconds
        gone_at = Instant(self.clock.now() + ttl * 1000) if ttl is not None and ttl > 0 else None
        self.items[item.key] = Item(data=item.value, etag=self._next_etag(self._live(item.key)), gone_at=gone_at)
        self._note(item)

    def _note(self, item: StateItem) -> None:
        self.applied.note(self.name, item.key, item.value, self.clock.loop.time())

    def _live(self, key: str) -> Item | None:
        item = self.items.get(key)
        if item is not None and item.gone_at is not None and item.gone_at <= self.clock.now():
            del self.items[key]
            return None
        return item

    def _next_etag(self, before: Item | None) -> StoreEtag:
        return StoreEtag(self.chance.randbytes(8).hex())


@dataclass(kw_only=True)
class RedisLike(SimStore):
    """Etags that count from 1 in each life, transactions that roll nothing back, expiries that reads do not show."""

    def read(self, key: str) -> Stored | None:
        item = self._live(key)
        return Stored(data=item.data, etag=item.etag) if item else None

    def save(self, item: StateItem) -> None:
        """Runs the script; a positive ttl is for ``expire``, a command of its own."""
        if item.ttl_seconds is not None and item.ttl_seconds > 0:
            self._forbid_ttl_on_records(item)
            item = replace(item, ttl_seconds=None)
        self._run(item, in_transaction=False)

    def expire(self, key: str, seconds: int) -> None:
        """Sets the expiry of whatever stands under ``key``."""
        if there := self._live(key):
            self.items[key] = replace(there, gone_at=Instant(self.clock.now() + seconds * 1000))

    def delete(self, key: str, etag: StoreEtag) -> None:
        there = self._live(key)
        if there is None:
            return
        if there.etag != etag:
            self.refusals += 1
            script = _SCRIPT.format(line=7, verb="delete", store=self.name, key=key)
            raise SidecarError(_ABORTED, self._deleting(key) + _MISMATCH + script)
        del self.items[key]
        self.deleted += 1

    def delete_all(self, etags: Mapping[str, StoreEtag]) -> None:
        refused = [key for key, etag in etags.items() if (there := self._live(key)) and there.etag != etag]
        for key, etag in etags.items():
            if key not in refused:
                self.delete(key, etag)
        if refused:
            self.refusals += 1
            scripts = (_SCRIPT.format(line=7, verb="delete", store=self.name, key=key) for key in refused)
            raise SidecarError(_INTERNAL, _TRANSACTION + "; ".join(scripts))

    def transact(self, items: Sequence[StateItem]) -> None:
        refused = [item.key for item in items if not self._run_quietly(self._as_kept(item))]
        if refused:
            self.refusals += 1
            raise SidecarError(_INTERNAL, _TRANSACTION + "; ".join(map(self._script, refused)))

    def gone(self, cause: str, what: str) -> SidecarError:
        if what == "transact":
            # Some versions name the command that failed, others do not.
            script = self._script("k") + "; " if self.chance.random() < 0.3 else ""
            return SidecarError(_INTERNAL, _TRANSACTION + script + cause)
        if what in ("save", "delete"):
            return SidecarError(_ABORTED, self._doing(what) + _MISMATCH + cause)
        return SidecarError(_INTERNAL, self._doing(what) + cause)

    def full(self, what: str) -> SidecarError | None:
        if what == "transact":
            text = "EXECABORT Transaction discarded because of previous errors."
            return SidecarError(_INTERNAL, _TRANSACTION + text)
        text = "OOM command not allowed when used memory > 'maxmemory'."
        return SidecarError(_ABORTED, self._saving + _MISMATCH + text) if what == "save" else None

    def _script(self, key: str) -> str:
        return _SCRIPT.format(line=12, verb="set key", store=self.name, key=key)

    def _run_quietly(self, item: StateItem) -> bool:
        try:
            self._run(item, in_transaction=True)
        except SidecarError:
            return False
        return True

    def _run(self, item: StateItem, *, in_transaction: bool) -> None:
        if item.create_only:
            self.applied.violations.append("FIRST_WRITE was sent to Redis")
        if item.ttl_seconds is not None and item.ttl_seconds > 0:
            self.applied.violations.append("a positive ttl was sent to Redis in a transaction")
        there = self._live(item.key)
        holds = there is None or item.etag is None or there.etag == item.etag
        if holds:
            kept = there.gone_at if there else None
            self.items[item.key] = Item(data=item.value, etag=self._next_etag(there), gone_at=kept)
            self._note(item)
        if (holds or in_transaction) and item.ttl_seconds is not None and item.key in self.items:
            later = Instant(self.clock.now() + item.ttl_seconds * 1000) if item.ttl_seconds > 0 else None
            self.items[item.key] = replace(self.items[item.key], gone_at=later)
        if not holds:
            self.refusals += 1
            raise SidecarError(_ABORTED, self._saving + _MISMATCH + self._script(item.key))

    def _forbid_ttl_on_records(self, item: StateItem) -> None:
        # An expiry of Redis's own leaves no tombstone. What is the service's own is never created twice.
        if not item.key.startswith(_OWN):
            self.applied.violations.append("a positive ttl was sent to Redis for a record")

    def _next_etag(self, before: Item | None) -> StoreEtag:
        return StoreEtag(str(int(before.etag) + 1 if before else 1))


KINDS = ("state.redis", "state.postgresql", "state.sqlite", "state.in-memory")


def make_store(
    kind: str,
    clock: OffsetClock,
    chance: random.Random,
    *,
    applied: Applied,
    name: str = "sim",
    encrypted: bool = False,
) -> SimStore:
    """Returns an empty store of ``kind``, which notes in ``applied`` what it applies."""
    make = RedisLike if kind == "state.redis" else SimStore
    return make(
        name=name,
        kind=kind,
        clock=clock,
        chance=chance,
        applied=applied,
        reads_singly=kind in ("state.redis", "state.in-memory"),
        encrypted=encrypted,
    )
