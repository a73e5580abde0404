"""What `make up` starts: the service's image, beside daprd and Redis, called from the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from docker.models.containers import Container
from testcontainers.core.docker_client import DockerClient

from tests.support.containers import Containers
from tests.support.reaper import COMPOSE_LABEL, RUN_LABEL, project_of

ROOT = Path(__file__).parents[2]
KEEPSTATE = Path(sys.executable).with_name("keepstate")
SERVICES = ("keepstate", "daprd", "redis")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The compose project of this run, with a port of its own."""

    project: str
    port: int
    image: str

    def make(self, *arguments: str) -> str:
        """Run make, and return what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "MAKE"))}
        environment |= {"COMPOSE_PROJECT_NAME": self.project, "KEEPSTATE_IMAGE": self.image, "ARGS": ""}
        return self._run("make", *arguments, f"PORT={self.port}", environment=environment)

    def keepstate(self, *arguments: str) -> str:
        """Call the service from the machine, by the command line."""
        environment = dict(os.environ) | {"KEEPSTATE_ADDRESS": f"localhost:{self.port}"}
        return self._run(str(KEEPSTATE), *arguments, environment=environment)

    def containers(self, client: DockerClient) -> dict[str, Container]:
        """The containers that run, by service."""
        running = client.client.containers.list(filters={"label": f"{COMPOSE_LABEL}={self.project}"})
        return {container.labels["com.docker.compose.service"]: container for container in running}

    def _run(self, *command: str, environment: dict[str, str]) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def run(container: Container, *command: str) -> tuple[int | None, str]:
    """Run a command in a container, and return its exit code and what it printed."""
    code, output = container.exec_run(list(command))
    assert isinstance(output, bytes)
    return code, output.decode()


def engine_time(client: DockerClient) -> int:
    """The Docker engine's time, in seconds since 1970."""
    return int(datetime.fromisoformat(client.client.info()["SystemTime"]).timestamp())


@pytest.fixture(scope="module")
def client() -> Iterator[DockerClient]:
    client = DockerClient()
    yield client
    client.client.close()


@pytest.fixture(scope="module")
def stack(containers: Containers) -> Iterator[Stack]:
    """It is up when a test begins, and has no records but the tests'."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stack = Stack(project=project_of(containers.run), port=port, image=containers.keepstate_image)
    stack.make("up")
    yield stack
    stack.make("down", "ARGS=-v")


def test_make_up_starts_three_containers_and_says_how_to_call_the_service(stack: Stack, client: DockerClient) -> None:
    before = {name: container.id for name, container in stack.containers(client).items()}
    assert before.keys() == set(SERVICES)
    said = stack.make("up")  # once more, which changes nothing
    assert {name: container.id for name, container in stack.containers(client).items()} == before
    told = next(line for line in said.splitlines() if ".venv/bin/keepstate put" in line)
    done = subprocess.run(["bash", "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "hello"), done.stderr


def test_the_records_are_in_redis(stack: Stack, client: DockerClient) -> None:
    stack.keepstate("put", "cart:7", "apples")
    assert run(stack.containers(client)["redis"], "redis-cli", "--raw", "keys", "*cart:7") == (0, "redis||cart:7\n")


def test_the_service_has_no_root_no_shell_and_nothing_to_write_on(stack: Stack, client: DockerClient) -> None:
    service = stack.containers(client)["keepstate"]
    assert run(service, "python3", "-c", "import os; print(os.getuid(), os.getgid())") == (0, "65532 65532\n")
    for program in ("sh", "bash", "pip", "apt-get", "su"):
        assert run(service, program)[0] in {126, 127}, program
    for path in ("/file", "/tmp/file", "/var/lib/keepstate/file", "/opt/keepstate/file"):
        assert "Read-only file system" in run(service, "python3", "-c", f"open({path!r}, 'w')")[1], path
    _, status = run(service, "python3", "-c", "print(open('/proc/self/status').read())")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_the_service_alone_is_published_and_to_this_machine_alone(stack: Stack, client: DockerClient) -> None:
    for name, container in stack.containers(client).items():
        published = {
            (binding["HostIp"], int(binding["HostPort"]))
            for bindings in container.attrs["NetworkSettings"]["Ports"].values()
            for binding in bindings or []
        }
        assert published == ({("127.0.0.1", stack.port)} if name == "keepstate" else set()), name


def test_it_becomes_healthy(stack: Stack, client: DockerClient) -> None:
    deadline = time.monotonic() + 60
    while (health := stack.containers(client)["keepstate"].attrs["State"]["Health"])["Status"] != "healthy":
        assert time.monotonic() < deadline, health
        time.sleep(0.2)


def test_make_down_stops_the_service_before_its_sidecar_and_the_records_stay(
    stack: Stack, client: DockerClient
) -> None:
    stack.keepstate("put", "kept", "over make down")
    began = engine_time(client)
    stack.make("down")
    assert stack.containers(client) == {}
    events = client.client.events(
        since=began,
        until=engine_time(client) + 1,
        filters={"event": "die", "label": f"{COMPOSE_LABEL}={stack.project}"},
        decode=True,
    )
    ended = [each["Actor"]["Attributes"] for each in events]
    assert [(each["com.docker.compose.service"], each["exitCode"]) for each in ended] == [
        (name, "0") for name in SERVICES
    ]
    stack.make("up")
    assert stack.keepstate("get", "kept", "-o", "value").rstrip("\n") == "over make down"


def test_a_port_that_is_taken_is_told_before_anything_is_started(stack: Stack, client: DockerClient) -> None:
    other = replace(stack, project=f"{stack.project}-other")  # whose port the first one has
    with pytest.raises(AssertionError, match=f"something else listens at port {stack.port}"):
        other.make("up")
    assert other.containers(client) == {}


def test_the_image_refuses_to_listen_off_loopback_unless_allowed_by_name(
    containers: Containers, client: DockerClient
) -> None:
    container = client.client.containers.run(
        containers.keepstate_image,
        environment={"KEEPSTATE_LISTEN": "0.0.0.0:7400", "KEEPSTATE_SIDECAR": "embedded"},
        labels={RUN_LABEL: containers.run},
        detach=True,
    )
    assert container.wait(timeout=30)["StatusCode"] == 78
    assert b"KEEPSTATE_LISTEN" in container.logs()
    container.remove()
