"""One store in two files: the same program on Redis and on PostgreSQL, with passwords from a secret store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcontainers.core.exceptions import ContainerStartException

from keepstate import Check, Conflict, Increment, Put
from keepstate.sync import Client
from tests.support.containers import Containers
from tests.support.servers import COMPONENTS, DaprContainer, RedisContainer
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.containers

SWAP = COMPONENTS / "swap"
PASSWORD = "a password: with 'quotes'"


@pytest.fixture(scope="module")
def guarded(containers: Containers) -> Iterator[RedisContainer]:
    """A Redis that wants a password."""
    redis = RedisContainer(containers.images.redis, containers.network, alias="guarded-redis").start()
    assert redis.cli("CONFIG", "SET", "requirepass", PASSWORD) == "OK"
    yield redis
    redis.stop()


StartSidecar = Callable[..., DaprContainer]


@pytest.fixture
def start_sidecar(containers: Containers) -> Iterator[StartSidecar]:
    """Starts a sidecar for an app, with a folder of components and an environment."""
    started = []

    def start(app_id: str, folder: Path, environment: Mapping[str, str]) -> DaprContainer:
        images, network = containers.images, containers.network
        sidecar = DaprContainer(images.daprd, network, app_id=app_id, alias=f"{app_id}-swap", resources_path=folder)
        for name, value in environment.items():
            sidecar.with_env(name, value)
        started.append(sidecar)
        return sidecar.start()

    yield start
    for sidecar in started:
        sidecar.stop()


@pytest.fixture
def redis_folder(guarded: RedisContainer, tmp_path: Path) -> Path:
    """The folder for Redis, with the address of the one here."""
    text = (SWAP / "redis" / "statestore.yaml").read_text()
    assert "redis:6379" in text
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "statestore.yaml").write_text(text.replace("redis:6379", guarded.target))
    return tmp_path / "components"


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_the_store_is_swapped_by_its_file_alone(
    containers: Containers,
    start_sidecar: StartSidecar,
    redis_folder: Path,
    kind: str,
    tmp_path: Path,
    unused_tcp_port_factory: Callable[[], int],
) -> None:
    connection = f"host={containers.postgres.address} user=postgres password=postgres dbname=postgres"
    environment = {"REDIS_PASSWORD": PASSWORD, "POSTGRES_CONNECTION": connection}
    sidecar = start_sidecar("keepstate", redis_folder if kind == "redis" else SWAP / kind, environment)
    service = ServiceProcess(
        tmp_path,
        (unused_tcp_port_factory(), unused_tcp_port_factory()),
        {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint},
    )
    try:
        service.start()
        with Client(service.address) as state:
            (store,) = state.stores()
            assert (store.name, store.component_type) == ("statestore", f"state.{kind}")
            the_program(state)
    finally:
        service.close()


def the_program(state: Client[Any]) -> None:
    """What knows nothing of the store."""
    etag = state.put("user:7", {"name": "Ada"}, if_absent=True)
    later = state.put("user:7", {"name": "Ada Lovelace"}, if_etag=etag)
    with pytest.raises(Conflict) as conflict:
        state.put("user:7", {"name": "Augusta"}, if_etag=etag)
    assert conflict.value.etag == later
    assert [state.increment("visits") for _ in range(3)] == [1, 2, 3]
    state.transact(checks=[Check("user:7", if_etag=later)], puts=[Put("user:8", "")], updates=[Increment("visits", 7)])
    with pytest.raises(Conflict):
        state.transact(puts=[Put("user:8", "half"), Put("user:7", "half", if_etag=etag)])
    assert state.get_many(["user:7", "user:8", "user:9", "visits"]) == {
        "user:7": {"name": "Ada Lovelace"},
        "user:8": "",
        "visits": 10,
    }
    assert state.delete("user:8")
    assert state.get("user:8") is None


def test_a_wrong_password_is_noticed_at_the_start(start_sidecar: StartSidecar, redis_folder: Path) -> None:
    with pytest.raises(ContainerStartException, match="WRONGPASS"):
        start_sidecar("keepstate", redis_folder, {"REDIS_PASSWORD": "another"})


def test_an_app_out_of_scope_does_not_see_the_component_unless_scopes_are_under_spec(
    start_sidecar: StartSidecar, redis_folder: Path
) -> None:
    outside = start_sidecar("outside", redis_folder, {"REDIS_PASSWORD": PASSWORD})
    assert components_of(outside) == []
    status, answer = outside.http("GET", "/v1.0/state/statestore/user:7")
    assert (status, json.loads(answer)["errorCode"]) == (500, "ERR_STATE_STORE_NOT_CONFIGURED")
    file = redis_folder / "statestore.yaml"
    documents = list(yaml.safe_load_all(file.read_text()))
    for document in documents:
        document["spec"]["scopes"] = document.pop("scopes")
    file.write_text(yaml.safe_dump_all(documents))
    another = start_sidecar("another", redis_folder, {"REDIS_PASSWORD": PASSWORD})
    assert components_of(another) == ["secrets", "statestore"]


def components_of(sidecar: DaprContainer) -> list[str]:
    _, body = sidecar.http("GET", "/v1.0/metadata")
    return sorted(component["name"] for component in json.loads(body).get("components", []))
