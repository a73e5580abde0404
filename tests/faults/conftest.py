"""Redis of its own, and a sidecar beside it, to be paused and killed without disturbing other tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import Api
from tests.contract.conftest import running_service
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer, RedisContainer


@pytest.fixture(scope="module")
def sidecar(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaprContainer]:
    """A sidecar that knows Redis alone."""
    _ = containers.redis
    folder: Path = tmp_path_factory.mktemp("components")
    (folder / "redis.yaml").write_text((COMPONENTS / "redis.yaml").read_text())
    running = containers.sidecar("faults", resources_path=folder)
    yield running
    running.stop()


@pytest.fixture
def redis(containers: Containers) -> Iterator[RedisContainer]:
    """Redis, running again when the test ends."""
    yield containers.redis
    server = containers.redis
    server.reload()
    if server.status == "paused":
        server.unpause()
    elif server.status == "exited":
        server.start()


@pytest.fixture
async def api(sidecar: DaprContainer, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """A service of the test's own beside that sidecar."""
    async with running_service(SidecarAddress(grpc=sidecar.grpc_target, http=sidecar.http_endpoint)) as backend:
        yield Api(backend.channel, "redis", request.node.name)
