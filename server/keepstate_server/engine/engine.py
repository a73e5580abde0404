"""The engine: operations and transactions of callers, carried to the stores under one contract."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    FieldViolation,
    InvalidFields,
    KeepstateError,
    OutcomeUnknown,
    UnsupportedByStore,
)
from keepstate_server.domain.names import RecordName, stored_key
from keepstate_server.domain.operations import Answer, Operation, TransactionOperation
from keepstate_server.domain.records import Record, Request
from keepstate_server.domain.times import Clock
from keepstate_server.engine.batch import Batch
from keepstate_server.engine.collector import Collector
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Result
from keepstate_server.engine.envelope import Location
from keepstate_server.engine.gathering import GatheringStores
from keepstate_server.engine.group import Group, fitting
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.locks import Held, KeyLocks
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.part import Part
from keepstate_server.engine.randomness import Randomness
from keepstate_server.engine.reads import Portions, next_keys
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.room import ANSWER_BYTES, too_much
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.snapshots import snapshot
from keepstate_server.engine.transaction_draft import Located, witness_of
from keepstate_server.engine.transactions import Transaction
from keepstate_server.engine.writer import Writer
from keepstate_server.stores.base import StateStore, Stores

__all__ = ["Engine"]

_log = structlog.get_logger(__name__)

_T = TypeVar("_T")


class _Lane:
    """What the engine has for one store."""

    def __init__(
        self,
        store: StateStore,
        hints: Hints,
        resolver: Resolver,
        settings: EngineSettings,
        clock: Clock,
        source: random.Random,
        hand_over: Callable[["_Lane", str, Sequence[Part]], None],
    ) -> None:
        self.store = store
        together = fitting if settings.gathering else _one
        self.locks = KeyLocks[Part](together, partial(hand_over, self))
        self.portions = Portions()
        self.noting = Noting(store, settings=settings, clock=clock, source=source)
        if store.shared:
            # Others delete there and write anew: on Redis the count of a later life soon matches an earlier one's.
            hints = Hints(size=0, life_ms=0)
        self.writer = Writer(store, hints=hints, resolver=resolver, noting=self.noting, clock=clock, source=source)


def _one(_: Sequence[Part]) -> int:
    return 1


class Engine:
    """Performs what callers ask for. Safe to call from many tasks of one event loop."""

    def __init__(
        self, stores: Stores, *, settings: EngineSettings, clock: Clock, source: random.Random | None = None
    ) -> None:
        """Works on ``stores`` by the rules of ``settings``.

        ``source`` makes identifiers and pauses; a simulation brings one that can be replayed.
        """
        if settings.gathering:
            stores = GatheringStores(stores)
        self._stores = stores
        self._settings = settings
        self._clock = clock
        # Identifiers must differ between processes whatever their state: from the system's source of randomness.
        self._source = source or Randomness()
        self._hints = Hints(size=settings.hints, life_ms=settings.dead_life_ms // 2)
        self._resolver = Resolver(stores, settings=settings, clock=clock, source=self._source)
        self._collector = Collector(stores, self._resolver, settings=settings, clock=clock, source=self._source)
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
        batch = Batch(operations)
        by_store: dict[str, list[int]] = {}
        for index, operation in enumerate(operations):
            by_store.setdefault(operation.name.store, []).append(index)
        await asyncio.gather(*(self._on_store(store, batch, indexes, deadline) for store, indexes in by_store.items()))
        return [result for result in batch.results if result is not None]

    async def transact(
        self, operations: Sequence[TransactionOperation], request: Request | None, deadline: Deadline
    ) -> Sequence[Answer]:
        """Performs all operations or none; no record may be named twice. The records may lie in several stores.

        Raises:
            KeepstateError: see ``Transaction.run``.
        """
        lanes = {
            name: await self._whole_lane(name, deadline) for name in sorted({each.name.store for each in operations})
        }
        located = [(_location(each.name), each) for each in operations]
        transaction = Transaction(
            located,
            request,
            deadline,
            stores={name: lane.store for name, lane in lanes.items()},
            notings={name: lane.noting for name, lane in lanes.items()},
            hints=self._hints,
            resolver=self._resolver,
            settings=self._settings,
            clock=self._clock,
            source=self._source,
        )
        answer: asyncio.Future[Sequence[Answer]] = asyncio.get_running_loop().create_future()
        self._start(_transact(lanes, transaction, located, answer, deadline))
        try:
            await asyncio.wait((answer,), timeout=deadline.remaining)
        except asyncio.CancelledError:
            deadline.abandon()
            raise
        if not answer.done():
            deadline.abandon()  # nothing more is sent after this answer
            answer.set_exception(OutcomeUnknown() if transaction.uncertain else DeadlineExceeded())
        return answer.result()

    async def snapshot(self, names: Sequence[RecordName], deadline: Deadline) -> Sequence[Record | None]:
        """Reads records, which may lie in several stores, as of one moment; None: there was no such record then.

        Raises:
            InvalidFields: they are too large for one answer.
            KeepstateError: see ``snapshots.snapshot``.
        """
        for store in {name.store for name in names}:
            await self._whole_lane(store, deadline)
        locations = [_location(name) for name in names]
        found, moment = await snapshot(
            set(locations),
            deadline,
            resolver=self._resolver,
            settings=self._settings,
            clock=self._clock,
            source=self._source,
        )
        records = [found[at].record(moment) for at in locations]
        if sum(len(record.value) for record in records if record) > ANSWER_BYTES:
            much = f"hold more than {ANSWER_BYTES} bytes together: ask for fewer at a time"
            raise InvalidFields([FieldViolation(field="names", description=much)])
        return records

    @property
    def sweep_interval(self) -> timedelta:
        """How often to sweep."""
        return self._collector.interval

    async def sweep(self, store: str) -> None:
        """Collects dead records of one store, as far as they are due, and resolves intents that were left there.

        Raises nothing for what a store does.
        """
        await self._collector.sweep(store)

    async def drain(self, *, timeout: float) -> None:
        """Waits until all that was begun has ended, callers gone or not. After ``timeout`` seconds ends the rest.

        A write that is ended so was applied or not, as a whole, like one whose reply was lost.
        """
        if self._begun:
            _, late = await asyncio.wait(self._begun, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _on_store(self, store: str, batch: Batch, indexes: Sequence[int], deadline: Deadline) -> None:
        """Performs the operations at ``indexes``, all of one store, and fills in their results."""
        try:
            lane = await self._lane(store, deadline)
        except KeepstateError as error:
            for index in indexes:
                batch.results[index] = error
            return
        todo = [
            (Part(key, [batch.operations[index] for index in its], deadline, room=batch.room), its)
            for key, its in batch.by_key(batch.possible(indexes, lane.store)).items()
        ]
        keys = lane.portions.first
        while todo:
            chunk, todo = todo[:keys], todo[keys:]
            parts = [part for part, _ in chunk]
            if batch.room.full:
                for part in parts:
                    if part.reads_only:
                        part.fail(too_much())
            await self._on_chunk(lane, [part for part in parts if part.results is None], deadline)
            for part, its in chunk:
                batch.take(its, part.results or ())
            keys = next_keys(len(chunk), sum(part.bytes_seen for part in parts))
            for part in parts:
                if size := part.size:
                    lane.portions.saw(size)

    async def _on_chunk(self, lane: _Lane, parts: Sequence[Part], deadline: Deadline) -> None:
        if all(part.reads_only for part in parts):
            await self._run(lane, parts, deadline)
        else:
            await self._begin(self._write(lane, parts, deadline), deadline)

    async def _run(
        self, lane: _Lane, parts: Sequence[Part], deadline: Deadline, settled: Callable[[str], None] = lambda _: None
    ) -> None:
        await lane.writer.run([Group(part.key, [part], self._settings) for part in parts], deadline, settled)

    async def _write(self, lane: _Lane, parts: Sequence[Part], deadline: Deadline) -> None:
        """Performs parts on free keys together; what is on a key that is being written goes along when it is free."""
        held, free, waiting = Held(lane.locks), [], []
        for part in parts:
            if part.reads_only:
                free.append(part)
            elif lane.locks.take(part.key):
                free.append(part)
                held.keys.add(part.key)
            else:
                part.told = asyncio.get_running_loop().create_future()
                lane.locks.wait(part.key, part)
                waiting.append(part)
        try:
            if free:
                await self._run(lane, free, deadline, held.release)
            if waiting:
                await self._await(lane, waiting, deadline)
        except BaseException:
            deadline.abandon()  # nothing is sent any more for those who wait
            raise
        finally:
            held.release_all()

    async def _await(self, lane: _Lane, parts: Sequence[Part], deadline: Deadline) -> None:
        """Waits until ``parts``, on keys that others write, were carried along, or the time is up."""
        await _told(parts, timeout=deadline.remaining / 2)
        # Whoever has the key may be waiting for a store that hangs.
        late = [part for part in parts if lane.locks.leave(part.key, part)]
        if late:
            await self._run(lane, late, deadline)
        await _told(parts, timeout=deadline.remaining)
        for part in parts:
            if part.give_up is not None:
                part.give_up(part)

    def _hand_over(self, lane: _Lane, key: str, parts: Sequence[Part]) -> None:
        group = Group(key, parts, self._settings)
        for part in parts:
            part.give_up = group.give_up
        self._start(self._carry(lane, group))

    async def _carry(self, lane: _Lane, group: Group) -> None:
        """Performs what waited together for a key, and lets the next ones have it."""
        try:
            await lane.writer.run([group], group.deadline)
        except Exception:  # noqa: BLE001 - a fault of ours, of which each caller is told
            _log.exception("write broke off", store=lane.store.name)
            group.fail(OutcomeUnknown() if group.uncertain else KeepstateError())
        finally:
            for part in group.parts:
                group.give_up(part)
            lane.locks.release(group.key)

    async def _begin(self, work: Coroutine[Any, Any, _T], deadline: Deadline) -> _T:
        """Awaits ``work``, which goes on when the caller goes away: what was sent must be looked into to the end."""
        task = self._start(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            deadline.abandon()
            raise

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.ensure_future(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # the caller may have gone without taking it

    async def _whole_lane(self, store: str, deadline: Deadline) -> _Lane:
        """Returns the lane of a store that can be written.

        Raises:
            UnsupportedByStore: it cannot.
        """
        lane = await self._lane(store, deadline)
        if lack := lane.store.lack:
            raise UnsupportedByStore(store, lack.capability, lack.explanation)
        return lane

    async def _lane(self, store: str, deadline: Deadline) -> _Lane:
        found = await self._stores.find(store, timeout=deadline.remaining)
        lane = self._lanes.get(store)
        if lane is None or lane.store is not found:
            lane = self._lanes[store] = _Lane(
                found, self._hints, self._resolver, self._settings, self._clock, self._source, self._hand_over
            )
        return lane


async def _told(parts: Sequence[Part], *, timeout: float) -> None:
    """Waits until each of ``parts`` has its results, but no longer than ``timeout`` seconds."""
    untold = [part.told for part in parts if part.results is None and part.told is not None]
    if untold:
        await asyncio.wait(untold, timeout=timeout)


async def _transact(
    lanes: Mapping[str, _Lane],
    transaction: Transaction,
    operations: Located,
    answer: asyncio.Future[Sequence[Answer]],
    deadline: Deadline,
) -> None:
    """Performs ``transaction``, gives its ``answer``, and then does what nobody waits for."""
    answer.add_done_callback(asyncio.Future.exception)  # the caller may have gone without taking it
    error = KeepstateError()
    try:
        async with AsyncExitStack() as stack:
            for name, lane in lanes.items() if witness_of(operations) is not None else ():
                keys = [at.key for at, _ in operations if at.store == name]
                held = await stack.enter_async_context(lane.locks.hold(keys, patience=deadline.remaining / 2))
                answer.add_done_callback(partial(_release, held))
            try:
                _tell(answer, await transaction.run())
            except KeepstateError as failed:
                _tell(answer, failed)
        await transaction.clean_up()
    except asyncio.CancelledError:
        error = DeadlineExceeded()
        raise
    except Exception:  # noqa: BLE001 - a fault of ours, which nobody awaits
        _log.exception("transaction broke off")
    finally:
        _tell(answer, OutcomeUnknown() if transaction.uncertain else error)


def _tell(answer: asyncio.Future[Sequence[Answer]], told: Sequence[Answer] | KeepstateError) -> None:
    """Gives the answer, unless the caller was told something when the time was up."""
    if answer.done():
        return
    if isinstance(told, KeepstateError):
        answer.set_exception(told)
    else:
        answer.set_result(told)


def _release(held: Held, _: object) -> None:
    held.release_all()


def _location(name: RecordName) -> Location:
    return Location(name.store, stored_key(name.namespace, name.key))
