"""Store calls of many callers that go out together.

What a sidecar's call costs is mostly the call. So what comes while calls are under way waits for the next one, at most
some milliseconds, and goes out in it with whatever else has come by then. Everything else stays each caller's own: its
results, its errors, and its time.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keepstate_server.domain.records import Consistency
from keepstate_server.engine.death import LONGEST_WAIT
from keepstate_server.engine.reads import MOST_KEYS, READ_BYTES
from keepstate_server.engine.writes import CALL_BYTES
from keepstate_server.stores.base import (
    CompareAndSet,
    Failure,
    Fate,
    Isolation,
    Lack,
    Outcome,
    ReadResult,
    StateStore,
    Stored,
    StoreEtag,
    Stores,
)

__all__ = ["GatheringStore", "GatheringStores"]

# How many calls of one kind are under way at a time before what comes is gathered.
_CALLS = 1

# What waits for those under way is sent all the same after so many seconds: the store may hang.
_PATIENCE = 0.004

# Whoever brings as many keys by itself has shared a call's cost: it waits for nobody, and nobody for it.
_ENOUGH = 32

# The average of how many values says how large the next ones are, about.
_REMEMBERED = 64

_Item = TypeVar("_Item")
_Told = TypeVar("_Told")


@dataclass(eq=False, slots=True)
class _Asked(Generic[_Item, _Told]):
    """What one caller asks for."""

    items: Sequence[_Item]
    since: float
    until: float
    """When the caller's time is up, on the loop's clock as ``since``."""
    answer: "asyncio.Future[_Told]"
    sent: bool = False


class _Calls(ABC, Generic[_Item, _Told]):
    """The calls of one kind."""

    _longest_wait = math.inf
    """What waited for longer than this, in seconds, is not sent any more."""

    def __init__(self) -> None:
        self._waiting: deque[_Asked[_Item, _Told]] = deque()
        self._under_way = 0
        self._opening: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, items: Sequence[_Item], timeout: float) -> _Told:
        """Returns what the store says of ``items``, or, after ``timeout`` seconds, that the time is up."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        asked = _Asked[_Item, _Told](items, now, now + timeout, loop.create_future())
        self._waiting.append(asked)
        self._open_soon(loop)
        timer = loop.call_at(asked.until, self._give_up, asked)
        try:
            return await asked.answer
        finally:
            timer.cancel()

    def _give_up(self, asked: _Asked[_Item, _Told]) -> None:
        self._tell(asked, self._too_late(asked))

    def _open_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has what waits sent: when all have asked whom the loop wakes now, or as soon as may be."""
        if self._opening is not None:
            return
        if self._under_way < _CALLS:
            self._opening = loop.call_soon(self._open)
        else:
            self._opening = loop.call_later(_PATIENCE, self._open)

    def _open(self) -> None:
        """Sends one call; what is left waits for the next."""
        self._opening = None
        loop = asyncio.get_running_loop()
        if together := self._together(loop.time()):
            self._under_way += 1
            task = loop.create_task(self._call(together))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._waiting:
            self._open_soon(loop)

    def _together(self, now: float) -> Sequence[_Asked[_Item, _Told]]:
        """Takes out, in the order of arrival, what goes into one call."""
        together: list[_Asked[_Item, _Told]] = []
        left: deque[_Asked[_Item, _Told]] = deque()
        load = self._load()
        while self._waiting and not load.full:
            asked = self._waiting.popleft()
            if asked.answer.done():
                continue  # its time is up, or it has gone
            if now >= asked.until or now - asked.since > self._longest_wait:
                self._give_up(asked)
            elif load.takes(asked.items):
                asked.sent = True
                together.append(asked)
            else:
                left.append(asked)
        left.extend(self._waiting)
        self._waiting = left
        return together

    async def _call(self, together: Sequence[_Asked[_Item, _Told]]) -> None:
        try:
            await self._send(together)
        except asyncio.CancelledError:
            # The connection was closed, or all ends.
            for asked in together:
                asked.answer.cancel()
            raise
        except Exception as fault:  # noqa: BLE001 - theirs to handle
            for asked in together:
                if not asked.answer.done():
                    asked.answer.set_exception(fault)
        finally:
            self._under_way -= 1
            if self._opening is not None and self._under_way < _CALLS:
                self._opening.cancel()
                self._open()

    async def _send(self, together: Sequence[_Asked[_Item, _Told]]) -> None:
        """Sends one call and gives the answers, if need be after one more call for each."""
        now = asyncio.get_running_loop().time()
        told = await self._ask_store(together, max(max(asked.until for asked in together) - now, 0.0))
        if len(together) > 1 and all(map(self._in_vain, told)):
            # It may have failed for what one of them asked: then the others shall not suffer for it.
            await asyncio.gather(*(self._send_again(asked, each) for asked, each in zip(together, told, strict=True)))
            return
        for asked, each in zip(together, told, strict=True):
            self._tell(asked, each)

    async def _send_again(self, asked: _Asked[_Item, _Told], told: _Told) -> None:
        """Sends by itself what came to nothing, unless it is too late for that by now."""
        now = asyncio.get_running_loop().time()
        if not asked.answer.done() and now < asked.until and now - asked.since <= self._longest_wait:
            (told,) = await self._ask_store([asked], asked.until - now)
        self._tell(asked, told)

    def _tell(self, asked: _Asked[_Item, _Told], told: _Told) -> None:
        if not asked.answer.done():
            asked.answer.set_result(told)

    @abstractmethod
    def _load(self) -> "_Load[_Item]":
        """Returns what one call carries, empty."""

    @abstractmethod
    async def _ask_store(self, together: Sequence[_Asked[_Item, _Told]], timeout: float) -> Sequence[_Told]:
        """Sends one call; returns what each of those who asked is told."""

    @abstractmethod
    def _in_vain(self, told: _Told) -> bool:
        """Says whether nothing came of what was asked, so that it may be sent once more."""

    @abstractmethod
    def _too_late(self, asked: _Asked[_Item, _Told]) -> _Told:
        """Returns what is told when the time is up, or when it has waited for too long."""


class _Load(Generic[_Item]):
    """What one call carries so far."""

    def __init__(
        self, key_of: Callable[[_Item], str], size_of: Callable[[_Item], float], *, most_bytes: int, once: bool
    ) -> None:
        """``once``: each key at most once; else a key that is there already costs nothing."""
        self._key_of = key_of
        self._size_of = size_of
        self._most_bytes = most_bytes
        self._once = once
        self._keys: set[str] = set()
        self._bytes = 0.0

    @property
    def full(self) -> bool:
        """Whether it carries nothing more."""
        return len(self._keys) >= MOST_KEYS or self._bytes >= self._most_bytes

    def takes(self, items: Sequence[_Item]) -> bool:
        """Takes ``items`` if there is room for all; the first always has."""
        keys = set(map(self._key_of, items))
        size = sum(self._size_of(item) for item in items if self._key_of(item) not in self._keys)
        if self._keys and (
            len(self._keys | keys) > MOST_KEYS
            or self._bytes + size > self._most_bytes
            or (self._once and not keys.isdisjoint(self._keys))
        ):
            return False
        self._keys |= keys
        self._bytes += size
        return True


class _Reads(_Calls[str, Mapping[str, ReadResult]]):
    """Reads of one consistency. A key is read once for all who asked before the call began."""

    def __init__(self, store: StateStore, consistency: Consistency) -> None:
        super().__init__()
        self._store = store
        self._consistency = consistency
        self._size = 0.0  # of what was found lately, on average

    def _load(self) -> _Load[str]:
        return _Load(lambda key: key, lambda _: self._size, most_bytes=READ_BYTES, once=False)

    async def _ask_store(
        self, together: Sequence[_Asked[str, Mapping[str, ReadResult]]], timeout: float
    ) -> Sequence[Mapping[str, ReadResult]]:
        keys = tuple(dict.fromkeys(key for asked in together for key in asked.items))
        found = await self._store.read(keys, consistency=self._consistency, sure=False, timeout=timeout)
        if sizes := [len(each.data) for each in found.values() if isinstance(each, Stored)]:
            self._size += (sum(sizes) / len(sizes) - self._size) * min(len(sizes) / _REMEMBERED, 1.0)
        return [{key: found[key] for key in asked.items} for asked in together]

    def _in_vain(self, told: Mapping[str, ReadResult]) -> bool:
        return all(isinstance(each, Failure) for each in told.values())

    def _too_late(self, asked: _Asked[str, Mapping[str, ReadResult]]) -> Mapping[str, ReadResult]:
        return dict.fromkeys(asked.items, Failure(detail="the store has not answered in time"))


class _Writes(_Calls[CompareAndSet, Sequence[Outcome]]):
    """Writes. A key is in a call at most once."""

    _longest_wait = LONGEST_WAIT / 1000

    def __init__(self, store: StateStore) -> None:
        super().__init__()
        self._store = store

    def _load(self) -> _Load[CompareAndSet]:
        return _Load(lambda write: write.key, lambda write: len(write.data), most_bytes=CALL_BYTES, once=True)

    async def _ask_store(
        self, together: Sequence[_Asked[CompareAndSet, Sequence[Outcome]]], timeout: float
    ) -> Sequence[Sequence[Outcome]]:
        outcomes = await self._store.write([write for asked in together for write in asked.items], timeout=timeout)
        rest = iter(outcomes)
        return [[next(rest) for _ in asked.items] for asked in together]

    def _in_vain(self, told: Sequence[Outcome]) -> bool:
        return all(outcome.fate is Fate.FAILED for outcome in told)

    def _too_late(self, asked: _Asked[CompareAndSet, Sequence[Outcome]]) -> Sequence[Outcome]:
        if asked.sent:
            outcome = Outcome(fate=Fate.UNCERTAIN, detail="the store has not answered in time")
        else:
            outcome = Outcome(fate=Fate.FAILED, kept_back=True)
        return [outcome] * len(asked.items)


class GatheringStore:
    """A store whose reads and writes go out together. All else is as the store has it."""

    def __init__(self, store: StateStore) -> None:
        """Stands before ``store``."""
        self.store = store
        self._reads = {consistency: _Reads(store, consistency) for consistency in Consistency}
        self._writes = _Writes(store)

    async def read(
        self, keys: Sequence[str], *, consistency: Consistency, sure: bool, timeout: float
    ) -> Mapping[str, ReadResult]:
        """Reads each key once, together with what others read; not where every absence must be certain.

        Some stores can only be asked for that one key at a time: there is nothing to be shared.
        """
        if sure or not 0 < len(keys) < _ENOUGH:
            return await self.store.read(keys, consistency=consistency, sure=sure, timeout=timeout)
        return await self._reads[consistency].ask(keys, timeout)

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        """Performs each write independently, together with what others write, unless it is to go alone."""
        if not 0 < len(writes) < _ENOUGH or any(write.alone for write in writes):
            return await self.store.write(writes, timeout=timeout)
        return await self._writes.ask(writes, timeout)

    # As the store has it

    @property
    def name(self) -> str:
        """See ``StateStore``."""
        return self.store.name

    @property
    def scope(self) -> str:
        """See ``StateStore``."""
        return self.store.scope

    @property
    def isolation(self) -> Isolation:
        """See ``StateStore``."""
        return self.store.isolation

    @property
    def lack(self) -> Lack | None:
        """See ``StateStore``."""
        return self.store.lack

    @property
    def removes_dead(self) -> bool:
        """See ``StateStore``."""
        return self.store.removes_dead

    @property
    def tells_expiry(self) -> bool:
        """See ``StateStore``."""
        return self.store.tells_expiry

    @property
    def shared(self) -> bool:
        """See ``StateStore``."""
        return self.store.shared

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        """See ``StateStore``."""
        return await self.store.write_alone(write, timeout=timeout)

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        """See ``StateStore``."""
        return await self.store.transact(writes, timeout=timeout)

    async def delete(self, etags: Mapping[str, StoreEtag], *, timeout: float) -> bool:
        """See ``StateStore``."""
        return await self.store.delete(etags, timeout=timeout)

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        """See ``StateStore``."""
        return await self.store.adopt(key, stored, tombstone=tombstone, timeout=timeout)

    async def prepare(self, *, timeout: float) -> Failure | Lack | None:
        """See ``StateStore``."""
        return await self.store.prepare(timeout=timeout)


class GatheringStores:
    """Stores that are found as ``GatheringStore``."""

    def __init__(self, stores: Stores) -> None:
        """Finds what ``stores`` finds."""
        self._stores = stores
        self._known: dict[str, GatheringStore] = {}

    async def find(self, name: str, *, timeout: float) -> StateStore:
        """See ``Stores``."""
        found = await self._stores.find(name, timeout=timeout)
        known = self._known.get(name)
        if known is None or known.store is not found:
            known = self._known[name] = GatheringStore(found)
        return known
