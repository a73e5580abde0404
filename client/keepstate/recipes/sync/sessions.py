"""Sessions that live while they are used, and drafts of forms."""

from __future__ import annotations

__all__ = ["FormDrafts", "Sessions"]

from datetime import timedelta
from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import passing_on, waiting
from keepstate.recipes.records import Id


class Sessions:
    """``keepstate.recipes.Sessions`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *prefix: Id, ttl: timedelta = timedelta(hours=1)) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Sessions``."""
        self._asynchronous = recipes.Sessions(state.asynchronous, *prefix, ttl=ttl)

    @property
    def ttl(self) -> timedelta:
        """How long a session lives after its last use."""
        return self._asynchronous.ttl

    key = passing_on(recipes.Sessions.key)
    create = waiting(recipes.Sessions.create)
    get = waiting(recipes.Sessions.get)
    update = waiting(recipes.Sessions.update)
    rotate = waiting(recipes.Sessions.rotate)
    end = waiting(recipes.Sessions.end)


class FormDrafts:
    """``keepstate.recipes.FormDrafts`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *prefix: Id, ttl: timedelta = timedelta(days=1)) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.FormDrafts``."""
        self._asynchronous = recipes.FormDrafts(state.asynchronous, *prefix, ttl=ttl)

    key = passing_on(recipes.FormDrafts.key)
    get = waiting(recipes.FormDrafts.get)
    get_many = waiting(recipes.FormDrafts.get_many)
    save = waiting(recipes.FormDrafts.save)
    put = waiting(recipes.FormDrafts.put)
    delete = waiting(recipes.FormDrafts.delete)
