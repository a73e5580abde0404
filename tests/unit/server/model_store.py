"""A store in memory that does what a test has it do to calls and replies.

It is honest about one thing: what it says of a write's fate is never more than the real adapters can know. ``counts``
makes it like Redis (etags count from 1 and begin again with each life of a key, a compare on a key that is not there
creates it, expiries of other programs are not shown), else it is like a SQL store (random etags, a physical expiry
with each write, transactions that roll back).

Faults, steps and counts are of callers' records: the service's own (journals, outcomes) are always kept as asked. What
becomes of those when calls fail is the simulation's affair.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum, auto

from keepstate_server.domain.names import internal_key
from keepstate_server.domain.records import Consistency
from keepstate_server.domain.times import Clock, Instant, in_milliseconds
from keepstate_server.stores.base import (
    Absence,
    CompareAndSet,
    Failure,
    Fate,
    Isolation,
    Lack,
    Outcome,
    ReadResult,
    Stored,
    StoreEtag,
)


def _own(key: str) -> bool:
    return key.startswith(internal_key(""))


class WriteFault(Enum):
    """What happens to one call that writes."""

    NONE = auto()
    REPLY_LOST = auto()
    """Applied as far as the compares hold, but nobody hears of it."""
    REQUEST_LOST = auto()
    """Not applied, ever, and nobody hears of it."""
    LATE = auto()
    """Not applied now but when the test delivers it, and nobody hears of it."""
    NOT_SENT = auto()
    """The sidecar could not be reached."""
    UNTOLD = auto()
    """Applied as far as the compares hold; the answer does not tell which of the writes were."""
    SENT_AGAIN = auto()
    """Applied, and then tried again by the store's own client, whose answer is that of the second try."""


class ReadFault(Enum):
    """What happens to one call that reads."""

    NONE = auto()
    FAILS = auto()
    BROKEN_OFF = auto()
    """All keys but the first seem absent, as where a query breaks off in the middle; only if ``sure`` was not asked."""


@dataclass(frozen=True, kw_only=True)
class Item:
    data: bytes
    etag: StoreEtag
    gone_at: Instant | None = None
    """When the store itself removes it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    kind: str
    keys: tuple[str, ...]
    sure: bool = False


Step = Callable[[], Awaitable[None]]


@dataclass(kw_only=True)
class ModelStore:
    clock: Clock
    name: str = "model"
    counts: bool = False
    source: random.Random = field(default_factory=lambda: random.Random(7))
    write_faults: deque[WriteFault] = field(default_factory=deque)
    read_faults: deque[ReadFault] = field(default_factory=deque)
    prepare_faults: deque[str] = field(default_factory=deque)
    lack: Lack | None = None
    adopt_faults: deque[str] = field(default_factory=deque)
    scope: str = "the first connection"
    shared: bool = False
    """Other programs go on writing the same keys."""
    adopting_rewrites: bool = False
    """A value is adopted by writing it again as it is, as where Dapr encrypts."""
    before_read: deque[Step] = field(default_factory=deque)
    before_write: deque[Step] = field(default_factory=deque)
    """Each runs before one call: what others do in between."""
    items: dict[str, Item] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    applied: list[CompareAndSet] = field(default_factory=list)
    """Every write that took effect, in order."""
    under_way: list[Sequence[CompareAndSet]] = field(default_factory=list)
    """What will arrive late."""

    @property
    def isolation(self) -> Isolation:
        return Isolation.STEP if self.counts else Isolation.ROLLBACK

    @property
    def tells_expiry(self) -> bool:
        return not self.counts

    @property
    def removes_dead(self) -> bool:
        return not self.counts

    # What the engine calls

    async def read(
        self, keys: Sequence[str], *, consistency: Consistency, sure: bool, timeout: float
    ) -> Mapping[str, ReadResult]:
        del consistency
        assert len(set(keys)) == len(keys)
        if all(map(_own, keys)):
            return {key: self._stored(key) for key in keys}
        self.calls.append(Call(kind="read", keys=tuple(keys), sure=sure))
        await self._step(self.before_read)
        fault = self.read_faults.popleft() if self.read_faults else ReadFault.NONE
        if fault is ReadFault.FAILS or timeout <= 0:
            return dict.fromkeys(keys, Failure(detail="the model does not answer"))
        found: dict[str, ReadResult] = {key: self._stored(key) for key in keys}
        if not sure and not self.counts and len(keys) > 1:
            for key in keys[1:]:
                if fault is ReadFault.BROKEN_OFF or found[key] is Absence.CERTAIN:
                    found[key] = Absence.LIKELY
            if found[keys[0]] is Absence.CERTAIN:
                found[keys[0]] = Absence.LIKELY
        return found

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        if all(_own(write.key) for write in writes):
            return [
                Outcome(fate=Fate.APPLIED, next_etag=self._next_etag(write))
                if self._apply([write])
                else Outcome(fate=Fate.REFUSED)
                for write in writes
            ]
        self.calls.append(Call(kind="write", keys=tuple(write.key for write in writes)))
        await self._step(self.before_write)
        fault = self._fault(timeout)
        unheard = self._unheard(fault, [[write] for write in writes])
        if unheard is not None:
            return [unheard] * len(writes)
        done = [self._apply([write]) for write in writes]
        if all(done):
            return [Outcome(fate=Fate.APPLIED, next_etag=self._next_etag(write)) for write in writes]
        # With several writes nobody can tell whose compare did not hold; on Redis, that all were tried.
        several = Fate.PARTLY if self.counts else Fate.UNCERTAIN
        return [Outcome(fate=Fate.REFUSED if len(writes) == 1 else several)] * len(writes)

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        before = self._live(write.key)
        outcome = (await self.write([write], timeout=timeout))[0]
        if self.counts and self.applied[-1:] == [write]:
            gone_at = self._later(write.keep_for)
            if gone_at is not None and outcome.fate is not Fate.APPLIED:
                # On Redis that is a second command, which does not run where the answer to the first is lost.
                gone_at = before.gone_at if before else None
            self.items[write.key] = replace(self.items[write.key], gone_at=gone_at)
        return outcome

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        assert self.isolation is Isolation.ROLLBACK
        self.calls.append(Call(kind="transact", keys=tuple(write.key for write in writes)))
        await self._step(self.before_write)
        unheard = self._unheard(self._fault(timeout), [writes])
        return unheard or Outcome(fate=Fate.APPLIED if self._apply(writes) else Fate.REFUSED)

    async def delete(self, etags: Mapping[str, StoreEtag], *, timeout: float) -> bool:
        self.calls.append(Call(kind="delete", keys=tuple(etags)))
        await self._step(self.before_write)
        fault = self._fault(timeout)
        there = {key: item for key in etags if (item := self._live(key))}
        held = {key for key, item in there.items() if item.etag == etags[key]}
        if fault in (WriteFault.NONE, WriteFault.REPLY_LOST):
            for key in held:
                del self.items[key]
        return fault is WriteFault.NONE and held == there.keys()

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        del timeout
        if not self.counts:
            return stored
        self.calls.append(Call(kind="adopt", keys=(key,)))
        await self._step(self.before_write)
        if self.adopt_faults:
            return Failure(detail=self.adopt_faults.popleft())
        if self._live(key) is None:
            self._put(key, tombstone, None)
        elif self.adopting_rewrites and self.items[key].etag == stored.etag:
            self._put(key, stored.data, None)
        self.items[key] = replace(self.items[key], gone_at=None)
        return self._stored(key)

    async def prepare(self, *, timeout: float) -> Failure | Lack | None:
        del timeout
        return Failure(detail=self.prepare_faults.popleft()) if self.prepare_faults else self.lack

    async def find(self, name: str, *, timeout: float) -> ModelStore:
        """Returns itself, as the only store that there is."""
        del timeout
        assert name == self.name
        return self

    # What a test does

    def count(self, kind: str | None = None) -> int:
        return sum(kind is None or call.kind == kind for call in self.calls)

    def put_raw(self, key: str, data: bytes, *, gone_at: Instant | None = None) -> None:
        """Another program writes through Dapr."""
        self._put(key, data, gone_at)

    def delete_raw(self, key: str) -> None:
        """Another program deletes through Dapr, or the store removes it."""
        self.items.pop(key, None)

    def deliver(self) -> None:
        """Has everything arrive that is still under way."""
        for writes in self.under_way:
            self._apply(writes)
        self.under_way.clear()

    def stands(self, key: str) -> bytes | None:
        item = self._live(key)
        return item.data if item else None

    # How it works

    async def _step(self, steps: deque[Step]) -> None:
        await asyncio.sleep(0)
        if steps:
            await steps.popleft()()

    def _fault(self, timeout: float) -> WriteFault:
        if timeout <= 0:
            return WriteFault.REQUEST_LOST
        return self.write_faults.popleft() if self.write_faults else WriteFault.NONE

    def _unheard(self, fault: WriteFault, units: Sequence[Sequence[CompareAndSet]]) -> Outcome | None:
        match fault:
            case WriteFault.NONE:
                return None
            case WriteFault.NOT_SENT:
                return Outcome(fate=Fate.FAILED)
            case WriteFault.LATE:
                self.under_way.extend(units)
            case WriteFault.REPLY_LOST | WriteFault.UNTOLD:
                for unit in units:
                    self._apply(unit)
            case WriteFault.SENT_AGAIN:
                for unit in units:
                    self._apply(unit)
                return Outcome(fate=Fate.REFUSED if len(units) == 1 else Fate.PARTLY)
            case WriteFault.REQUEST_LOST:
                pass
        return Outcome(fate=Fate.UNCERTAIN)

    def _apply(self, writes: Sequence[CompareAndSet]) -> bool:
        if not all(self._holds(write) for write in writes):
            return False
        for write in writes:
            if not _own(write.key):
                self.applied.append(write)
            self._put(write.key, write.data, None if self.counts else self._later(write.keep_for))
        return True

    def _holds(self, write: CompareAndSet) -> bool:
        item = self._live(write.key)
        if item is None:
            # Redis takes any etag for a key that is not there.
            return write.etag is None or self.counts
        return item.etag == write.etag

    def _live(self, key: str) -> Item | None:
        item = self.items.get(key)
        if item and item.gone_at is not None and item.gone_at <= self.clock.now():
            del self.items[key]
            return None
        return item

    def _stored(self, key: str) -> Stored | Absence:
        item = self._live(key)
        if item is None:
            return Absence.CERTAIN
        return Stored(data=item.data, etag=item.etag, expire_time=item.gone_at if self.tells_expiry else None)

    def _put(self, key: str, data: bytes, gone_at: Instant | None) -> None:
        item = self._live(key)
        counted = int(item.etag) + 1 if item and self.counts else 1
        etag = str(counted) if self.counts else self.source.randbytes(8).hex()
        self.items[key] = Item(data=data, etag=StoreEtag(etag), gone_at=gone_at)

    def _later(self, keep_for: timedelta | None) -> Instant | None:
        return None if keep_for is None else Instant(self.clock.now() + in_milliseconds(keep_for))

    def _next_etag(self, write: CompareAndSet) -> StoreEtag | None:
        """As the adapter for Redis reckons it: it sees no more than the etag that it sent."""
        return StoreEtag(str(int(write.etag or 0) + 1)) if self.counts else None
