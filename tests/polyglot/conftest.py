from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing

import pytest

from keepstate.testing import KeepstateService
from tests.polyglot.invocation import APP, Invoked
from tests.polyglot.programs import GO, NODE, PROJECT, build
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS
from tests.support.service import ServiceProcess


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service."""
    with KeepstateService() as running:
        yield running.address


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


@pytest.fixture(scope="session")
def plain_go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a Go program with generated stubs alone: it takes an address, and metadata in pairs."""
    program = tmp_path_factory.mktemp("go") / "plain"
    build("client-go.sh", "go", "build", "-o", str(program), "./plain", folder=GO)
    return [str(program)]


@pytest.fixture(scope="session")
def plain_node(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a Node program with generated stubs alone, which are made here: it takes an address."""
    folder, packages = tmp_path_factory.mktemp("node"), PROJECT / "client/node/node_modules"
    build("client-node.sh", "setup", folder=folder)
    for file in NODE.iterdir():
        shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(packages)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "gen").mkdir()
    protoc = [
        *(sys.executable, "-m", "grpc_tools.protoc", "-I", PROJECT / "proto", "-I", sysconfig.get_path("purelib")),
        *("--plugin", packages / ".bin/protoc-gen-ts_proto", "--ts_proto_out", folder / "gen"),
        *("--ts_proto_opt", "outputServices=grpc-js,esModuleInterop=true,importSuffix=.js"),
        *("--ts_proto_opt", "forceLong=bigint,oneof=unions-value,outputJsonMethods=false,useExactTypes=false"),
        *("keepstate/v1/state_service.proto", "google/rpc/error_details.proto"),
    ]
    build("client-node.sh", "run", *map(str, protoc), folder=folder)
    build("client-node.sh", "run", str(packages / ".bin/tsc"), folder=folder)
    return [str(PROJECT / "scripts/client-node.sh"), "run", "node", str(folder / "build/plain.js")]
