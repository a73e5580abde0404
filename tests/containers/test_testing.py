"""`keepstate.testing.containers`: daprd and the service as another project starts them."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.exceptions import ContainerStartException
from testcontainers.core.network import Network

from keepstate import sync
from keepstate.testing.containers import Component, DaprContainer, KeepstateContainer, SecretKey
from tests.support.containers import Containers
from tests.support.project import documented, run_pytest
from tests.support.reaper import RUN_LABEL

MEMORY = Component(name="memory", type="state.in-memory", metadata={"keyPrefix": "name"})

PROGRAM = """
from dapr.clients import DaprClient
with DaprClient() as dapr:
    dapr.save_state("memory", "greeting", "hello")
    print(dapr.get_state("memory", "greeting").data.decode())
"""


@pytest.fixture(scope="module")
def labels(containers: Containers) -> dict[str, str]:
    """What has the run's reaper remove them."""
    return {RUN_LABEL: containers.run}


@pytest.fixture(scope="module")
def network(labels: dict[str, str]) -> Iterator[Network]:
    with Network(docker_network_kw={"labels": labels}) as network:
        yield network


def test_the_documented_project_passes(containers: Containers, tmp_path: Path) -> None:
    images = {
        '"redis:7"': f'"{containers.images.redis}"',
        "DaprContainer(": f'DaprContainer("{containers.images.daprd}", ',
        "KeepstateContainer()": f'KeepstateContainer("{containers.keepstate_image}")',
        "KeepstateContainer(dapr": f'KeepstateContainer("{containers.keepstate_image}", dapr',
    }
    files = {name: text for name, text in documented().items() if name in {"test_on_redis.py", "test_alone.py"}}
    for public, made in images.items():
        assert any(public in text for text in files.values())
        files = {name: text.replace(public, made) for name, text in files.items()}
    assert run_pytest(tmp_path, files).startswith("2 passed")


def test_the_service_beside_a_sidecar_has_its_stores(
    containers: Containers, network: Network, labels: dict[str, str]
) -> None:
    other = Component(name="other", type="state.in-memory", metadata={"keyPrefix": "name"})
    daprd, image = containers.images.daprd, containers.keepstate_image
    settings = {"KEEPSTATE_DEFAULT_STORE": "other"}
    with (
        DaprContainer(daprd, app_id="two", components=[MEMORY, other], network=network, labels=labels) as dapr,
        KeepstateContainer(image, dapr=dapr, settings=settings, labels=labels) as service,
        sync.Client(service.address) as state,
    ):
        state.put("greeting", "hello")
        assert state.store("other").get("greeting") == "hello"
        assert state.store("memory").get("greeting") is None


def test_the_embedded_store_lies_on_a_volume_that_the_images_user_may_write(
    containers: Containers, labels: dict[str, str]
) -> None:
    client = containers.network.client
    volume = client.volumes.create(labels=labels)

    def service() -> KeepstateContainer:
        made = KeepstateContainer(containers.keepstate_image, labels=labels, read_only=True, cap_drop=["ALL"])
        return made.with_volume_mapping(str(volume.name), "/var/lib/keepstate", "rw")

    with service() as first, sync.Client(first.address) as state:
        state.put("greeting", "hello")
    with service() as second, sync.Client(second.address) as state:
        assert state.get("greeting") == "hello"
    volume.remove()


def test_a_sidecar_answers_at_both_its_addresses(
    containers: Containers, labels: dict[str, str], tmp_path: Path
) -> None:
    """It has components as a value, as a file and as a folder, one of them with a secret."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "secrets.json").write_text(json.dumps({"prefix": "name"}))
    secrets = Component(
        name="secrets",
        type="secretstores.local.file",
        metadata={"secretsFile": "/components/secrets.json"},
        scopes=["app"],
    )
    (tmp_path / "secrets.yaml").write_bytes(secrets.document())
    store = Component(
        name="memory",
        type="state.in-memory",
        metadata={"keyPrefix": SecretKey(name="prefix", key="prefix")},
        secret_store="secrets",
    )
    components: list[Component | Path] = [store, tmp_path / "secrets.yaml", folder]
    with DaprContainer(containers.images.daprd, components=components, labels=labels) as dapr:
        with urllib.request.urlopen(f"{dapr.http_address}/v1.0/metadata", timeout=10) as answer:
            loaded = json.load(answer)
        assert loaded["id"] == "app"
        assert {each["name"] for each in loaded["components"]} == {"memory", "secrets"}
        told = {"DAPR_GRPC_ENDPOINT": dapr.grpc_address, "DAPR_HTTP_ENDPOINT": dapr.http_address}
        program = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (program.returncode, program.stdout) == (0, "hello\n"), program.stderr


def test_a_sidecar_calls_the_app_on_this_machine(containers: Containers, labels: dict[str, str]) -> None:
    class App(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), App) as app:
        threading.Thread(target=app.serve_forever, daemon=True).start()
        try:
            with DaprContainer(containers.images.daprd, app_port=app.server_port, labels=labels) as dapr:
                url = f"{dapr.http_address}/v1.0/invoke/app/method/greeting"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    assert answer.read() == b"/greeting"
        finally:
            app.shutdown()


def test_a_sidecar_that_ends_says_why(containers: Containers, labels: dict[str, str]) -> None:
    wrong = Component(name="wrong", type="state.no-such-store")
    dapr = DaprContainer(containers.images.daprd, components=[wrong], labels=labels)
    with pytest.raises(ContainerStartException, match="no-such-store"):
        dapr.start()
    dapr.stop()


def test_a_service_that_is_not_ready_in_time_says_so(
    containers: Containers, network: Network, labels: dict[str, str]
) -> None:
    nobody = DaprContainer(containers.images.daprd, app_id="nobody", network=network, labels=labels)  # never started
    service = KeepstateContainer(containers.keepstate_image, dapr=nobody, labels=labels)
    assert service._wait_strategy is not None
    service._wait_strategy.with_startup_timeout(2)
    with pytest.raises(TimeoutError, match="healthz/ready is not answered 200"):
        service.start()
    service.stop()


def test_a_service_needs_the_network_of_its_sidecar(containers: Containers, network: Network) -> None:
    with pytest.raises(ValueError, match="dapr: "):
        KeepstateContainer("keepstate:local", dapr=DaprContainer(containers.images.daprd))


def test_no_two_components_share_a_file(containers: Containers) -> None:
    with pytest.raises(ValueError, match=r"memory\.yaml"):
        DaprContainer(containers.images.daprd, components=[MEMORY, MEMORY])
