"""A Dapr sidecar and the service as containers of testcontainers.

::

    with (
        Network() as network,
        RedisContainer("redis:7").with_network(network).with_network_aliases("redis"),
        DaprContainer(app_id="keepstate", components=[redis], network=network) as dapr,
        KeepstateContainer(dapr=dapr) as service,
    ):
        state = keepstate.sync.Client(service.address)
"""

from __future__ import annotations

__all__ = ["Component", "DaprContainer", "KeepstateContainer", "SecretKey"]

import http.client
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal

from testcontainers.core.container import DockerContainer
from testcontainers.core.exceptions import ContainerStartException
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import WaitStrategy, WaitStrategyTarget

_GRPC_PORT: Final = 50001
_HTTP_PORT: Final = 3500
_SERVICE_PORT: Final = 7400
_HEALTH_PORT: Final = 7401
_COMPONENTS: Final = "/components"
_MACHINE: Final = "host.docker.internal"
_START_SECONDS: Final = 60
_ENDING: Final = b"daprd will exit gracefully"
"""daprd that could not load a component says so, is healthy for some milliseconds, and ends."""
_LOG_LINES: Final = 30


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """A component's setting that daprd takes from a secret store."""

    name: str
    """The secret's name in the store."""
    key: str
    """The key within the secret."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A Dapr component, as its file would say it."""

    name: str
    type: str
    """For example ``state.redis``."""
    version: str = "v1"
    metadata: Mapping[str, str | SecretKey] = field(default_factory=dict)
    scopes: Sequence[str] = ()
    """The app ids that may use it. Empty: all."""
    secret_store: str | None = None
    """The component that keeps what ``SecretKey`` names."""

    def document(self) -> bytes:
        """The component file, in JSON, which is YAML too."""
        settings = [
            {"name": name, "value": value}
            if isinstance(value, str)
            else {"name": name, "secretKeyRef": {"name": value.name, "key": value.key}}
            for name, value in self.metadata.items()
        ]
        whole: dict[str, object] = {
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Component",
            "metadata": {"name": self.name},
            "spec": {"type": self.type, "version": self.version, "metadata": settings},
        }
        if self.scopes:
            whole["scopes"] = list(self.scopes)
        if self.secret_store is not None:
            whole["auth"] = {"secretStore": self.secret_store}
        return json.dumps(whole, indent=2).encode()


class DaprContainer(DockerContainer):
    """daprd, the Dapr sidecar, ready once its components are.

    Leaving the ``with`` block removes it.
    """

    def __init__(
        self,
        image: str = "daprio/daprd:1.18.2",
        *,
        app_id: str = "app",
        app_port: int | None = None,
        app_channel_address: str | None = None,
        app_protocol: Literal["http", "grpc", "https", "grpcs", "h2c"] = "http",
        components: Sequence[Component | Path] = (),
        log_level: Literal["debug", "info", "warn", "error"] = "info",
        network: Network | None = None,
        alias: str | None = None,
        arguments: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """Start nothing yet.

        Args:
            image: an image with daprd in its work folder, as the public ones have it.
            app_id: the id of the app that it serves.
            app_port: where the app listens; None: there is none to call.
            app_channel_address: the app's host as the container sees it; None: this machine, where the app must listen
                not on loopback alone.
            app_protocol: what the app speaks.
            components: what it loads, as values, files, or folders of files. They are copied into ``/components``.
            log_level: how much it logs.
            network: where it finds what its components name, and is found by its alias.
            alias: its name on that network; None: the app id.
            arguments: more arguments for daprd.
            options: passed on to ``DockerContainer``.

        Raises:
            ValueError: two of the components' files have one name.
            FileNotFoundError: a component's file is not there.
        """
        super().__init__(image, **{"extra_hosts": {_MACHINE: "host-gateway"}, **options})
        self.app_id = app_id
        self.alias = alias or app_id
        self.network = network
        _join(self, network, self.alias)
        command = [
            "./daprd",
            f"--app-id={app_id}",
            f"--log-level={log_level}",
            "--dapr-listen-addresses=0.0.0.0",
            f"--dapr-grpc-port={_GRPC_PORT}",
            f"--dapr-http-port={_HTTP_PORT}",
            "--max-body-size=16Mi",
        ]
        if app_port is not None:
            command += [f"--app-port={app_port}", f"--app-channel-address={app_channel_address or _MACHINE}"]
            command += [f"--app-protocol={app_protocol}"]
        if components:
            command += [f"--resources-path={_COMPONENTS}"]
        self.with_command([*command, *arguments])
        self.with_exposed_ports(_GRPC_PORT, _HTTP_PORT)
        for name, document in _files(components).items():
            self.with_copy_into_container(document, f"{_COMPONENTS}/{name}")
        self.waiting_for(_Answer(_HTTP_PORT, "/v1.0/healthz/outbound", HTTPStatus.NO_CONTENT, ending=_ENDING))

    @property
    def grpc_address(self) -> str:
        """Host and port of its gRPC API, for this machine.

        Raises:
            ContainerStartException: it was not started.
        """
        return _address(self, _GRPC_PORT)

    @property
    def http_address(self) -> str:
        """URL of its HTTP API, for this machine.

        Raises:
            ContainerStartException: it was not started.
        """
        return f"http://{_address(self, _HTTP_PORT)}"


class KeepstateContainer(DockerContainer):
    """The service, ready once it serves. It knows no callers: whoever reaches its port may read and write all.

    Leaving the ``with`` block removes it.
    """

    def __init__(
        self,
        image: str = "keepstate:local",
        *,
        dapr: DaprContainer | None = None,
        network: Network | None = None,
        alias: str = "keepstate",
        settings: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """Start nothing yet.

        Args:
            image: the service's image; `make image` builds the default.
            dapr: the sidecar whose state components are its stores. None: it has the embedded store, which goes with
                the container.
            network: where others find it by its alias; that of the sidecar, if there is one.
            alias: its name on the network.
            settings: more of its settings, by the names of their variables: ``{"KEEPSTATE_DEFAULT_STORE": "redis"}``.
            options: passed on to ``DockerContainer``.

        Raises:
            ValueError: the sidecar has no network, or another one.
        """
        super().__init__(image, **options)
        if dapr is not None:
            if dapr.network is None or (network is not None and network is not dapr.network):
                raise ValueError("dapr: the service must be on the sidecar's network, so the sidecar needs one")
            network = dapr.network
            sidecar = {
                "KEEPSTATE_SIDECAR": "dapr",
                "DAPR_RUNTIME_HOST": dapr.alias,
                "DAPR_GRPC_PORT": str(_GRPC_PORT),
                "DAPR_HTTP_PORT": str(_HTTP_PORT),
            }
        else:
            sidecar = {"KEEPSTATE_SIDECAR": "embedded"}
        self.alias = alias
        _join(self, network, alias)
        own = {
            "KEEPSTATE_LISTEN": f"0.0.0.0:{_SERVICE_PORT}",
            "KEEPSTATE_HTTP_LISTEN": f"0.0.0.0:{_HEALTH_PORT}",
            "KEEPSTATE_INSECURE": "true",
            "KEEPSTATE_WORKERS": "1",
        }
        self.with_envs(**own, **sidecar)
        self.with_envs(**(settings or {}))
        self.with_exposed_ports(_SERVICE_PORT, _HEALTH_PORT)
        self.waiting_for(_Answer(_HEALTH_PORT, "/healthz/ready", HTTPStatus.OK))

    @property
    def address(self) -> str:
        """Host and port, for clients on this machine.

        Raises:
            ContainerStartException: it was not started.
        """
        return _address(self, _SERVICE_PORT)


class _Answer(WaitStrategy):
    """Waits until GET is answered with a status, and no longer than the container runs."""

    def __init__(self, port: int, path: str, status: HTTPStatus, *, ending: bytes | None = None) -> None:
        """``ending``: what the log says of one that answers so and is about to end."""
        super().__init__()
        self._port = port
        self._path = path
        self._status = status
        self._ending = ending
        self.with_startup_timeout(_START_SECONDS).with_poll_interval(0.05)

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Wait.

        Raises:
            ContainerStartException: it ended, with the end of its log.
            TimeoutError: it does not answer so within a minute, or what ``with_startup_timeout`` says.
        """
        deadline = time.monotonic() + self._startup_timeout
        while not self._answers(container):
            container.reload()
            if container.status == "exited":
                raise ContainerStartException(f"it ended instead of serving:\n{_end_of_log(container)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._path} is not answered {self._status.value}:\n{_end_of_log(container)}")
            time.sleep(self._poll_interval)

    def _answers(self, container: WaitStrategyTarget) -> bool:
        try:
            url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(self._port)}{self._path}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status != self._status:
                    return False
        except (OSError, http.client.HTTPException):
            return False
        return self._ending is None or all(self._ending not in log for log in container.get_logs())


def _join(container: DockerContainer, network: Network | None, alias: str) -> None:
    if network is not None:
        container.with_network(network).with_network_aliases(alias)


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


def _end_of_log(container: WaitStrategyTarget) -> str:
    out, err = container.get_logs()
    return "\n".join((out + err).decode(errors="replace").splitlines()[-_LOG_LINES:])


def _files(components: Sequence[Component | Path]) -> dict[str, bytes]:
    """What lies in the folder of components, by name."""
    found: dict[str, bytes] = {}
    for component in components:
        if isinstance(component, Component):
            files = {f"{component.name}.yaml": component.document()}
        elif component.is_dir():
            files = {path.name: path.read_bytes() for path in sorted(component.iterdir()) if path.is_file()}
        else:
            files = {component.name: component.read_bytes()}
        if twice := found.keys() & files.keys():
            raise ValueError(f"components: there are two files {min(twice)}")
        found |= files
    return found
