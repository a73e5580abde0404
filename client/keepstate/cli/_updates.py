"""The commands that change a value at the service."""

from __future__ import annotations

__all__ = ["add_updates"]

from typing import Annotated, Any

import typer

from keepstate.cli import _show as show
from keepstate.cli._calls import call
from keepstate.cli._options import (
    Key,
    Output,
    OutputFormat,
    integer,
)
from keepstate.cli._read import read_as
from keepstate.cli._target import Target, with_target
from keepstate.cli._write import Write, with_write
from keepstate.operations import Append, Increment, MergePatch

# Else -1 would be taken for a flag. What is one that does not exist is then refused as a number.
_NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


def add_updates(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings=_NEGATIVE_NUMBERS)(incr)
    app.command()(append)
    app.command()(patch)


def _bound(flag: str, words: str) -> Any:
    variable = f"KEEPSTATE_{flag.removeprefix('--').upper()}"
    return typer.Option(flag, envvar=variable, parser=integer, metavar="NUMBER", help=words)


@with_target()
@with_write
def incr(
    key: Key,
    target: Target,
    write: Write,
    by: Annotated[int, typer.Argument(metavar="BY", parser=integer, help="What to add; may be negative.")] = 1,
    initial: Annotated[int | None, _bound("--initial", "What an absent record counts as; else 0.")] = None,
    minimum: Annotated[int | None, _bound("--min", "Refuse what would make it less.")] = None,
    maximum: Annotated[int | None, _bound("--max", "Refuse what would make it more.")] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Add BY to the number under KEY and print the new number.

    Without --ttl, --expire-at or --keep-expiry the record never expires.
    """
    updated = call(
        target,
        lambda state: state.update(
            Increment(
                key,
                by,
                initial=initial,
                minimum=minimum,
                maximum=maximum,
                **write,
            )
        ),
    )
    show.updated(key, updated, output)


@with_target()
@with_write
def append(
    key: Key,
    values: Annotated[
        list[str],
        typer.Argument(metavar="VALUE", help="What to add, each a JSON value; -- goes before one that begins with -."),
    ],
    target: Target,
    write: Write,
    text: Annotated[
        bool, typer.Option("--text", envvar="KEEPSTATE_TEXT", help="Each VALUE is a text as it stands, and no JSON.")
    ] = False,
    max_length: Annotated[
        int | None,
        typer.Option(
            "--max-length",
            envvar="KEEPSTATE_MAX_LENGTH",
            parser=integer,
            metavar="NUMBER",
            help="Keep so many items, the newest; else all.",
        ),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Add each VALUE to the end of the list under KEY and print the new list.

    Without --ttl, --expire-at or --keep-expiry the record never expires.
    """
    items = values if text else [read_as("VALUE", value) for value in values]
    updated = call(
        target,
        lambda state: state.update(
            Append(
                key,
                items,
                max_length=max_length,
                **write,
            )
        ),
    )
    show.updated(key, updated, output)


@with_target()
@with_write
def patch(
    key: Key,
    change: Annotated[str, typer.Argument(metavar="JSON", help="What to merge; null removes a member.")],
    target: Target,
    write: Write,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Merge JSON into the JSON value under KEY, as RFC 7396 says, and print the new value.

    Without --ttl, --expire-at or --keep-expiry the record never expires.
    """
    merged = read_as("JSON", change)
    updated = call(
        target,
        lambda state: state.update(
            MergePatch(
                key,
                merged,
                **write,
            )
        ),
    )
    show.updated(key, updated, output)
