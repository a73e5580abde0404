"""The commands that deal with several records as of one moment."""

from __future__ import annotations

__all__ = ["add_several"]

from typing import Annotated, BinaryIO

import typer

from keepstate.cli import _show as show
from keepstate.cli._calls import call
from keepstate.cli._completion import file_names
from keepstate.cli._options import Output, OutputFormat
from keepstate.cli._read import read_document
from keepstate.cli._target import Target, with_target
from keepstate.cli._transaction_file import FORM, Operations, operations
from keepstate.codecs import Bytes


def add_several(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=FORM)(transact)
    app.command()(snapshot)


@with_target()
def transact(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Option(
            "--file",
            "-f",
            envvar="KEEPSTATE_FILE",
            help="What to do, see below; - reads standard input.",
            show_default=False,
            autocompletion=file_names,
        ),
    ],
    target: Target,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Perform all writes that FILE names or none, if all conditions in it hold at one moment.

    Prints each put's etag, of each delete whether the record was there, and each update's new value.
    """
    performed = _read(file)
    done = call(
        target,
        lambda state: state.transact(
            checks=performed.checks, puts=performed.puts, deletes=performed.deletes, updates=performed.updates
        ),
    )
    show.committed(performed, done, output)


@with_target()
def snapshot(
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="The records' keys, up to 100.")],
    target: Target,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Print the records under all KEYs as they were at one moment. What is missing is left out.

    -o value prints each value with an end of line.
    """
    found = call(target, lambda state: state.using(Bytes()).snapshot(keys))
    show.records(list(found.values()), output)


def _read(file: BinaryIO) -> Operations:
    try:
        return operations(read_document(file.read().decode()))
    except UnicodeDecodeError:
        problem = "it is not UTF-8"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error)
    raise typer.BadParameter(problem, param_hint="--file")
