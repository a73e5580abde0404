"""The recipes for programs without asyncio: those of ``keepstate.recipes``, made of a ``keepstate.sync`` view.

Their calls wait for the answer; arguments, answers and errors are the same. A function that a recipe calls runs in the
thread that waits.
"""

from __future__ import annotations

__all__ = ["Done", "FormDrafts", "Once", "Records", "Sessions"]

from keepstate.recipes.once import Done
from keepstate.recipes.sync.once import Once
from keepstate.recipes.sync.records import Records
from keepstate.recipes.sync.sessions import FormDrafts, Sessions
