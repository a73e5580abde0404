"""A lock with a lease and a fencing token."""

from __future__ import annotations

__all__ = ["Lease", "Lock"]

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from keepstate import Check, recipes, sync
from keepstate._waiting import passing_on, wait_with_calls, waiting, waiting_in
from keepstate.recipes.lock import kept
from keepstate.recipes.records import Id


class Lease:
    """``keepstate.recipes.Lease`` with calls that wait. ``Lock`` makes it."""

    def __init__(self, asynchronous: recipes.Lease) -> None:
        self._asynchronous = asynchronous

    @property
    def token(self) -> int:
        """The fencing token: greater than that of every earlier lease of the lock."""
        return self._asynchronous.token

    @property
    def length(self) -> timedelta:
        """How long it lasts from when it is taken or renewed."""
        return self._asynchronous.length

    @property
    def left(self) -> timedelta:
        """How long it is still held unless it is renewed, by the local clock from before the call that took it."""
        return self._asynchronous.left

    @property
    def held(self) -> bool:
        """Whether time is left."""
        return self._asynchronous.held

    check = passing_on(recipes.Lease.check)
    renew = waiting(recipes.Lease.renew)
    release = waiting(recipes.Lease.release)

    def guard(self) -> Check:
        """A check for ``transact``, as ``keepstate.recipes.Lease.guard`` says."""
        return self._asynchronous.guard()

    guard_in = waiting_in(recipes.Lease.guard_in)


class Lock:
    """``keepstate.recipes.Lock`` with calls that wait."""

    def __init__(self, state: sync.State[Any], name: Id, *, lease: timedelta = timedelta(seconds=30)) -> None:
        """Use the lock of this name in this view. The arguments are those of ``keepstate.recipes.Lock``."""
        self._asynchronous = recipes.Lock(state.asynchronous, name, lease=lease)

    def try_acquire(self) -> Lease | None:
        """Take the lock if nobody has it. None: another has it or takes it just now, or nobody can tell yet."""
        lease = wait_with_calls(lambda _: self._asynchronous.try_acquire())
        return None if lease is None else Lease(lease)

    def acquire(self, *, timeout: timedelta | None = None) -> Lease:
        """Take the lock, waiting while others have it.

        Everything else is as ``keepstate.recipes.Lock.acquire`` says.
        """
        return Lease(wait_with_calls(lambda _: self._asynchronous.acquire(timeout=timeout)))

    @contextmanager
    def hold(self, *, timeout: timedelta | None = None) -> Iterator[Lease]:
        """Hold the lock for the body of a ``with``: ``acquire`` it, renew it in the background, release it.

        Everything else is as ``keepstate.recipes.Lock.hold`` says.
        """
        lease = wait_with_calls(lambda _: self._asynchronous.acquire(timeout=timeout))
        keeping = kept(lease)
        wait_with_calls(lambda _: keeping.__aenter__())
        try:
            yield Lease(lease)
            lease.check()
        finally:
            # Not the body's exception: KeyboardInterrupt would end the thread that works for all clients.
            wait_with_calls(lambda _: keeping.__aexit__(None, None, None))
