"""The service as a whole: what it needs to start, and what it survives."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keepstate import AlreadyExists, Client
from keepstate_server import app
from keepstate_server.app import Service
from keepstate_server.backing import Backing
from keepstate_server.config import BadConfiguration, Settings, SidecarKind
from keepstate_server.stores.catalog import Catalog


def settings(data: Path, **others: Any) -> Settings:
    return Settings(
        **{"listen": "127.0.0.1:0", "http_listen": None, "sidecar": SidecarKind.EMBEDDED, "data": data, **others}
    )


@pytest.mark.parametrize(
    "endpoint", ["foo://bar:1:2", "bar:1:2", "localhost:grpc", "localhost:99999", "[bad", "dns://x", "https://a/path"]
)
async def test_a_wrong_grpc_endpoint_stops_the_start_and_is_named(tmp_path: Path, endpoint: str) -> None:
    service = Service(settings(tmp_path, sidecar=SidecarKind.DAPR, dapr_grpc_endpoint=endpoint))
    with pytest.raises(BadConfiguration, match="DAPR_GRPC_ENDPOINT"):
        await service.start()
    await service.stop()


@pytest.mark.parametrize("endpoint", ["http://[bad", "http://host:port", "ftp://host", "http://", "host:99999"])
def test_a_wrong_http_endpoint_is_refused(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be a URL"):
        settings(tmp_path, dapr_http_endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:3500", "https://host", "host:3500", "http://[::1]:3500"])
def test_an_http_endpoint_is_a_url_or_a_host(tmp_path: Path, endpoint: str) -> None:
    assert settings(tmp_path, dapr_http_endpoint=endpoint).dapr_http_endpoint == endpoint


async def test_a_fault_in_the_watch_over_the_sidecar_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_WATCH_SECONDS", 0.01)
    refresh, faults = Catalog.refresh, 3

    async def faulty(self: Catalog, *, timeout: float) -> None:
        nonlocal faults
        if faults:
            faults -= 1
            raise ZeroDivisionError
        await refresh(self, timeout=5)

    monkeypatch.setattr(Catalog, "refresh", faulty)
    service = Service(settings(tmp_path))
    await service.start()
    try:
        async with asyncio.timeout(10):
            await service.wait_ready()
        assert faults == 0
    finally:
        await service.stop()


async def test_calls_and_what_they_began_share_one_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TwentySecondsPass:
        """A time limit of which 20 s go by between one look and the next."""

        def __init__(self, seconds: float) -> None:
            self._left = seconds + 20

        @property
        def left(self) -> float:
            self._left -= 20
            return self._left

    given: list[float] = []

    async def note(self: Backing, *, timeout: float) -> None:
        given.append(timeout)

    monkeypatch.setattr(app, "TimeLimit", TwentySecondsPass)
    monkeypatch.setattr(Backing, "drain", note)
    service = Service(settings(tmp_path, drain=timedelta(seconds=30), notice=timedelta(milliseconds=1)))
    await service.start()
    await service.stop()
    assert given == [10]


async def test_calls_that_failed_count_no_more_whether_the_collector_came_by_or_not(tmp_path: Path) -> None:
    size = 1 << 19
    service = Service(settings(tmp_path, concurrent_bytes=1 << 20))
    await service.start()
    try:
        async with asyncio.timeout(60), Client(f"127.0.0.1:{service.port}", retry=None, gather=False) as state:
            await service.wait_ready()
            await state.put("k", "x" * size)
            gc.disable()
            for _ in range(10):
                with pytest.raises(AlreadyExists):
                    await state.put("k", "x" * size, if_absent=True)
    finally:
        gc.enable()
        await service.stop()
