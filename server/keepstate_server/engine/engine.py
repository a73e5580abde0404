"""The engine: operations and transactions of callers, carried to the stores under one contract."""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    Overloaded,
    StoreUnavailable,
    UnsupportedByStore,
)
from keepstate_server.domain.names import stored_key
from keepstate_server.domain.operations import Answer, Found, Operation, TransactionOperation
from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Clock
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Result
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.locks import KeyLocks
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.transactions import Transactor
from keepstate_server.engine.writer import Writer
from keepstate_server.stores.base import StateStore

__all__ = ["Engine", "Stores"]

_T = TypeVar("_T")

# How many keys go into one call of the sidecar: enough to share its cost, too few to hold others up. The first call
# of a batch takes fewer: what it reads shows how large values are.
_MOST_KEYS = 128
_FIRST_KEYS = 16

# About how much one call shall read, and how much of what was read one answer carries: it must fit into a message.
_READ_BYTES = 4 * 1024 * 1024
_ANSWER_BYTES = 12 * 1024 * 1024


class Stores(Protocol):
    """Where the engine finds a store by name."""

    async def find(self, name: str, *, timeout: float) -> StateStore:
        """Returns the store.

        Raises:
            StoreNotFound: the sidecar has none of this name.
            UnsupportedByStore: its component cannot keep the contract at all.
            StoreUnavailable: the sidecar does not answer.
        """
        ...


class _Lane:
    """What the engine has for one store."""

    def __init__(
        self, store: StateStore, hints: Hints, settings: EngineSettings, clock: Clock, source: random.Random
    ) -> None:
        self.store = store
        self.locks = KeyLocks()
        self.writer = Writer(store, hints=hints, clock=clock, source=source)
        self.transactor = Transactor(store, hints=hints, settings=settings, clock=clock, source=source)


class Engine:
    """Performs what callers ask for. Safe to call from many tasks of one event loop."""

    def __init__(
        self, stores: Stores, *, settings: EngineSettings, clock: Clock, source: random.Random | None = None
    ) -> None:
        """Works on ``stores`` by the rules of ``settings``.

        ``source`` makes identifiers and pauses; a simulation brings one that can be replayed.
        """
        self._stores = stores
        self._settings = settings
        self._clock = clock
        # Identifiers must differ between processes whatever their state: from the system's source of randomness.
        self._source = source or random.SystemRandom()
        self._hints = Hints(size=settings.hints, life_ms=settings.dead_life_ms // 2)
        self._lanes: dict[str, _Lane] = {}
        self._begun: set[asyncio.Task[Any]] = set()

    async def perform(self, operation: Operation, deadline: Deadline) -> Answer:
        """Performs one operation.

        Raises:
            KeepstateError: it failed; see the proto's comments on each call for when.
        """
        result = (await self.perform_all([operation], deadline))[0]
        if isinstance(result, KeepstateError):
            raise result
        return result

    async def perform_all(self, operations: Sequence[Operation], deadline: Deadline) -> Sequence[Result]:
        """Performs independent operations; results come in their order, an error being the result of one alone.

        Operations on one key are applied in order. Raises nothing for what a store does.
        """
        batch = _Batch(operations)
        by_store: dict[str, list[int]] = {}
        for index, operation in enumerate(operations):
            by_store.setdefault(operation.name.store, []).append(index)
        await asyncio.gather(*(self._on_store(store, batch, indexes, deadline) for store, indexes in by_store.items()))
        return [result for result in batch.results if result is not None]

    async def transact(
        self, operations: Sequence[TransactionOperation], request: Request | None, deadline: Deadline
    ) -> Sequence[Answer]:
        """Performs all operations or none; no record may be named twice.

        Raises:
            UnsupportedByStore: the records lie in several stores, or in one that does not roll back.
            KeepstateError: see ``Transactor.run``.
        """
        names = {operation.name.store for operation in operations}
        if len(names) > 1:
            raise UnsupportedByStore(
                min(names), "transactions over several stores", "a transaction's records must lie in one store"
            )
        lane = await self._lane(names.pop(), deadline)
        if await lane.store.prepare(timeout=deadline.remaining) is not None:
            raise StoreUnavailable(lane.store.name, nothing_sent=True)
        if lack := lane.store.transactions_lack:
            raise UnsupportedByStore(lane.store.name, lack.capability, lack.explanation)
        keyed = [(stored_key(each.name.namespace, each.name.key), each) for each in operations]
        return await self._begin(lane.transactor.run(keyed, request, deadline), deadline)

    async def drain(self, *, timeout: float) -> None:
        """Waits until all that was begun has ended, callers gone or not. After ``timeout`` seconds ends the rest.

        A write that is ended so was applied or not, as a whole, like one whose reply was lost.
        """
        if self._begun:
            _, late = await asyncio.wait(self._begun, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _on_store(self, store: str, batch: "_Batch", indexes: Sequence[int], deadline: Deadline) -> None:
        """Performs the operations at ``indexes``, all of one store, and fills in their results."""
        try:
            lane = await self._lane(store, deadline)
        except KeepstateError as error:
            for index in indexes:
                batch.results[index] = error
            return
        by_key: dict[str, list[int]] = {}
        for index in indexes:
            name = batch.operations[index].name
            by_key.setdefault(stored_key(name.namespace, name.key), []).append(index)
        todo = [
            (Group(key, [batch.operations[index] for index in its], self._settings), its) for key, its in by_key.items()
        ]
        keys = _FIRST_KEYS
        while todo:
            chunk, todo = todo[:keys], todo[keys:]
            groups = [group for group, _ in chunk]
            if batch.full:
                for group in groups:
                    if group.reads_only:
                        group.fail(_too_much())
            await self._on_chunk(lane, [group for group in groups if group.results is None], deadline)
            for group, its in chunk:
                batch.take(its, group.results or ())
            read = sum(group.bytes_seen for group in groups)
            keys = max(1, min(_MOST_KEYS, len(chunk) * _READ_BYTES // read if read else _MOST_KEYS))

    async def _on_chunk(self, lane: _Lane, groups: Sequence[Group], deadline: Deadline) -> None:
        if all(group.reads_only for group in groups):
            await lane.writer.run(groups, deadline)
        else:
            await self._begin(self._write(lane, groups, deadline), deadline)

    @staticmethod
    async def _write(lane: _Lane, groups: Sequence[Group], deadline: Deadline) -> None:
        keys = [group.key for group in groups if not group.reads_only]
        try:
            async with asyncio.timeout(deadline.remaining) as waiting, lane.locks.hold(keys) as held:
                waiting.reschedule(None)  # holds the locks: from here on the groups know their own time
                await lane.writer.run(groups, deadline, held.release)
        except TimeoutError:
            for group in groups:
                group.fail(DeadlineExceeded())

    async def _begin(self, work: Coroutine[Any, Any, _T], deadline: Deadline) -> _T:
        """Awaits ``work``, which goes on when the caller goes away: what was sent must be looked into to the end."""
        task = asyncio.ensure_future(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            deadline.abandon()
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have gone without taking it

    async def _lane(self, store: str, deadline: Deadline) -> _Lane:
        found = await self._stores.find(store, timeout=deadline.remaining)
        lane = self._lanes.get(store)
        if lane is None or lane.store is not found:
            lane = self._lanes[store] = _Lane(found, self._hints, self._settings, self._clock, self._source)
        return lane


class _Batch:
    """Operations that are answered together, and how much their answer may still carry."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.results: list[Result | None] = [None] * len(operations)
        self._room = _ANSWER_BYTES

    @property
    def full(self) -> bool:
        """Whether nothing more that is read has room in the answer."""
        return self._room <= 0

    def take(self, indexes: Sequence[int], results: Sequence[Result]) -> None:
        """Fills in results, those that were read only as far as there is room."""
        for index, result in zip(indexes, results, strict=True):
            self.results[index] = result
            if isinstance(result, Found):
                size = len(result.record.value)
                # A single read always has room: a value is smaller than a message.
                if self.full or (size > self._room and len(self.operations) > 1):
                    self.results[index] = _too_much()
                    self._room = 0
                else:
                    self._room -= size


def _too_much() -> Overloaded:
    # Clients know this limit by its name: keepstate's own read what had no room in another batch.
    return Overloaded("bytes in one answer", retry_after=timedelta(milliseconds=1))
