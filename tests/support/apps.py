"""The programs of an example, each a process beside a sidecar of its own, as its dapr.yaml names them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from tests.support.containers import Containers
from tests.support.servers import DaprContainer

ROOT = Path(__file__).parents[2]


def apps_of(example: Path) -> list[Mapping[str, Any]]:
    """The apps of an example's dapr.yaml, each with what is common to all."""
    template = yaml.safe_load((example / "dapr.yaml").read_text())
    return [template["common"] | app for app in template["apps"]]


def components_of(example: Path, containers: Containers, folder: Path) -> Path:
    """A copy of an example's components in a folder, with the Redis of this run in the place of theirs."""
    copies = folder / "components"
    copies.mkdir()
    texts = {file.name: file.read_text() for file in (example / "components").glob("*.yaml")}
    assert any("localhost:6379" in text for text in texts.values())
    for name, text in texts.items():
        (copies / name).write_text(text.replace("localhost:6379", containers.redis.target))
    return copies


class App:
    """A program as a process, which a test can end and start again, and its sidecar, which is not started yet."""

    def __init__(
        self,
        containers: Containers,
        app: Mapping[str, Any],
        *,
        components: Path,
        port: int,
        log: Path,
        alias: str,
        keepstate: str,
    ) -> None:
        gateway = containers.network.gateway  # where the sidecar, in its container, finds the process
        self.sidecar = DaprContainer(
            containers.images.daprd,
            containers.network,
            app_id=app["appID"],
            alias=alias,
            resources_path=components,
            arguments=(
                f"--app-protocol={app['appProtocol']}",
                f"--app-port={port}",
                f"--app-channel-address={gateway}",
            ),
        )
        self._address = (gateway, port)
        self.log = log
        program, *arguments = app["command"]
        assert program == ".venv/bin/python"
        self._command = [sys.executable, *arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
        self._environment = {
            **inherited,
            "APP_PORT": str(port),
            "APP_CHANNEL_ADDRESS": gateway,
            "DAPR_RUNTIME_HOST": self.sidecar.address,
            "DAPR_HTTP_PORT": str(self.sidecar.http_port),
            "DAPR_GRPC_PORT": str(self.sidecar.port),
            "KEEPSTATE_ADDRESS": keepstate,
            "PYTHONUNBUFFERED": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Starts the process, and waits until it can be called."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        eventually(self._listens)
        return self

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(10)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end()
        self.sidecar.stop()

    @property
    def url(self) -> str:
        """Where its methods are, by the sidecar's HTTP API."""
        return f"{self.sidecar.http_endpoint}/v1.0/invoke/{self.sidecar.app_id}/method"

    def call(self, method: str, **fields: str) -> Mapping[str, Any]:
        """Calls by the sidecar's HTTP API, as anybody would."""
        path = f"/v1.0/invoke/{self.sidecar.app_id}/method/{method}"
        status, answer = self.sidecar.http("POST", path, json.dumps(fields).encode())
        assert status == 200, answer
        found: Mapping[str, Any] = json.loads(answer)
        return found

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return listens(*self._address)


def listens(host: str, port: int) -> bool:
    """Whether something listens there. OSError counts as no."""
    with socket.create_connection((host, port), timeout=1):
        return True


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Waits until something holds. OSError and what is not so yet count as no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.1)
