"""No call of the service blocks its event loop: not while it waits for a sidecar, nor as it connects, nor at work."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import grpc
from blockbuster import blockbuster_ctx

from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from keepstate_server.embedded import EmbeddedSidecar
from tests.contract.api import Api


async def test_the_event_loop_is_never_blocked(tmp_path: Path, unused_tcp_port_factory: object) -> None:
    assert callable(unused_tcp_port_factory)
    grpc_port, http_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    service = Service(
        Settings(
            listen="127.0.0.1:0",
            http_listen=f"127.0.0.1:{unused_tcp_port_factory()}",
            sidecar=SidecarKind.DAPR,
            dapr_grpc_port=grpc_port,
            dapr_http_port=http_port,
        )
    )
    embedded = EmbeddedSidecar(path=tmp_path / "embedded.db", grpc_port=grpc_port, http_port=http_port)
    with blockbuster_ctx("keepstate_server"):
        await service.start()
        late = asyncio.create_task(service.wait_ready())
        await asyncio.wait([late], timeout=0.3)
        assert not late.done(), "there is no sidecar yet"
        await embedded.start()
        async with asyncio.timeout(30):
            await late
        async with grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            api = Api(channel, "embedded", "loop")
            await asyncio.gather(*(api.put(f"k{number}", ttl=timedelta(seconds=60)) for number in range(50)))
            await api.transact(puts=[api.put_request("k1"), api.put_request("k2")])
            await api.touch("k3")
            await api.delete("k4")
            assert await api.value("k1") == b"value"
        await service.stop()
        await embedded.stop()
