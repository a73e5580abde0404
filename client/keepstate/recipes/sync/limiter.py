"""How often something may be done."""

from __future__ import annotations

__all__ = ["RateLimiter"]

from datetime import timedelta
from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import waiting
from keepstate.recipes.records import Id


class RateLimiter:
    """``keepstate.recipes.RateLimiter`` with calls that wait."""

    def __init__(self, state: sync.State[Any], name: Id, *, limit: int, per: timedelta) -> None:
        """Count in this view. The arguments are those of ``keepstate.recipes.RateLimiter``."""
        self._asynchronous = recipes.RateLimiter(state.asynchronous, name, limit=limit, per=per)

    acquire = waiting(recipes.RateLimiter.acquire)
