"""Redis of one test's own, and instances of the service that keep what is dead for seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer, RedisContainer
from tests.support.service import ServiceProcess

SETTINGS = {"KEEPSTATE_LONGEST_DELAY": "125ms", "KEEPSTATE_CLOCK_DIFFERENCE": "50ms", "KEEPSTATE_DEAD_LIFE": "2500ms"}


@pytest.fixture
def redis(containers: Containers) -> Iterator[RedisContainer]:
    """Redis of the test's own: everything in it is looked at."""
    server = RedisContainer(containers.images.redis, containers.network, alias="redis-expiry").start()
    yield server
    server.stop()


@pytest.fixture
def sidecar(containers: Containers, redis: RedisContainer, tmp_path: Path) -> Iterator[DaprContainer]:
    """A sidecar that knows that Redis alone."""
    (folder := tmp_path / "components").mkdir()
    component = (COMPONENTS / "redis.yaml").read_text()
    (folder / "redis.yaml").write_text(component.replace("redis:6379", f"{redis.alias}:6379"))
    running = containers.sidecar("expiry", resources_path=folder)
    yield running
    running.stop()


@pytest.fixture
def instance(
    sidecar: DaprContainer, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[Callable[[str], ServiceProcess]]:
    """Starts an instance of the service, a process of its own."""
    running: list[ServiceProcess] = []
    settings = {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint, **SETTINGS}

    def start(name: str) -> ServiceProcess:
        (folder := tmp_path / name).mkdir()
        service = ServiceProcess(folder, (unused_tcp_port_factory(), unused_tcp_port_factory()), settings)
        running.append(service)
        return service.start()

    yield start
    for service in running:
        service.close()
