"""A running embedded sidecar, on a file and in memory, and a caller of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from keepstate_server.embedded import EmbeddedSidecar
from tests.unit.embedded.driver import Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.db"


@pytest.fixture(params=["file", "memory"])
async def sidecar(request: pytest.FixtureRequest, path: Path, clock: Clock) -> AsyncIterator[EmbeddedSidecar]:
    sidecar = EmbeddedSidecar(path=path if request.param == "file" else None, clock=clock)
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


@pytest.fixture
async def caller(sidecar: EmbeddedSidecar) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(sidecar.grpc_address) as channel:
        yield Caller.on(channel)
