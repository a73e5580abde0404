"""The command line. Needs the extra ``cli`` (typer and rich); nothing else in this package imports it."""

from __future__ import annotations

__all__ = ["main"]

import sys


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        sys.exit(f"keepstate: the command line needs {error.name}: pip install 'keepstate[cli]'")
    from keepstate.cli._app import app

    app()
