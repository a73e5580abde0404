"""The commands."""

from __future__ import annotations

__all__ = ["app"]

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keepstate.cli import _show as show
from keepstate.cli._calls import EXIT_CODES, EXIT_NOT_FOUND, call, fail
from keepstate.cli._completion import store_names
from keepstate.cli._doctor import add_doctor
from keepstate.cli._extensions import add_extensions
from keepstate.cli._options import (
    ConsistencyOption,
    ExpireAt,
    IfEtag,
    IfExists,
    Key,
    Output,
    OutputFormat,
    Ttl,
)
from keepstate.cli._several import add_several
from keepstate.cli._target import Target, with_target
from keepstate.cli._updates import add_updates
from keepstate.cli._write import Write, with_write
from keepstate.codecs import Bytes
from keepstate.records import Consistency

app = typer.Typer(
    help="Keep state through a Keepstate service.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help and errors as plain text: the same on a terminal, in a pipe and in a log
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"keepstate {importlib.metadata.version('keepstate')}")
        raise typer.Exit


@app.callback()
def _keepstate(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
@with_target()
def get(
    key: Key,
    target: Target,
    output: Output = OutputFormat.TABLE,
    consistency: ConsistencyOption = Consistency.STRONG,
) -> None:
    """Print the record under KEY. Exit code 1: there is none.

    -o value prints exactly the bytes of the value, with an end of line added on a terminal alone.
    """
    record = call(target, lambda state: state.get_record(key, codec=Bytes(), consistency=consistency))
    if record is None:
        fail(f"not found: there is no such record: {key!r}", EXIT_NOT_FOUND)
    show.record(record, output)


@app.command()
@with_target()
@with_write
def put(
    key: Key,
    target: Target,
    write: Write,
    value: Annotated[str | None, typer.Argument(metavar="VALUE", help="The value; - reads standard input.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            envvar="KEEPSTATE_FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="Takes the value from it.",
        ),
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type",
            envvar="KEEPSTATE_CONTENT_TYPE",
            metavar="TYPE",
            help="What the value is, e.g. application/json; else text/plain, or application/octet-stream if not UTF-8.",
        ),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Store VALUE under KEY and print the new etag.

    Without --ttl, --expire-at or --keep-expiry the record never expires.
    """
    data = _value(value, file)
    codec = Bytes(content_type=content_type or _content_type(data))
    etag = call(
        target,
        lambda state: state.put(
            key,
            data,
            codec=codec,
            **write,
        ),
    )
    show.result({"key": key, "etag": etag}, etag, output)


@app.command()
@with_target()
def delete(
    key: Key,
    target: Target,
    if_exists: IfExists = False,
    if_etag: IfEtag = None,
    output: Output = OutputFormat.TABLE,
    consistency: ConsistencyOption = Consistency.STRONG,
) -> None:
    """Delete the record under KEY and print whether it was there. It need not be, unless --if-exists is given."""
    existed = call(
        target,
        lambda state: state.delete(key, if_exists=if_exists, if_etag=if_etag, consistency=consistency),
    )
    show.result({"key": key, "existed": existed}, str(existed).lower(), output)


@app.command()
@with_target()
def touch(
    key: Key,
    target: Target,
    ttl: Ttl = None,
    expire_at: ExpireAt = None,
    never: Annotated[
        bool, typer.Option("--never", envvar="KEEPSTATE_NEVER", help="Let the record never expire.")
    ] = False,
    if_etag: IfEtag = None,
    output: Output = OutputFormat.TABLE,
    consistency: ConsistencyOption = Consistency.STRONG,
) -> None:
    """Move the expiry of the record under KEY, by one of --ttl, --expire-at and --never, and print when it is now."""
    touched = call(
        target,
        lambda state: state.touch(
            key, ttl=ttl, expire_at=expire_at, never=never, if_etag=if_etag, consistency=consistency
        ),
    )
    expires = show.time(touched.expire_time)
    show.result({"key": key, "etag": touched.etag, "expire_time": expires}, expires or "never", output)


@app.command()
@with_target("store", "namespace")
def stores(
    target: Target,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this one, with its promises.", autocompletion=store_names)
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the stores, or show one, and which promises of the contract each one keeps. -o value prints names alone."""
    if name is None:
        show.stores(call(target, lambda state: state.stores()), output)
    else:
        show.store(call(target, lambda state: state.store(name).store_info()), output)


add_updates(app)
add_several(app)
add_doctor(app)
add_extensions(app)


def _value(value: str | None, file: Path | None) -> bytes:
    if value is not None and file is None:
        return sys.stdin.buffer.read() if value == "-" else os.fsencode(value)
    if file is not None and value is None:
        return file.read_bytes()
    raise typer.BadParameter("give one of VALUE, - (for standard input) and --file")


def _content_type(data: bytes) -> str:
    try:
        data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"
