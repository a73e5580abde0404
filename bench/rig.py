"""What the measurements run on: Redis, a sidecar and the service, and a line that says so."""

from __future__ import annotations

import asyncio
import platform
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench import cpu
from keepstate.v1 import state_service_pb2_grpc
from tests.support.containers import Containers, find_images
from tests.support.servers import DaprContainer, RedisContainer, Server
from tests.support.service import ServiceProcess

__all__ = ["Rig", "rig"]


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A fresh Redis behind a sidecar, and what starts the service beside it."""

    containers: Containers
    redis: RedisContainer
    sidecar: DaprContainer
    folder: Path

    def versions(self) -> dict[str, str]:
        """Returns which daprd and Redis these are."""
        told = {
            line.split(":")[0]: line.split(":")[1] for line in self.redis.cli("INFO", "server").split() if ":" in line
        }
        return {"daprd": self.sidecar.run("./daprd", "--version"), "Redis": told["redis_version"]}

    def describe(self, settings: Mapping[str, str]) -> str:
        """Says what a measurement ran on."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions().items())
        chosen = ", ".join(f"{name}={value}" for name, value in settings.items())
        return (
            f"{processor()}, Python {platform.python_version()}, grpcio {grpc.__version__}, {versions};"
            f" {chosen or 'settings by default'}"
        )

    def ask(self, *command: str) -> bytes:
        """Sends Redis a command, past all clients, over a connection of its own; returns the reply's first bytes."""
        with socket.create_connection((self.redis.address, self.redis.port), timeout=5) as connection:
            connection.sendall(" ".join(command).encode() + b"\r\n")
            return connection.recv(1 << 16)

    def server(self, store: str) -> Server:
        """Returns where a store keeps its records."""
        return self.redis if store == "redis" else self.containers.postgres

    def keys(self) -> int:
        """Returns how many keys Redis holds."""
        return int(self.ask("DBSIZE")[1:])

    def process(self, settings: Mapping[str, str]) -> ServiceProcess:
        """The service as a process, not yet started."""
        addresses = {"DAPR_GRPC_ENDPOINT": self.sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": self.sidecar.http_endpoint}
        return ServiceProcess(self.folder, (_free_port(), _free_port()), {**addresses, **settings})

    async def settled(self, *services: ServiceProcess) -> None:
        """Waits until services that were just started do nothing any more: workers, probes. Ten seconds at most."""
        before = sum(cpu.of_process(each.process.pid) for each in services)
        for _ in range(20):
            await asyncio.sleep(0.5)
            after = sum(cpu.of_process(each.process.pid) for each in services)
            if after - before < 0.05:
                return
            before = after

    @asynccontextmanager
    async def service(self, settings: Mapping[str, str]) -> AsyncIterator[state_service_pb2_grpc.StateServiceAsyncStub]:
        """Runs the service as a process, and yields a client of it."""
        process = self.process(settings)
        try:
            process.start()
            async with grpc.aio.insecure_channel(process.address) as channel:
                yield state_service_pb2_grpc.StateServiceStub(channel)
        finally:
            process.close()


@contextmanager
def rig() -> Iterator[Rig]:
    """Starts the containers, and removes them in the end."""
    containers = Containers(find_images())
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Rig(containers=containers, redis=containers.redis, sidecar=containers.daprd, folder=Path(folder))
    finally:
        containers.close()


def processor() -> str:
    """Names the machine's processors, as far as it tells."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
