"""Redis, PostgreSQL and daprd as containers with fixed addresses, which a test can break and mend.

Faults are methods of a server: `pause`, `unpause`, `kill`, `start`, `restart`. Each returns once its effect can be
seen, and raises TimeoutError when it cannot. All of them block: in a test that shares the event loop with what it
breaks, call `await asyncio.to_thread(server.pause)`.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from keepstate.testing import containers
from tests.support.reaper import RUN_LABEL

COMPONENTS = Path(__file__).parents[2] / "components"

# testcontainers' own reaper is an image, which a machine without an image registry has not; ours is a process.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"


class Network:
    """A network of one run, and the addresses on it."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.name = f"keepstate-{run}"
        self.client = DockerClient().client
        subnet = self._create()
        addresses = subnet.hosts()
        self.gateway = str(next(addresses))
        """The machine itself, as containers see it."""
        self._free = iter([str(address) for address in addresses])

    def _create(self) -> ipaddress.IPv4Network:
        """Create the network on a subnet that is free here.

        The engine knows which are, but lets containers have chosen addresses only where the subnet was chosen too: so
        it is asked for one, which is then given back and chosen.
        """
        labels = {RUN_LABEL: self.run}
        for _ in range(10):
            asked = self.client.networks.create(f"{self.name}-asked", driver="bridge", labels=labels)
            asked.reload()
            pool = asked.attrs["IPAM"]["Config"][0]
            asked.remove()
            try:
                self.client.networks.create(
                    self.name,
                    driver="bridge",
                    labels=labels,
                    ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=pool["Subnet"], gateway=pool["Gateway"])]),
                )
            except APIError:  # another run was given it in between
                continue
            return ipaddress.IPv4Network(pool["Subnet"])
        raise RuntimeError("the Docker engine gives no subnet to a network")

    def next_address(self) -> str:
        """An address that no server has."""
        return next(self._free)


class Server(DockerContainer):
    """A container at an address of its own, which a test can pause, kill and start again."""

    port: ClassVar[int]
    user: ClassVar[str | None] = None
    stop_signal: ClassVar[str | None] = None

    def __init__(
        self, image: str, network: Network, *, alias: str, command: Sequence[str] = (), **options: Any
    ) -> None:
        super().__init__(image, **options)
        self.address = network.next_address()
        self.alias = alias
        if command:
            self.with_command(list(command))
        endpoint = network.client.api.create_endpoint_config(aliases=[alias], ipv4_address=self.address)
        self.with_kwargs(
            labels={RUN_LABEL: network.run},
            network=network.name,
            networking_config={network.name: endpoint},
            user=self.user,
            stop_signal=self.stop_signal,
        )

    @property
    def target(self) -> str:
        """Host and port, as a client on this machine reaches it."""
        return f"{self.address}:{self.port}"

    def start(self) -> Self:
        """Start it, for the first time or after `kill`, and wait until it serves."""
        if self._container is None:
            super().start()
        else:
            self._container.start()
        return self.wait_until_ready()

    def restart(self) -> Self:
        """Stop it in good order, start it again, and wait until it serves."""
        self.get_wrapped_container().restart(timeout=10)
        return self.wait_until_ready()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL). Its data stays."""
        self.get_wrapped_container().kill()
        self._wait_for_status("exited")

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self.get_wrapped_container().pause()
        self._wait_for_status("paused")

    def unpause(self) -> Self:
        """Let it go on, with what was sent to it meanwhile."""
        self.get_wrapped_container().unpause()
        return self.wait_until_ready()

    def ready(self) -> bool:
        """Whether it serves now. OSError counts as no."""
        raise NotImplementedError

    def wait_until_ready(self, seconds: float = 60.0) -> Self:
        """Wait until it serves.

        Raises:
            TimeoutError: it does not within that time, or has ended; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not self._answers():
            self.reload()
            if self.status == "exited" or time.monotonic() > deadline:
                out, err = self.get_logs()
                log = "\n".join((out + err).decode(errors="replace").splitlines()[-30:])
                raise TimeoutError(f"{self.alias} ({self.image}) is {self.status} and does not serve\n{log}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            return self.ready()
        except OSError:
            return False

    def _wait_for_status(self, status: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self.reload()
            if self.status == status:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.alias} is {self.status}, not {status}")
            time.sleep(0.02)

    def run(self, *command: str) -> str:
        """Run a command inside, and return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        result = self.exec(list(command))
        text = result.output.decode(errors="replace").rstrip("\n")
        if result.exit_code != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {result.exit_code}: {text}")
        return text

    def _ask(self, request: bytes, length: int) -> bytes:
        with socket.create_connection((self.address, self.port), timeout=1.0) as connection:
            connection.sendall(request)
            return connection.recv(length)


class RedisContainer(Server):
    """Redis that keeps what it was given: nothing is evicted, and a restart or a kill loses nothing."""

    port = 6379

    def __init__(self, image: str, network: Network, *, alias: str = "redis") -> None:
        settings = {
            "bind": "0.0.0.0",
            "protected-mode": "no",
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            # By everysec, Redis keeps what it has acknowledged in memory while the disk is slow, for up to 2 s, and a
            # kill takes that along. Left to the system, each write is handed over before it is acknowledged.
            "appendfsync": "no",
            "save": "",
        }
        command = ["redis-server"]
        for name, value in settings.items():
            command += [f"--{name}", value]
        super().__init__(image, network, alias=alias, command=command)

    def ready(self) -> bool:
        return self._ask(b"PING\r\n", 5) == b"+PONG"

    def cli(self, *command: str) -> str:
        """Run one Redis command, past all clients, and return its reply as redis-cli prints it."""
        return self.run("redis-cli", "--raw", *command)


class PostgresContainer(Server):
    """PostgreSQL with the user postgres, its password postgres and the database postgres."""

    port = 5432
    stop_signal = "SIGINT"  # its own default waits for every client to leave

    def __init__(self, image: str, network: Network, *, alias: str = "postgres") -> None:
        super().__init__(image, network, alias=alias)
        self.with_env("POSTGRES_PASSWORD", "postgres")  # for the public image

    def ready(self) -> bool:
        # A start-up message of protocol 3.0. It answers R, how to log in, or E while it starts or recovers.
        parameters = b"user\0postgres\0database\0postgres\0\0"
        return self._ask(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters, 1) == b"R"

    def sql(self, statement: str) -> str:
        """Run a statement, past all clients, and return its rows, fields parted by |."""
        return self.run("psql", "--username=postgres", "--no-align", "--tuples-only", f"--command={statement}")


class DaprContainer(Server, containers.DaprContainer):
    """A Dapr sidecar with the component files of a folder.

    Args:
        image: an image with daprd in its work folder, as the public ones have it.
        network: where it finds the stores its components name.
        app_id: the id of the app that it serves.
        resources_path: a folder of component files, mounted read-only. daprd follows changes in it while it runs.
        alias: its name on the network; the app id if not given.
        arguments: more arguments for daprd.
    """

    port = 50001
    http_port: ClassVar[int] = 3500
    user = "0"  # sqlite's file lies in the work folder, which the public image's own user cannot write

    def __init__(
        self,
        image: str,
        network: Network,
        *,
        app_id: str,
        resources_path: Path = COMPONENTS,
        alias: str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        arguments = ["--resources-path=/components", "--enable-metrics=false", *arguments]
        super().__init__(image, network, alias=alias or app_id, app_id=app_id, arguments=arguments)
        self.with_volume_mapping(resources_path.resolve(), "/components", "ro")

    @property
    def grpc_target(self) -> str:
        """Host and port of the gRPC API."""
        return self.target

    @property
    def http_endpoint(self) -> str:
        """URL of the HTTP API."""
        return f"http://{self.address}:{self.http_port}"

    def ready(self) -> bool:
        status, _ = self.http("GET", "/v1.0/healthz/outbound", timeout=1.0)
        return status == http.HTTPStatus.NO_CONTENT

    def http(self, method: str, path: str, body: bytes | None = None, *, timeout: float = 10.0) -> tuple[int, bytes]:
        """Call the HTTP API, and return the answer's status and body.

        Raises:
            OSError: no answer within ``timeout`` seconds.
        """
        connection = http.client.HTTPConnection(self.address, self.http_port, timeout=timeout)
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"no whole answer: {error!r}") from error
        finally:
            connection.close()
