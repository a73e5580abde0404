"""A client of the service in memory, over a real channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import keepstate._connection
import keepstate._repeats
from keepstate import Client
from tests.unit.client.fake_service import FakeService


@pytest.fixture
async def service_and_address() -> AsyncIterator[tuple[FakeService, str]]:
    service = FakeService()
    server, address = await service.serve()
    yield service, address
    await server.stop(None)


@pytest.fixture
def service(service_and_address: tuple[FakeService, str]) -> FakeService:
    return service_and_address[0]


@pytest.fixture
def address(service_and_address: tuple[FakeService, str]) -> str:
    return service_and_address[1]


@pytest.fixture
async def state(address: str) -> AsyncIterator[Client[object]]:
    async with Client(address) as client:
        yield client


@pytest.fixture
async def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client makes: noted, and not waited for, though its time passes by as much."""
    noted: list[float] = []

    async def note(seconds: float) -> None:
        noted.append(seconds)

    monkeypatch.setattr(keepstate._connection, "_sleep", note)
    monkeypatch.setattr(keepstate._repeats, "_now", lambda: time.monotonic() + sum(noted))
    return noted


@pytest.fixture
async def hanging(service: FakeService) -> AsyncIterator[asyncio.Event]:
    """The next call hangs until the end of the test; set when it has arrived."""
    arrived, over = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        arrived.set()
        await over.wait()

    service.script.append(hang)
    yield arrived
    over.set()
