"""Adapters run where recipes do: on Redis and PostgreSQL, through two instances at once, by a real clock."""

from __future__ import annotations

from tests.recipes.conftest import *  # noqa: F403 - all fixtures, for they use each other
