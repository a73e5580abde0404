"""The program ``keepstate``.

Not in the package ``keepstate``: importing that starts the gRPC library, which by then has read how much to log.
"""

from __future__ import annotations

__all__ = ["main"]

import os


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    # Of a connection that fails it prints lines of its own, beside ours and in a form of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from keepstate.cli import main as run

    run()
