from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, closing

import pytest

from tests.polyglot.invocation import APP, Invoked
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS
from tests.support.service import ServiceProcess


@pytest.fixture(scope="session")
async def invoked(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Invoked]:
    """The service on Redis beside its daprd, and the daprd of a caller that has neither components nor policies."""
    folder, gateway = tmp_path_factory.mktemp("invoked"), containers.network.gateway
    components, nothing = folder / "components", folder / "nothing"
    components.mkdir()
    nothing.mkdir()
    shutil.copy(COMPONENTS / "redis.yaml", components)
    port, health_port = _free_port(gateway), _free_port("127.0.0.1")
    _ = containers.redis  # without it the sidecar would not start
    with ExitStack() as stack:
        arguments = ("--app-protocol=grpc", f"--app-port={port}", f"--app-channel-address={gateway}")
        own = await asyncio.to_thread(containers.sidecar, APP, resources_path=components, arguments=arguments)
        stack.callback(own.stop)
        settings = {
            "KEEPSTATE_LISTEN": f"{gateway}:{port}",
            "KEEPSTATE_INSECURE": "true",
            "DAPR_GRPC_ENDPOINT": own.grpc_target,
            "DAPR_HTTP_ENDPOINT": own.http_endpoint,
        }
        service = stack.enter_context(closing(ServiceProcess(folder, (port, health_port), settings)))
        await asyncio.to_thread(service.start)
        sidecar = await asyncio.to_thread(containers.sidecar, "caller", resources_path=nothing)
        stack.callback(sidecar.stop)
        yield Invoked(address=sidecar.grpc_target, service=service)


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port
