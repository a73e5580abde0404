from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from tests.unit.server.engine_service import Service

# The same examples in every run, and no opinion on how fast a busy machine is.
settings.register_profile("keepstate", derandomize=True, deadline=None, database=None)
settings.load_profile("keepstate")


@pytest.fixture(params=["sql", "redis"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """An engine on a model of a store; nothing of it runs on after the case."""
    service = Service(counts=request.param == "redis")
    yield service
    async with asyncio.timeout(5):
        await service.engine.drain(timeout=5)
