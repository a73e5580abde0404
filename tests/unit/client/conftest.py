"""A client of the service in memory, over a real channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import keepstate._connection
import keepstate._repeats
from keepstate import Client
from keepstate.cli import _calls
from keepstate.cli._app import app
from tests.unit.client.fake_service import FakeService
from tests.unit.client.program import Run


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


@pytest.fixture
async def run(address: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, with the address of the service in its environment."""
    loop = asyncio.get_running_loop()

    def on_this_loop(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    monkeypatch.setattr(_calls, "_run", on_this_loop)

    async def run(*arguments: str, stdin: bytes = b"", **environment: str) -> Result:
        environment = {"KEEPSTATE_ADDRESS": address, **environment}
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin, env=environment)

    return run
