"""Workflows: what is asked for step by step, each step taken once."""

from __future__ import annotations

__all__ = ["Workflow"]

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from keepstate import recipes, sync
from keepstate._waiting import passing_on, wait_with_calls, waiting, waiting_in
from keepstate.recipes.records import Id
from keepstate.recipes.workflow import Step


class Workflow:
    """``keepstate.recipes.Workflow`` with calls that wait."""

    def __init__(self, state: sync.State[Any], *prefix: Id, ttl: timedelta = timedelta(minutes=10)) -> None:
        """Keep them in this view. The arguments are those of ``keepstate.recipes.Workflow``."""
        self._asynchronous = recipes.Workflow(state.asynchronous, *prefix, ttl=ttl)

    key = passing_on(recipes.Workflow.key)
    current = waiting(recipes.Workflow.current)
    begin = waiting(recipes.Workflow.begin)
    end = waiting(recipes.Workflow.end)
    current_in = waiting_in(recipes.Workflow.current_in)
    begin_in = waiting_in(recipes.Workflow.begin_in)

    def take(
        self, identifier: Id, at: str | Step, function: Callable[[sync.Transaction[Any], Step], Step | None]
    ) -> Step | None:
        """As ``keepstate.recipes.Workflow.take``. The function runs in this thread."""
        return wait_with_calls(
            lambda here: self._asynchronous.take(
                identifier, at, lambda tx, step: here(function, sync.Transaction(tx), step)
            )
        )

    def take_in(
        self,
        tx: sync.Transaction[Any],
        identifier: Id,
        at: str | Step,
        function: Callable[[sync.Transaction[Any], Step], Step | None],
    ) -> Step | None:
        """As ``keepstate.recipes.Workflow.take_in``. The function runs in this thread."""
        return wait_with_calls(
            lambda here: self._asynchronous.take_in(
                tx.asynchronous, identifier, at, lambda _, step: here(function, tx, step)
            )
        )
