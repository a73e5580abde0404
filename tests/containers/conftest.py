from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from keepstate_server.embedded import EmbeddedSidecar
from tests.containers.facts import LIMITS, Ask, Odd
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer
from tests.unit.embedded.driver import Caller


@pytest.fixture(scope="session")
def odd_sidecar(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaprContainer]:
    """A sidecar with the stores encrypted, Redis with a ttl of its own and other prefixes, PostgreSQL of no version."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "secrets.json").write_text(json.dumps({"key": "0123456789abcdef" * 2}))
    local = [{"name": "secretsFile", "value": "/components/secrets.json"}]
    secrets = {"type": "secretstores.local.file", "version": "v1", "metadata": local}
    _write(folder, {"metadata": {"name": "secrets"}, "spec": secrets})
    for file in COMPONENTS.glob("*.yaml"):
        component = yaml.safe_load(file.read_text())
        component["metadata"]["name"] += "-encrypted"
        key = {"name": "primaryEncryptionKey", "secretKeyRef": {"name": "key", "key": "key"}}
        component["spec"]["metadata"].append(key)
        _write(folder, component | {"auth": {"secretStore": "secrets"}})
    component = yaml.safe_load((COMPONENTS / "redis.yaml").read_text())
    component["metadata"]["name"] = "redis-with-ttl"
    component["spec"]["metadata"].append({"name": "ttlInSeconds", "value": "100"})
    _write(folder, component)
    for name, prefix in (("redis-by-app", []), ("redis-of-odd", [{"name": "keyPrefix", "value": "odd"}])):
        component = yaml.safe_load((COMPONENTS / "redis.yaml").read_text())
        component["metadata"]["name"] = name
        others = [each for each in component["spec"]["metadata"] if each["name"] != "keyPrefix"]
        component["spec"]["metadata"] = others + prefix
        _write(folder, component)
    component = yaml.safe_load((COMPONENTS / "postgresql.yaml").read_text())
    component["metadata"]["name"] = "postgresql-without-version"
    del component["spec"]["version"]
    component["spec"]["metadata"].append({"name": "tableName", "value": "state_v1"})
    component["spec"]["metadata"].append({"name": "metadataTableName", "value": "metadata_v1"})
    _write(folder, component)
    _ = containers.redis, containers.postgres
    sidecar = containers.sidecar("odd", resources_path=folder)
    yield sidecar
    sidecar.stop()


@pytest.fixture(scope="module")
async def dapr_channel(containers: Containers) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(containers.daprd.grpc_target, options=LIMITS) as channel:
        yield channel


@pytest.fixture(scope="module")
async def embedded_channel() -> AsyncIterator[grpc.aio.Channel]:
    sidecar = EmbeddedSidecar(path=None)
    await sidecar.start()
    async with grpc.aio.insecure_channel(sidecar.grpc_address, options=LIMITS) as channel:
        yield channel
    await sidecar.stop()


@pytest.fixture
def caller(store: str, request: pytest.FixtureRequest) -> Caller:
    channel = request.getfixturevalue("embedded_channel" if store == "embedded" else "dapr_channel")
    return Caller.on(channel, store=store)


@pytest.fixture
def redis(dapr_channel: grpc.aio.Channel) -> Caller:
    return Caller.on(dapr_channel, store="redis")


@pytest.fixture
def ask(containers: Containers) -> Ask:
    return lambda command, key, store="redis": containers.redis.cli(command, f"{store}||{key}")


@pytest.fixture
async def odd(odd_sidecar: DaprContainer) -> AsyncIterator[Odd]:
    async with grpc.aio.insecure_channel(odd_sidecar.grpc_target) as channel:
        yield lambda store: Caller.on(channel, store=store)


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


def _write(folder: Path, component: Mapping[str, Any]) -> None:
    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", **component}
    (folder / f"{document['metadata']['name']}.yaml").write_text(yaml.safe_dump(document))
