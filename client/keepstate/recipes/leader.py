"""One instance that leads."""

from __future__ import annotations

__all__ = ["Leader", "lead"]

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from keepstate import DeadlineExceeded, OutcomeUnknown, ResourceExhausted, State, Unavailable
from keepstate.recipes.lock import PAUSES, Lease, LeaseLost, Lock, kept
from keepstate.recipes.records import Id

R = TypeVar("R")


class Leader:
    """Work that one instance does at a time, and another one soon after it dies.

    ::

        async def collect(lease: Lease) -> None:
            while True:
                await state.transaction(lambda tx: collect_some(tx, lease))  # with `await lease.guard_in(tx)` in it
                await asyncio.sleep(60)

        await Leader(state, "collector").run(collect)  # in every instance

    It is the ``Lock`` of the same name: who holds that keeps others from leading.
    """

    def __init__(self, state: State[Any], name: Id, *, lease: timedelta = timedelta(seconds=30)) -> None:
        """Take part in the election of this name in this view.

        Args:
            lease: the most that passes between the death of one that leads and the lead of another, but for the moment
                that the others' next attempts take.

        Raises:
            TypeError, ValueError: the name is no part of a key, or ``lease`` is no positive timedelta.
        """
        self._lock = Lock(state, name, lease=lease)

    async def run(self, function: Callable[[Lease], Awaitable[R]]) -> R:
        """Wait until this instance leads, run ``function`` while it does, and return what it returns.

        ``function`` is cancelled where the lead is lost, and runs anew when this instance leads again; so it does where
        it raises the ``LeaseLost`` of its lease. What else it raises passes through. When it ends, and when ``run`` is
        cancelled, others may lead at once.

        Outages are waited out, but for what ``function`` itself raises in one, such as ``Unavailable`` where it calls
        the service, or ``Conflict`` where ``lease.guard()`` does not hold any more.
        """
        return await lead(self._lock, function, cancels=True)


async def lead(lock: Lock, function: Callable[[Lease], Awaitable[R]], *, cancels: bool) -> R:
    """Run a function while this instance has the lock.

    Args:
        cancels: whether the function is cancelled where the lead is lost. Otherwise it learns that by its lease.
    """
    while True:
        lease = await _elected(lock)
        async with kept(lease) as keeping:
            try:
                return await _work(function, lease, keeping if cancels else None)
            except LeaseLost:
                if lease.held:  # it is another lock's
                    raise


async def _elected(lock: Lock) -> Lease:
    tries = 0
    while True:
        try:
            return await lock.acquire()
        except (Unavailable, DeadlineExceeded, ResourceExhausted, OutcomeUnknown):
            await asyncio.sleep(PAUSES.pause(tries))
            tries += 1


async def _work(function: Callable[[Lease], Awaitable[R]], lease: Lease, limit: asyncio.Task[None] | None) -> R:
    """Run a function, until the limit ends at most.

    Raises:
        LeaseLost: it was cancelled for that.
    """
    working = asyncio.ensure_future(function(lease))
    if limit is not None:
        limit.add_done_callback(lambda _: working.cancel())
    try:
        return await working
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) and not task.cancelling():  # not `run` itself is
            lease.check()
        raise
