"""Adapters run where recipes do: on Redis and PostgreSQL, through two instances at once, by a real clock."""

from __future__ import annotations

from tests.recipes.conftest import *  # noqa: F403 - the fixtures, with those that they are made of
