"""A lock with a lease and a fencing token."""

from __future__ import annotations

__all__ = ["Lease", "LeaseLost", "Lock", "kept"]

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from typing import Any

from keepstate import (
    AlreadyExists,
    Check,
    Conflict,
    Increment,
    Json,
    KeepstateError,
    NotFound,
    OutcomeUnknown,
    Put,
    Record,
    RecordName,
    Retry,
    State,
    Transaction,
    TransactionConflict,
    key,
)
from keepstate.recipes.lengths import must_be_positive
from keepstate.recipes.records import Id

PAUSES = Retry(limit=timedelta(seconds=1))
"""Between two attempts of one that waits."""

_NOTHING = timedelta()


@dataclass(eq=False)
class LeaseLost(KeepstateError):
    """A lease is held no more: it ran out, was released, or another has the lock."""

    _: KW_ONLY

    token: int = 0
    """The lease's."""


class Lock:
    """One holder at a time, over all instances and languages; a holder that dies holds it for one lease at most.

    ::

        async with Lock(state, "report").hold() as lease:
            await state.transact(checks=[lease.guard()], puts=[Put("report", text)])

    The holder is in ``lock:<name>``, which expires; how often the lock was taken is in ``lock:<name>:token``, for ever.
    """

    def __init__(self, state: State[Any], name: Id, *, lease: timedelta = timedelta(seconds=30)) -> None:
        """Use the lock of this name in this view.

        Args:
            lease: how long the lock is held without being renewed.

        Raises:
            TypeError, ValueError: the name is no part of a key, or ``lease`` is no positive timedelta.
        """
        must_be_positive(lease=lease)
        self._state = state.using(Json())
        self._key = key("lock", name)
        self._token_key = key("lock", name, "token")
        self._lease = lease

    async def try_acquire(self) -> Lease | None:
        """Take the lock if nobody has it. None: another has it or takes it just now, or nobody can tell yet."""
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        since = _Moment()
        put = Put(self._key, {"holder": holder}, if_absent=True, ttl=self._lease)
        try:
            taken = await self._state.transact(puts=[put], updates=[Increment(self._token_key)])
        except (AlreadyExists, TransactionConflict):
            return None
        except OutcomeUnknown:
            return await self._taken_by(holder, since)
        count = taken.updates[0]
        if count.record is None or count.repeated:  # the count is of now: it may be that of a later holder
            return await self._taken_by(holder, since)
        return self._leased(count.record, taken.puts[0], since)

    async def acquire(self, *, timeout: timedelta | None = None) -> Lease:
        """Take the lock, waiting while others have it. Who waits longest does not come first.

        Args:
            timeout: how long to wait for others; an attempt that has begun is made to its end. Nothing: there is one
                attempt. None: for ever.

        Raises:
            TimeoutError: others had it all that time.
        """
        began, tries = time.monotonic(), 0
        while (lease := await self.try_acquire()) is None:
            pause = PAUSES.pause(tries)
            if timeout is not None:
                left = timeout.total_seconds() - (time.monotonic() - began)
                if left <= 0:
                    raise TimeoutError(f"others had the lock for {timeout}: {self._key!r}")
                pause = min(pause, left)
            await asyncio.sleep(pause)
            tries += 1
        return lease

    @asynccontextmanager
    async def hold(self, *, timeout: timedelta | None = None) -> AsyncIterator[Lease]:
        """Hold the lock for the body of an ``async with``: ``acquire`` it, renew it in the background, release it.

        A body whose lease is lost is not cut short: it learns that by the lease. Where the release fails the lock ends
        with its lease.

        Raises:
            TimeoutError: others had it for all of ``timeout``.
            LeaseLost: it was lost before the body ended.
        """
        lease = await self.acquire(timeout=timeout)
        async with kept(lease):
            yield lease
            lease.check()

    async def _taken_by(self, holder: str, since: _Moment) -> Lease | None:
        """The lease if this holder has the lock, as it may where an answer was lost."""
        found = await self._state.snapshot([self._key, self._token_key])
        lock, count = found.get(self._key), found.get(self._token_key)
        if lock is None or count is None or lock.value != {"holder": holder}:
            return None
        return self._leased(count, lock.etag, since)

    def _leased(self, count: Record[int], etag: str, since: _Moment) -> Lease:
        name = replace(count.name, key=self._key)  # it says in full which store and namespace the lock is in
        return Lease(self._state, name, etag, count.value, length=self._lease, since=since)


class Lease:
    """A lock that is held, for a time. ``Lock`` makes it.

    By its own clock a program knows how long it holds the lock (``held``); that a write happens while it does only the
    service can tell: by ``guard`` and ``guard_in``, or where other systems compare ``token``.
    """

    def __init__(
        self, state: State[Any], name: RecordName, etag: str, token: int, *, length: timedelta, since: _Moment
    ) -> None:
        self._state = state
        self._name = name
        self._etag = etag
        self._token = token
        self._length = length
        self._since = since
        self._over = False

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every earlier lease of the lock."""
        return self._token

    @property
    def length(self) -> timedelta:
        """How long it lasts from when it is taken or renewed."""
        return self._length

    @property
    def left(self) -> timedelta:
        """How long it is still held unless it is renewed, by the local clock from before the call that took it."""
        return _NOTHING if self._over else max(_NOTHING, self._length - self._since.ago)

    @property
    def held(self) -> bool:
        """Whether time is left."""
        return self.left > _NOTHING

    def check(self) -> None:
        """Do nothing while it is held.

        Raises:
            LeaseLost: it is not.
        """
        if not self.held:
            raise self._lost()

    async def renew(self, *, timeout: timedelta | None = None) -> None:
        """Have it last its whole length from now.

        Raises:
            LeaseLost: it ran out at the service, or was released.
        """
        if self._over:
            raise self._lost()
        since = _Moment()
        try:
            await self._state.touch(self._name.key, ttl=self._length, if_etag=self._etag, timeout=timeout)
        except (NotFound, Conflict) as error:
            self._over = True
            raise self._lost() from error
        self._since = since

    async def release(self) -> bool:
        """Let others have the lock. False: it was lost before."""
        self._over = True
        try:
            return await self._state.delete(self._name.key, if_etag=self._etag)
        except Conflict:
            return False

    def guard(self) -> Check:
        """A check for ``transact``: what it is given along is applied only while this lease holds.

        Where it does not the call raises ``Conflict``, which names the lock's record.
        """
        return Check(self._name.key, namespace=self._name.namespace, store=self._name.store, if_etag=self._etag)

    async def guard_in(self, tx: Transaction[Any]) -> None:
        """Have a transaction be applied only while this lease holds.

        Raises:
            LeaseLost: it does not.
            ValueError: the transaction is another client's.
        """
        found = await self._state.within(tx).get_record(self._name.key)
        if found is None or found.etag != self._etag:
            self._over = True
            raise self._lost()

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"the lease is held no more: {self._name.key!r}", token=self._token)


class _Moment:
    """A moment, and how long ago it is by the local clock that says longest.

    One clock may stand still while the machine is suspended, the other one may be set back.
    """

    def __init__(self) -> None:
        self._monotonic, self._wall = time.monotonic(), time.time()

    @property
    def ago(self) -> timedelta:
        return timedelta(seconds=max(time.monotonic() - self._monotonic, time.time() - self._wall))


@asynccontextmanager
async def kept(lease: Lease) -> AsyncIterator[asyncio.Task[None]]:
    """Renew a lease until the body ends, then release it. The body gets a task that ends when the lease is lost."""
    keeping = asyncio.create_task(_keep(lease))
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        with suppress(KeepstateError):  # it runs out by itself, and what the body did or raised counts
            await lease.release()


async def _keep(lease: Lease) -> None:
    """Renew a lease whenever a third of it has gone, sooner where that failed, until it is lost."""
    third, soon = lease.length / 3, lease.length / 10
    while lease.held:
        await asyncio.sleep(min(lease.left, max(lease.left - 2 * third, soon)).total_seconds())
        try:
            await lease.renew(timeout=lease.left)
        except LeaseLost:
            return
        except KeepstateError:
            continue  # while time is left another attempt may succeed
        except RuntimeError:  # the client was closed
            return
