"""Go through Dapr's service invocation. What it shows of Dapr itself is in test_invocation_python.py."""

from __future__ import annotations

import asyncio

import pytest

from tests.polyglot.invocation import APP, Invoked
from tests.polyglot.programs import SEEN, run

pytestmark = pytest.mark.containers


async def test_stubs_alone_see_through_dapr_what_they_see_without(invoked: Invoked, plain_go: list[str]) -> None:
    assert await asyncio.to_thread(run, plain_go, invoked.address, "dapr-app-id", APP) == SEEN
