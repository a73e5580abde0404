"""Two services beside a sidecar each count and ask, while what they stand on is taken away."""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.examples.conftest import ROOT
from tests.support.apps import App, apps_of, components_of, eventually
from tests.support.containers import Containers
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.containers

EXAMPLE = ROOT / "examples" / "analytics"
README = (EXAMPLE / "README.md").read_text()
APPS = {app["appID"]: app for app in apps_of(EXAMPLE)}


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


Start = Callable[..., App]


@pytest.fixture(scope="module")
def keepstate(
    containers: Containers,
    stack: ExitStack,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> ServiceProcess:
    """Keepstate beside its sidecar, with the Redis of this run in the place of the component's."""
    folder = tmp_path_factory.mktemp("keepstate")
    sidecar = containers.sidecar("keepstate", resources_path=components_of(EXAMPLE, containers, folder))
    stack.callback(sidecar.stop)
    ports = (unused_tcp_port_factory(), unused_tcp_port_factory())
    settings = {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint}
    service = ServiceProcess(folder, ports, settings)
    stack.callback(service.close)
    return service.start()


@pytest.fixture(scope="module")
def start(
    containers: Containers,
    keepstate: ServiceProcess,
    stack: ExitStack,
    tmp_path_factory: pytest.TempPathFactory,
    unused_tcp_port_factory: Callable[[], int],
) -> Start:
    """Starts a service and its sidecar."""
    folder = tmp_path_factory.mktemp("analytics")

    def start(app_id: str, alias: str) -> App:
        program = App(
            containers,
            APPS[app_id],
            components=EXAMPLE / "components",
            port=unused_tcp_port_factory(),
            log=folder / f"{alias}.log",
            alias=alias,
            keepstate=keepstate.address,
        )
        stack.callback(program.close)
        program.sidecar.start()  # the SDK's client waits for it
        return program.start()

    return start


@pytest.fixture(scope="module")
def analytics(start: Start) -> App:
    return start("analytics", "analytics-one")


@pytest.fixture(scope="module")
def chat(start: Start) -> App:
    return start("chat", "chat")


def test_the_readme_and_the_template_name_the_same_ports() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+), (\d+) \| (\d+) \|", README, re.MULTILINE)
    ports = {app_id: tuple(map(int, each)) for app_id, *each in rows}
    assert ports == {app_id: (app["daprHTTPPort"], app["daprGRPCPort"], app["appPort"]) for app_id, app in APPS.items()}
    for app_id, (http, grpc, app) in ports.items():
        (line,) = re.findall(rf"^daprd --app-id {app_id} .*$", README, re.MULTILINE)
        assert f"--app-port {app} " in line
        assert f"--dapr-http-port {http} --dapr-grpc-port {grpc}" in line
        assert " ".join(APPS[app_id]["command"]) in README


def test_what_the_readme_calls_is_answered_as_it_says(analytics: App, chat: App) -> None:
    asked = re.findall(r"^(curl .*)\n# (.*)$", README, re.MULTILINE)
    assert len(asked) == 8
    for command, told in asked:
        curl, data, body, url = shlex.split(command)
        assert (curl, data) == ("curl", "-d")
        host, path = url.split("/", 1)
        program = {"localhost:3500": analytics, "localhost:3501": chat}[host]
        assert program.sidecar.http("POST", f"/{path}", body.encode()) == (200, told.encode())


def test_counts_survive_the_end_of_all_that_they_stand_on(
    containers: Containers, keepstate: ServiceProcess, analytics: App
) -> None:
    analytics.call("initialise")
    for number in range(3):
        analytics.call("record", user="dora", id=f"{number}")
    assert analytics.end(signal.SIGTERM) == 0
    analytics.sidecar.kill()
    keepstate.end(signal.SIGKILL)
    containers.redis.kill()
    containers.redis.start()
    keepstate.start()
    analytics.sidecar.start()
    analytics.start()
    eventually(lambda: analytics.call("count", user="dora") == {"user": "dora", "count": 3})
    analytics.call("initialise")
    assert analytics.call("record", user="dora", id="2") == {"user": "dora", "count": 3}
    assert analytics.call("record", user="dora", id="3") == {"user": "dora", "count": 4}


def test_chat_goes_on_with_0_while_analytics_is_away(analytics: App, chat: App) -> None:
    analytics.call("record", user="emil", id="1")
    known = {"text": "Hello emil", "count": 1, "analytics": "here"}
    away = {"text": "Hello emil", "count": 0, "analytics": "away"}
    eventually(lambda: chat.call("hello", user="emil") == known)
    for end, start in (
        (analytics.end, analytics.start),
        (analytics.sidecar.kill, analytics.sidecar.start),
        (analytics.sidecar.pause, analytics.sidecar.unpause),
    ):
        end()
        for _ in range(2):
            began = time.monotonic()
            assert chat.call("hello", user="emil") == away
            assert time.monotonic() - began < 5
        start()
        eventually(lambda: chat.call("hello", user="emil") == known)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "user must be a text that is not empty"),
        ({"user": ""}, "user must be a text that is not empty"),
        ({"user": "fritz"}, "id must be a text that is not empty"),
        ({"user": "f" * 600, "id": "1"}, "the key has 610 bytes, more than 512"),
    ],
)
def test_what_is_wrong_is_answered_by_its_field(analytics: App, fields: Mapping[str, str], error: str) -> None:
    assert analytics.call("record", **fields) == {"error": error}


def test_no_sidecar_but_keepstates_has_redis(analytics: App, chat: App) -> None:
    for program in (analytics, chat):
        _, body = program.sidecar.http("GET", "/v1.0/metadata")
        assert not json.loads(body).get("components")


def test_two_instances_count_together(start: Start, analytics: App) -> None:
    """The last test, since chat's sidecar may then ask either."""
    both = (analytics, start("analytics", "analytics-two"))
    with ThreadPoolExecutor(8) as threads:
        # Each message arrives twice, once at each.
        calls = [(program, str(number)) for number in range(20) for program in both]
        list(threads.map(lambda call: call[0].call("record", user="gina", id=call[1]), calls))
    assert [program.call("count", user="gina")["count"] for program in both] == [20, 20]
