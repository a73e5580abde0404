"""A sidecar before a store that does all that the contract needs, but for the defects that a test plants in it."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import grpc

from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Instant
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.sidecar import BulkItem, Component, Sidecar, SidecarError, StateItem

MIB = 1024 * 1024


class Defect(Enum):
    """What a store may do instead of what it should."""

    SAVES_ANY_ETAG = auto()
    REFUSES_ANY_ETAG = auto()
    KEEPS_ETAG = auto()
    HAS_NO_ETAGS = auto()
    DELETES_ANY_ETAG = auto()
    REFUSES_ANY_DELETE = auto()
    FIRST_WRITE_OVERWRITES = auto()
    FIRST_WRITE_NEVER_CREATES = auto()
    CREATES_FOR_ANY_ETAG = auto()
    CREATES_FOR_MINUS_ONE = auto()
    COUNTS_ETAGS = auto()
    COUNTS_ETAGS_FOR_GOOD = auto()
    REFUSES_EMPTY_VALUES = auto()
    LOSES_EMPTY_VALUES = auto()
    CUTS_AT_NUL = auto()
    FORGETS_IN_BULK = auto()
    INVENTS_IN_BULK = auto()
    DESTROYS_IN_TRANSACTIONS = auto()
    HAS_NO_TRANSACTIONS = auto()
    NEVER_ROLLS_BACK = auto()
    TAKES_ALL_TRANSACTIONS = auto()
    COMPARES_BEFORE_IT_WAITS = auto()
    SHOWS_NO_EXPIRY = auto()
    NEVER_EXPIRES = auto()
    KEEPS_EARLIER_TTL = auto()
    TAKES_NO_TTL_MINUS_ONE = auto()
    EXPIRES_WHAT_IT_REFUSED_TO_WRITE = auto()
    HAS_A_TTL_OF_ITS_OWN = auto()
    TAKES_NO_LONG_KEYS = auto()
    CUTS_LONG_KEYS = auto()
    TAKES_4_MIB = auto()


_D = Defect


@dataclass
class Item:
    data: bytes
    etag: str
    gone_at: float = math.inf


@dataclass(eq=False)
class PlainSidecar(Sidecar):
    """One store, whatever it is called."""

    defects: frozenset[Defect] = frozenset()
    items: dict[str, Item] = field(default_factory=dict)
    known: list[Component] = field(default_factory=list)
    now: float = 0.0
    calls: list[str] = field(default_factory=list)
    away_after: int | None = None
    """After so many calls the store does not answer any more, but to deletes."""
    busy_at: int | None = None
    """This call, by its number, fails for a moment's reason."""
    busy_text: str = "database is locked (5) (SQLITE_BUSY)"
    """How the store words that."""
    refuses_from: int | None = None
    """From this call on it refuses whatever it is asked but reads, in words that nobody knows."""
    away: str = ""
    """The store of this name never answers, but to deletes."""
    hang_at: int | None = None
    """This call, by its number, is never answered."""

    def __post_init__(self) -> None:
        super().__init__(SidecarAddress(grpc="127.0.0.1:1", http=None), max_message_bytes=1024)
        self.longest_timeout = 0.0
        self._numbers = itertools.count(1)
        self.hanging = asyncio.Event()

    async def pass_(self, seconds: float) -> None:
        """Lets time go by, once whoever else is at work has come to wait, too."""
        for _ in range(50):
            await asyncio.sleep(0)
        self.now += seconds

    def has(self, defect: Defect) -> bool:
        return defect in self.defects

    async def components(self, *, timeout: float) -> Sequence[Component]:
        return self.known

    async def get(self, store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        await self._call("get", timeout, store)
        return self._read(key)

    async def get_bulk(self, store: str, keys: Sequence[str], *, timeout: float) -> Mapping[str, BulkItem]:
        await self._call("get_bulk", timeout, store)
        found = {key: self._read(key) for key in keys}
        if self.has(_D.FORGETS_IN_BULK):
            found[keys[-1]] = None
        if self.has(_D.INVENTS_IN_BULK):
            found = {key: stored or Stored(data=b"", etag=StoreEtag("x")) for key, stored in found.items()}
        return {key: BulkItem(stored=stored) for key, stored in found.items()}

    async def save(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        await self._call("save", timeout, store)
        for item in items:
            holds = self._holds(item)
            if self.has(_D.COMPARES_BEFORE_IT_WAITS):
                await asyncio.sleep(0)
            self._check(item, holds, grpc.StatusCode.ABORTED)
            self._put(item, item.value)

    async def transact(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        await self._call("transact", timeout, store)
        if self.has(_D.HAS_NO_TRANSACTIONS):
            raise SidecarError(grpc.StatusCode.UNIMPLEMENTED, "state store doesn't support transaction")
        held = [item for item in items if self._holds(item)]
        refused = [item for item in items if item not in held]
        if not refused or self.has(_D.NEVER_ROLLS_BACK) or self.has(_D.TAKES_ALL_TRANSACTIONS):
            for item in held:
                destroyed = self.has(_D.DESTROYS_IN_TRANSACTIONS)
                self._put(item, str(list(item.value)).encode() if destroyed else item.value)
        if self.has(_D.EXPIRES_WHAT_IT_REFUSED_TO_WRITE):
            for item in refused:
                self.items[item.key].gone_at = self._later(item.ttl_seconds)
        if refused and not self.has(_D.TAKES_ALL_TRANSACTIONS):
            raise SidecarError(grpc.StatusCode.INTERNAL, "possible etag mismatch")

    async def delete(self, store: str, key: str, *, etag: StoreEtag | None, timeout: float) -> None:
        await self._call("delete", timeout, store)
        item = self.items.get(key)
        differs = etag is not None and (item is None or item.etag != etag)
        if (differs and not self.has(_D.DELETES_ANY_ETAG)) or (etag is not None and self.has(_D.REFUSES_ANY_DELETE)):
            raise SidecarError(grpc.StatusCode.ABORTED, "possible etag mismatch")
        self.items.pop(key, None)

    async def _call(self, name: str, timeout: float, store: str) -> None:
        if store == self.away and name != "delete":
            await asyncio.Event().wait()
        self.calls.append(name)
        self.longest_timeout = max(self.longest_timeout, timeout)
        if len(self.calls) == self.hang_at:
            self.hanging.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if len(self.calls) == self.busy_at:
            raise SidecarError(grpc.StatusCode.ABORTED, f"possible etag mismatch: {self.busy_text}")
        if self.refuses_from is not None and len(self.calls) >= self.refuses_from and not name.startswith("get"):
            raise SidecarError(grpc.StatusCode.ABORTED, "possible etag mismatch: words that nobody knows")
        if timeout <= 0:
            raise SidecarError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if self.away_after is not None and len(self.calls) > self.away_after and name != "delete":
            # As Redis components say it: a mismatch, but for the cause.
            raise SidecarError(grpc.StatusCode.ABORTED, "possible etag mismatch: dial tcp: connection refused")

    def _live(self, key: str) -> Item | None:
        item = self.items.get(key)
        if item and item.gone_at <= self.now and not self.has(_D.NEVER_EXPIRES):
            del self.items[key]
            return None
        return item

    def _read(self, key: str) -> Stored | None:
        item = self._live(key)
        if item is None or (self.has(_D.CUTS_LONG_KEYS) and len(key) > 1024):
            return None
        shown = item.gone_at < math.inf and not self.has(_D.SHOWS_NO_EXPIRY)
        etag = "none" if self.has(_D.HAS_NO_ETAGS) else item.etag
        return Stored(
            data=item.data, etag=StoreEtag(etag), expire_time=Instant(int(item.gone_at * 1000)) if shown else None
        )

    def _holds(self, item: StateItem) -> bool:
        there = self._live(item.key)
        if item.create_only:
            return (there is None or self.has(_D.FIRST_WRITE_OVERWRITES)) and not self.has(_D.FIRST_WRITE_NEVER_CREATES)
        if item.etag is None:
            return True
        if there is None:
            minus_one = item.etag == "-1" and self.has(_D.CREATES_FOR_MINUS_ONE)
            return minus_one or self.has(_D.CREATES_FOR_ANY_ETAG) or self.has(_D.SAVES_ANY_ETAG)
        return (there.etag == item.etag and not self.has(_D.REFUSES_ANY_ETAG)) or self.has(_D.SAVES_ANY_ETAG)

    def _check(self, item: StateItem, holds: bool, code: grpc.StatusCode) -> None:
        if not holds:
            raise SidecarError(code, f"possible etag mismatch, key {item.key}")
        if item.ttl_seconds == -1 and self.has(_D.TAKES_NO_TTL_MINUS_ONE):
            raise SidecarError(grpc.StatusCode.INTERNAL, "ttl must not be negative")
        if not item.value and self.has(_D.REFUSES_EMPTY_VALUES):
            raise SidecarError(grpc.StatusCode.INTERNAL, "value must not be null")
        if len(item.key) > 1024 and self.has(_D.TAKES_NO_LONG_KEYS):
            raise SidecarError(grpc.StatusCode.INTERNAL, "key too long")
        if len(item.value) > 4 * MIB and self.has(_D.TAKES_4_MIB):
            raise SidecarError(grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max")

    def _put(self, item: StateItem, data: bytes) -> None:
        there = self._live(item.key)
        if self.has(_D.CUTS_AT_NUL):
            data = data.split(b"\0")[0]
        if not data and self.has(_D.LOSES_EMPTY_VALUES):
            return
        gone_at = self._later(item.ttl_seconds)
        if item.ttl_seconds is None and there and self.has(_D.KEEPS_EARLIER_TTL):
            gone_at = there.gone_at
        if item.ttl_seconds is None and self.has(_D.HAS_A_TTL_OF_ITS_OWN):
            gone_at = self.now + 100
        self.items[item.key] = Item(data=data, etag=self._etag(there), gone_at=gone_at)

    def _etag(self, there: Item | None) -> str:
        if there and self.has(_D.KEEPS_ETAG):
            return there.etag
        if self.has(_D.COUNTS_ETAGS):
            return str(int(there.etag) + 1 if there else 1)
        number = next(self._numbers)
        return str(number) if self.has(_D.COUNTS_ETAGS_FOR_GOOD) else f"e{number}"

    def _later(self, ttl: int | None) -> float:
        return math.inf if ttl is None or ttl < 0 else self.now + ttl
