"""Calls of the sidecar that go on though nobody waits for them, on stores that do not bear being broken off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from dapr.proto.runtime.v1 import dapr_pb2_grpc
from dapr.proto.runtime.v1.state_pb2 import GetStateRequest, GetStateResponse

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.sidecar import Sidecar, SidecarError


class Slow(dapr_pb2_grpc.DaprServicer):
    """Answers reads when it is let, and notes which were broken off."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.let = asyncio.Event()
        self.broken_off: asyncio.Queue[str] = asyncio.Queue()
        self.finished: list[str] = []

    async def GetState(self, request: GetStateRequest, context: Any) -> GetStateResponse:  # noqa: N802
        self.begun.put_nowait(request.store_name)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.broken_off.put_nowait(request.store_name)
            raise
        self.finished.append(request.store_name)
        return GetStateResponse(data=b"value", etag="1")


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Slow, Sidecar]]:
    service, server = Slow(), grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    dapr_pb2_grpc.add_DaprServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sidecar = Sidecar(SidecarAddress(grpc=f"127.0.0.1:{port}", http=None), max_message_bytes=1024)
    await sidecar.connect()
    sidecar.let_finish("sqlite")
    yield service, sidecar
    service.let.set()
    await sidecar.close()
    await server.stop(None)


async def read(sidecar: Sidecar, store: str, timeout: float) -> object:
    return await sidecar.get(store, "key", consistency=Consistency.STRONG, timeout=timeout)


@pytest.mark.parametrize("gives_up", ["by its deadline", "by cancelling"])
async def test_only_a_store_that_does_not_bear_it_is_left_to_finish(slow: tuple[Slow, Sidecar], gives_up: str) -> None:
    service, sidecar = slow
    for store in ("sqlite", "redis"):
        call = asyncio.ensure_future(read(sidecar, store, 0.2 if gives_up == "by its deadline" else 10))
        assert await service.begun.get() == store
        if gives_up == "by cancelling":
            call.cancel()
            await asyncio.wait({call})
            assert call.cancelled()
        else:
            with pytest.raises(SidecarError) as failed:
                await call
            assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        assert await service.broken_off.get() == "redis"
    assert service.broken_off.empty()
    await sidecar.finish(timeout=0.01)  # waits no longer
    service.let.set()
    await sidecar.finish(timeout=10)
    assert service.finished == ["sqlite"]


async def test_a_call_that_is_left_to_finish_is_answered_like_any_other(slow: tuple[Slow, Sidecar]) -> None:
    service, sidecar = slow
    service.let.set()
    assert await read(sidecar, "sqlite", 10) == await read(sidecar, "redis", 10)
