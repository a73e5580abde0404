from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer


@pytest.fixture(scope="session")
def odd_sidecar(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaprContainer]:
    """A sidecar with the stores encrypted, Redis with a ttl of its own, and PostgreSQL without a version."""
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


def _write(folder: Path, component: Mapping[str, Any]) -> None:
    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", **component}
    (folder / f"{document['metadata']['name']}.yaml").write_text(yaml.safe_dump(document))
