"""Adapters run where recipes do: on Redis and PostgreSQL, through two instances at once, by a real clock."""

from __future__ import annotations

from tests.recipes.conftest import clients, one, other, state, store, style, views

__all__ = ["clients", "one", "other", "state", "store", "style", "views"]
