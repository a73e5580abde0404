"""Commands that other packages add, loaded only when they are used."""

from __future__ import annotations

__all__ = ["add_extensions"]

from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points

import typer

from keepstate.cli._calls import fail
from keepstate.cli._completion import is_typed

GROUP = "keepstate.commands"

_HELP = {
    "adopt": "Take plain Dapr programs' values over, at the stores themselves.",
    "export": "Hand records back to plain Dapr programs, at the stores themselves.",
    "serve": "Run the service.",
    "sidecar": "Run the embedded sidecar alone, without the service.",
}
"""What the commands say of themselves, so that listing them need not import them."""


def add_extensions(app: typer.Typer) -> None:
    """Add a command for each entry point of the group "keepstate.commands": a function that typer can read.

    Listing them does not import them: ``keepstate get`` does not pay for the service.
    """
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        _add(app, entry_point)


def _add(app: typer.Typer, entry_point: EntryPoint) -> None:
    if is_typed(entry_point.name):  # its own flags are to be offered
        with suppress(ModuleNotFoundError):
            app.command(entry_point.name)(entry_point.load())
            return
    # Everything behind the name, --help too, goes to the command itself.
    passed_on = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}

    @app.command(
        entry_point.name,
        context_settings=passed_on,
        add_help_option=False,
        help=_HELP.get(entry_point.name, f"Added by {entry_point.module}."),
    )
    def run(context: typer.Context) -> None:
        _load(entry_point)(args=context.args, prog_name=f"keepstate {entry_point.name}")


def _load(entry_point: EntryPoint) -> typer.Typer:
    try:
        function = entry_point.load()
    except ModuleNotFoundError as error:
        fail(f"{entry_point.name} needs {error.name}: pip install 'keepstate[server]'", 1)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(function)
    return app
