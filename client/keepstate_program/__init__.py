"""The program ``keepstate``.

Not in the package ``keepstate``: importing that starts the gRPC library, which by then has read how much to log.
"""

from __future__ import annotations

__all__ = ["main"]

import os
import re
from importlib.metadata import version

# The newest grpcio whose calls are cheap as it comes.
_CHEAP = (1, 76)


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    prepare_grpc()
    from keepstate.cli import main as run

    run()


def prepare_grpc() -> None:
    """Set what the gRPC library reads of the environment as it is imported; what is set there already stays."""
    # Of a connection that fails it prints lines of its own, beside ours and in a form of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Later ones poll by an engine of their own, by which a call of the service takes half as much time again.
    if tuple(map(int, re.findall(r"\d+", version("grpcio"))[:2])) > _CHEAP:
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
