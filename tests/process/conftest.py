from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.service import ServiceProcess


@pytest.fixture
def free_ports() -> Callable[[int], tuple[int, ...]]:
    """Returns ports that nobody listens on."""

    def find(count: int) -> tuple[int, ...]:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            return tuple(each.getsockname()[1] for each in sockets)

    return find


@pytest.fixture
def make_service(
    tmp_path: Path, free_ports: Callable[[int], tuple[int, ...]]
) -> Iterator[Callable[..., ServiceProcess]]:
    """Makes a service process that is not started yet."""
    with ExitStack() as stack:

        def make(**settings: str) -> ServiceProcess:
            one, other = free_ports(2)
            service = ServiceProcess(tmp_path, (one, other), settings)
            stack.callback(service.close)
            return service

        yield make
