"""A client of the service in memory, over a real channel."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

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
