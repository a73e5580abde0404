"""Removes a test run's containers, networks, volumes and its name for the image when the run ends, however it ends.

The run starts this program with a pipe as its stdin, whose other end closes when the run is over or killed: then the
read below returns. It is started in a session of its own, so that a Ctrl-C at the terminal does not reach it.
"""

from __future__ import annotations

import contextlib
import sys
import time

import docker
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume

RUN_LABEL = "keepstate.run"
COMPOSE_LABEL = "com.docker.compose.project"
ORDERLY = b"orderly"
"""What a run that ends by itself writes: it starts nothing any more."""

_LIMIT = 120.0
_LATECOMERS = 3.0
"""How long a killed run's last request to the engine may still bring a container forth, in seconds."""


def project_of(run: str) -> str:
    """The name of the run's compose project."""
    return f"keepstate-{run}"


def image_of(run: str) -> str:
    """The run's own name for the service's image."""
    return f"keepstate-test/keepstate:{run}"


def belongings(client: docker.DockerClient, run: str) -> list[Container | Network | Volume]:
    """Everything that carries the run's label or its project's: first the containers, then what they use."""
    found: list[Container | Network | Volume] = []
    labels = (f"{RUN_LABEL}={run}", f"{COMPOSE_LABEL}={project_of(run)}")
    for label in labels:
        found += client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
    for label in labels:
        found += client.networks.list(filters={"label": label})
        found += client.volumes.list(filters={"label": label})
    return found


def remove(thing: Container | Network | Volume) -> None:
    """Remove it, running or paused. What fails is seen again and tried again."""
    with contextlib.suppress(APIError):
        if isinstance(thing, Container):
            thing.remove(force=True, v=True)
        else:
            thing.remove()


def main(run: str) -> int:
    """Wait for the run's end, then remove until nothing is left. Exit code 0 says that nothing is."""
    orderly = sys.stdin.buffer.read() == ORDERLY
    client = docker.from_env(timeout=60)
    deadline = time.monotonic() + _LIMIT
    quiet_since = time.monotonic()
    while time.monotonic() < deadline:
        if left := belongings(client, run):
            for thing in left:
                remove(thing)
            quiet_since = time.monotonic()
        elif orderly or time.monotonic() - quiet_since > _LATECOMERS:
            with contextlib.suppress(APIError):  # it had none, or somebody else's container uses it
                client.images.remove(image_of(run), noprune=True)
            return 0
        else:
            time.sleep(0.2)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
