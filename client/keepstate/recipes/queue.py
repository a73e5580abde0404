"""A bounded queue: items are given out in the order put, and again where whoever took one dies."""

from __future__ import annotations

__all__ = ["Queue", "QueueFull", "Taken"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from uuid import uuid4

from keepstate import (
    Conflict,
    Get,
    Json,
    KeepstateError,
    Record,
    State,
    Transaction,
    TransactionConflict,
    UpdateNotApplicable,
    key,
)
from keepstate.recipes.lengths import must_be_positive

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

_MOST = 10_000  # the names of so many items are a record of 400 kB, which every put writes anew
_TRIES = 1000  # of a transaction that reads nothing: its time ends it


@dataclass(eq=False)
class QueueFull(KeepstateError):
    """The queue holds as many items as it may. Nothing was put."""


@dataclass(frozen=True, kw_only=True)
class Taken(Generic[V_co]):
    """An item that was taken, and is yours until your lease ends."""

    id: str
    """Names the item, the same each time it is taken. No two items of any queues share one."""

    item: V_co

    etag: str
    """That of the lease: tells whether another has taken the item since."""


class Queue(Generic[V]):
    """Items that wait for somebody to take them, at most ``limit``: ``queue:{name}``.

    Each is given out at least once, in the order put. Who took one has it alone for ``lease``, by the service's time,
    and says ``done``; if that does not come the item is given to another, before those that were put later.

    ::

        jobs = Queue[str](state, "jobs")
        await jobs.put("resize picture 7")
        while (taken := await jobs.take()) is not None:
            work(taken.item)
            await jobs.done(taken)
    """

    def __init__(
        self, state: State[V], name: str, *, limit: int = 1000, lease: timedelta = timedelta(seconds=30)
    ) -> None:
        """Keep it in this view, whose codec is that of the items.

        Args:
            limit: how many items it may hold, with those that are taken and not done; at most 10,000.
            lease: how long an item is its taker's. Make it longer than the work takes.

        Raises:
            ValueError: the name is empty, ``limit`` is not from 1 to 10,000, or ``lease`` is not positive.
            TypeError: ``lease`` is no timedelta.
        """
        if not 1 <= limit <= _MOST:
            raise ValueError(f"limit must be from 1 to {_MOST}, not {limit}")
        must_be_positive(lease=lease)
        self._name = name
        self._index = key("queue", name)
        self._size = key("queue", name, "size")
        self._state = state
        self._json = state.using(Json())
        self._limit = limit
        self._lease = lease

    async def put(self, item: V) -> str:
        """Put an item behind all others, and return its id.

        Raises:
            QueueFull: there are ``limit`` items.
            OutcomeUnknown: it may have been put, and would be there twice if it were put again.
            InvalidArgument: it is longer than the service's limit of a transaction, 1 MiB. Nothing was put.
        """

        async def add(tx: Transaction[V]) -> str:
            return self.put_in(tx, item)[0]

        try:
            return await self._state.transaction(add, tries=_TRIES)
        except UpdateNotApplicable as error:
            if error.name is None or error.name.key != self._size:
                raise
            raise QueueFull(f"the queue {self._name!r} holds {self._limit} items") from error

    def put_in(self, tx: Transaction[Any], *items: V) -> list[str]:
        """Have items put if the transaction is applied, and return their ids. They stand in the transactions' order.

        Once in a transaction, since it can change a record only once; at most 49 items.

        Raises:
            UpdateNotApplicable: raised by the transaction, naming ``queue:{name}:size``: the queue is full.
            EncodeError: the view's codec cannot encode one.
            ValueError: the transaction has changed this queue already, or is another client's.
        """
        ids = [uuid4().hex for _ in items]
        for each, item in zip(ids, items, strict=True):
            self._state.within(tx).put(self._item_key(each), item)
            self._json.within(tx).put(self._lease_key(each), _lease_until(None))
        self._json.within(tx).merge_patch(self._index, dict.fromkeys(ids, True))
        self._json.within(tx).increment(self._size, len(ids), maximum=self._limit)
        return ids

    async def take(self, *, in_order: bool = False) -> Taken[V] | None:
        """Take the first item that nobody has. None: there is none.

        Args:
            in_order: take the first of all or none: None also while another has that one.

        Raises:
            OutcomeUnknown: an item may have been taken; it is free again when the lease ends.
            DecodeError: the view's codec cannot decode the item, which is taken all the same, and so again and again.
        """
        ids = list(await self._json.get(self._index, default={}))
        for some in _portions(ids[:1] if in_order else ids):
            leases = await self._json.batch([Get(self._lease_key(each)) for each in some])
            for each, lease in zip(some, leases, strict=True):
                if isinstance(lease, KeepstateError):
                    raise lease
                if lease is not None and (taken := await self._claim(each, lease)) is not None:
                    return taken
        return None

    async def done(self, taken: Taken[V]) -> bool:
        """Take the item off the queue.

        Returns:
            False: another has taken it since your lease ended, or it is off the queue. Nothing was changed. An item
            whose lease ended, and that nobody else has taken, is taken off.

        Raises:
            OutcomeUnknown: it may be off the queue.
        """

        async def end(tx: Transaction[V]) -> None:
            self.done_in(tx, taken)

        try:
            await self._state.transaction(end, tries=_TRIES)
        except TransactionConflict:
            raise
        except Conflict:
            return False
        return True

    def done_in(self, tx: Transaction[Any], taken: Taken[V]) -> None:
        """Have the item taken off the queue if the transaction is applied, and the transaction applied only if that is.

        So what the work writes there is written once, however often the item was given out.

        Raises:
            Conflict: raised by the transaction, naming the item's lease: another has taken it, or it is off the queue.
            ValueError: the transaction has changed this queue already, or is another client's.
        """
        records = self._json.within(tx)
        records.delete(self._lease_key(taken.id), if_etag=taken.etag)
        records.delete(self._item_key(taken.id))
        records.merge_patch(self._index, {taken.id: None})
        records.increment(self._size, -1)

    async def renew(self, taken: Taken[V]) -> Taken[V] | None:
        """Begin your lease anew. None: another has taken the item since it ended, or it is off the queue.

        Returns:
            What to go on with: ``taken`` is not good any more.

        Raises:
            OutcomeUnknown: the lease may have been renewed; then ``taken`` is not good, and the item is free when the
                lease ends.
        """
        etag = await self._take_over(taken.id, taken.etag, await self._state.now() + self._lease)
        return None if etag is None else Taken(id=taken.id, item=taken.item, etag=etag)

    async def give_back(self, taken: Taken[V]) -> bool:
        """Let another take the item at once, at its old place. False: another has taken it, or it is off the queue."""
        return await self._take_over(taken.id, taken.etag, None) is not None

    async def size(self) -> int:
        """How many items there are, with those that are taken and not done."""
        return int(await self._json.get(self._size, default=0))

    async def _claim(self, identifier: str, lease: Record[Any]) -> Taken[V] | None:
        """Take an item, unless somebody has it."""
        now, until = await self._state.now(), lease.value["until"]
        if until is not None and now < datetime.fromisoformat(until):
            return None
        etag = await self._take_over(identifier, lease.etag, now + self._lease)
        if etag is None:
            return None
        # None where that took longer than the lease, and another has taken the item and is done.
        record = await self._state.get_record(self._item_key(identifier))
        return None if record is None else Taken(id=identifier, item=record.value, etag=etag)

    async def _take_over(self, identifier: str, etag: str, until: datetime | None) -> str | None:
        """Write a lease upon that of this etag, and return the new etag. None: another came first."""
        try:
            return await self._json.put(self._lease_key(identifier), _lease_until(until), if_etag=etag)
        except Conflict:
            return None

    def _item_key(self, identifier: str) -> str:
        return key("queue", self._name, "item", identifier)

    def _lease_key(self, identifier: str) -> str:
        return key("queue", self._name, "lease", identifier)


def _lease_until(end: datetime | None) -> dict[str, str | None]:
    return {"until": None if end is None else end.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """First few, since the first is free as a rule; then more and more, up to what is well read at a time."""
    begin, length = 0, 4
    while begin < len(ids):
        yield ids[begin : begin + length]
        begin, length = begin + length, min(2 * length, 256)
