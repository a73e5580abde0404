"""What one test run has of containers: Redis, PostgreSQL and daprd, each started at its first use.

Every server has an address of its own on the run's network, which a restart does not change, so that clients and
sidecars find it again. What was started is removed when the run ends, however it ends: see reaper.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from docker.errors import DockerException, ImageNotFound
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.exceptions import ContainerStartException

from tests.support import reaper
from tests.support.servers import COMPONENTS, DaprContainer, Network, PostgresContainer, RedisContainer, Server

IMAGE_SCRIPT = Path(__file__).parents[2] / "scripts" / "image.sh"


class Unavailable(Exception):
    """There are no containers here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """What the servers run from."""

    redis: str
    postgres: str
    daprd: str


def find_images() -> Images:
    """Return the images that scripts/containers.sh provided.

    Raises:
        Unavailable: it was not run or could not provide them, or they or the engine are gone since.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keepstate"
    try:
        text = (cache / "containers.env").read_text()
    except OSError:
        raise Unavailable("scripts/containers.sh was not run (make containers)") from None
    found = dict(line.split("=", 1) for line in text.splitlines())
    if problem := found.get("KEEPSTATE_CONTAINERS_ERROR"):
        raise Unavailable(problem)
    images = Images(
        redis=found["KEEPSTATE_REDIS_IMAGE"],
        postgres=found["KEEPSTATE_POSTGRES_IMAGE"],
        daprd=found["KEEPSTATE_DAPRD_IMAGE"],
    )
    try:
        client = DockerClient().client
        for image in (images.redis, images.postgres, images.daprd):
            client.images.get(image)
        client.close()
    except ImageNotFound as error:
        raise Unavailable(f"an image is gone (make containers): {error.explanation}") from None
    except DockerException:
        raise Unavailable("the Docker engine does not answer (make containers)") from None
    return images


_S = TypeVar("_S", bound=Server)


class Containers:
    """The servers of one test run, each started at its first use. `close` removes them."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.run = uuid.uuid4().hex[:12]
        # Before anything is started, so that nothing can be left.
        self._reaper = subprocess.Popen(
            [sys.executable, reaper.__file__, self.run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.network = Network(self.run)
        self._servers: list[Server] = []
        self._first_use: dict[str, Server | Exception] = {}

    @property
    def redis(self) -> RedisContainer:
        return self._once(RedisContainer, "redis", lambda: RedisContainer(self.images.redis, self.network))

    @property
    def postgres(self) -> PostgresContainer:
        return self._once(PostgresContainer, "postgres", lambda: PostgresContainer(self.images.postgres, self.network))

    @property
    def daprd(self) -> DaprContainer:
        """The sidecar with the repository's components: stores redis, postgresql, sqlite and memory."""
        _ = self.redis, self.postgres  # without them it would not start
        return self._once(DaprContainer, "daprd", lambda: self._dapr("keepstate"))

    @cached_property
    def keepstate_image(self) -> str:
        """The name of the service's image, built from this folder.

        It is this run's own: another run may build the image anew from another folder, which takes the common name.
        """
        environment = os.environ | {"KEEPSTATE_IMAGE": "keepstate-test/keepstate:local"}
        done = subprocess.run([IMAGE_SCRIPT], env=environment, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the image was not built\n{done.stderr}")
        name = reaper.image_of(self.run)
        DockerClient().client.images.get(done.stdout.strip()).tag(name)
        return name

    def sidecar(
        self,
        app_id: str,
        *,
        resources_path: Path = COMPONENTS,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> DaprContainer:
        """Start one more sidecar; `stop` removes it before the run's end.

        Start the stores that its components name first, by using `redis` or `postgres`.
        """
        server = self._dapr(app_id, resources_path, arguments)
        for name, value in (environment or {}).items():
            server.with_env(name, value)
        self._servers.append(server)
        return server.start()

    def sidecar_apart(self, app_id: str, folder: Path) -> DaprContainer:
        """Start a sidecar with the repository's components, whose records no other one finds in the same stores.

        For instances that collect by a time or rules of their own: all on a store must agree on both.

        Args:
            app_id: its keys begin with it.
            folder: where its component files are written.
        """
        _ = self.redis, self.postgres
        for file in COMPONENTS.glob("*.yaml"):
            (folder / file.name).write_text(file.read_text().replace("value: name\n", "value: appid\n"))
        return self.sidecar(app_id, resources_path=folder)

    def close(self) -> None:
        """Remove everything, and wait until it is gone.

        Raises:
            RuntimeError: something is left.
        """
        for server in self._servers:
            server.get_docker_client().client.close()
        self.network.client.close()
        self._reaper.communicate(reaper.ORDERLY, timeout=150)
        if self._reaper.returncode != 0:
            raise RuntimeError(f"containers with the label {reaper.RUN_LABEL}={self.run} may be left")

    def _dapr(self, app_id: str, resources_path: Path = COMPONENTS, arguments: Sequence[str] = ()) -> DaprContainer:
        return DaprContainer(
            self.images.daprd, self.network, app_id=app_id, resources_path=resources_path, arguments=arguments
        )

    def _once(self, kind: type[_S], name: str, make: Callable[[], _S]) -> _S:
        """Start a server at its first use. One that failed is not tried, and waited for, again by every test."""
        if name not in self._first_use:
            server = make()
            self._servers.append(server)
            try:
                self._first_use[name] = server.start()
            except (OSError, DockerException, ContainerStartException) as error:
                self._first_use[name] = error
        known = self._first_use[name]
        if isinstance(known, kind):
            return known
        raise RuntimeError(f"{name} did not start: {known}")
