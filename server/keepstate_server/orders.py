"""What ``keepstate serve`` tells the processes that it starts, by their standard input, and what they report.

What is told is an object, pickled; then the pipe stays open for as long as the parent lives. Reports are lines on
standard output.
"""

import pickle
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from keepstate_server.config import Settings

__all__ = ["END_STORE", "REPORT_SECONDS", "Report", "ServeCalls", "ServeStore", "received", "sent"]

REPORT_SECONDS = 2.0
"""A process that has started reports at least this often."""

END_STORE = signal.SIGUSR1
"""Has the embedded store end. SIGTERM does not: whoever sends that to all processes at once, as systemd does, sends it
to the store too, and the workers need it until they have ended."""


class Report(StrEnum):
    """What a process says of itself."""

    LISTENS = "listens"
    READY = "ready"
    NOT_READY = "not-ready"
    LIVES = "lives"


@dataclass(frozen=True, kw_only=True)
class ServeCalls:
    """Serve callers at ``settings.listen``, a port that other workers listen on too."""

    worker: str
    """Its name."""
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class ServeStore:
    """Be the sidecar that all workers share, with the embedded store in ``settings.embedded_file``."""

    settings: Settings
    grpc_port: int
    """Which the parent holds, so that between two such processes nobody else gets it, and with it what workers send."""
    api_token: str


def sent(order: ServeCalls | ServeStore) -> bytes:
    """Returns what is to be written."""
    return pickle.dumps(order)


def received(pipe: BinaryIO) -> ServeCalls | ServeStore:
    """Waits for what is told.

    Raises:
        EOFError: the parent has died.
    """
    order = pickle.load(pipe)  # noqa: S301 - nobody but the process that started this one has the pipe
    assert isinstance(order, ServeCalls | ServeStore)
    return order
