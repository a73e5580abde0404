"""The command line. Needs the extra ``cli`` (typer, rich and PyYAML); nothing else in this package imports it."""

from __future__ import annotations

__all__ = ["main"]

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command that the process's arguments name, and exit."""
    for needed in ("rich", "typer", "yaml"):
        if find_spec(needed) is None:
            sys.exit(f"keepstate: the command line needs {needed}: pip install 'keepstate[cli]'")
    from keepstate.cli._completion import join_words

    join_words()
    from keepstate.cli._app import app

    app()
