"""One instance that leads."""

from __future__ import annotations

__all__ = ["Leader"]

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from keepstate import recipes, sync
from keepstate._waiting import Here, wait_with_calls
from keepstate.recipes.leader import lead
from keepstate.recipes.records import Id
from keepstate.recipes.sync.lock import Lease

R = TypeVar("R")


class Leader:
    """``keepstate.recipes.Leader`` with a function that runs in the thread that calls ``run``."""

    def __init__(self, state: sync.State[Any], name: Id, *, lease: timedelta = timedelta(seconds=30)) -> None:
        """Take part in the election of this name. The arguments are those of ``keepstate.recipes.Leader``."""
        self._lock = recipes.Lock(state.asynchronous, name, lease=lease)

    def run(self, function: Callable[[Lease], R]) -> R:
        """Wait until this instance leads, run ``function``, and return what it returns.

        It runs in this thread, and nothing cuts it short where the lead is lost: it must ``check`` its lease between
        steps. It runs anew, when this instance leads again, where it raises the ``LeaseLost`` of its lease. Everything
        else is as ``keepstate.recipes.Leader.run`` says.
        """

        def in_this_thread(here: Here) -> Coroutine[Any, Any, R]:
            return lead(self._lock, lambda lease: here(function, Lease(lease)), cancels=False)

        return wait_with_calls(in_this_thread)
