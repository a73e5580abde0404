"""A service with TLS behind Dapr's service invocation: what daprd can call, and what it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from tests.support.certificates import Authority
from tests.support.containers import Containers

pytestmark = pytest.mark.containers

PUT = pb.PutRequest(name=record_pb2.RecordName(key="k"), value=b"value")


@asynccontextmanager
async def running(host: str, data: Path, authority: Authority, **settings: Any) -> AsyncIterator[int]:
    """The port of a service on the embedded store, with a certificate for a name that daprd does not call it by."""
    pair = authority.issue("keepstate.example")
    service = Service(
        Settings(
            listen=f"{host}:0",
            http_listen=None,
            sidecar=SidecarKind.EMBEDDED,
            data=data,
            tls_cert=pair.cert,
            tls_key=pair.key,
            notice=timedelta(milliseconds=1),
            **settings,
        )
    )
    await service.start()
    try:
        await service.wait_ready()
        yield service.port
    finally:
        await service.stop()


@pytest.mark.parametrize(
    ("protocol", "demands_certificate", "code"),
    [("grpcs", False, "OK"), ("grpcs", True, "UNAVAILABLE"), ("grpc", False, "UNAVAILABLE")],
)
async def test_daprd_calls_by_tls_when_told_so_but_has_no_certificate_to_show(
    containers: Containers, tmp_path: Path, protocol: str, demands_certificate: bool, code: str
) -> None:
    authority = Authority(tmp_path / "ca")
    gateway = containers.network.gateway
    admission: dict[str, Any] = {"tls_client_ca": authority.file} if demands_certificate else {"insecure": True}
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    app = f"tls-{protocol}-{demands_certificate}".lower()
    async with running(gateway, tmp_path, authority, **admission) as port:
        arguments = (f"--app-protocol={protocol}", f"--app-port={port}", f"--app-channel-address={gateway}")
        sidecar = await asyncio.to_thread(containers.sidecar, app, resources_path=nothing, arguments=arguments)
        try:
            # Its own sidecar hands the call on to the app as another application's would.
            async with grpc.aio.insecure_channel(sidecar.grpc_target) as channel:
                stub: Any = state_service_pb2_grpc.StateServiceStub(channel)
                call = stub.Put(PUT, metadata=[("dapr-app-id", app)], timeout=10)
                answered: grpc.StatusCode = await call.code()
        finally:
            await asyncio.to_thread(sidecar.stop)
    assert answered.name == code
