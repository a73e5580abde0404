"""Move the rows of a table into records: ``python -m examples.tables --help``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from examples.tables.moving import CODEC, Moved, Progress, Tally, Verified, check, items, move, verify
from examples.tables.sources import Rows, SourceError, open_source
from keepstate import DeadlineExceeded, KeepstateError, OutcomeUnknown, ResourceExhausted, Tls, Unavailable
from keepstate.sync import Client

EXIT_DIFFERENT = 1
EXIT_UNAVAILABLE = 69

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="FILE.csv, sqlite:///FILE or postgresql://…")],
    key: Annotated[list[str], typer.Option("--key", metavar="COLUMN", help="Names a row; several times for several.")],
    table: Annotated[str | None, typer.Option("--table", help="The table, where the source is a database.")] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="What keys begin with; else the table's or file's name.")
    ] = None,
    address: Annotated[str, typer.Option("--address", envvar="KEEPSTATE_ADDRESS")] = "localhost:7400",
    store: Annotated[str, typer.Option("--store", envvar="KEEPSTATE_STORE", help="Else the default one.")] = "",
    namespace: Annotated[str, typer.Option("--namespace", envvar="KEEPSTATE_NAMESPACE")] = "",
    timeout: Annotated[
        int, typer.Option("--timeout", metavar="SECONDS", min=1, help="How long a batch waits for the service.")
    ] = 60,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", envvar="KEEPSTATE_TLS_CA", help="Call by TLS; the CA of the service's certificate."),
    ] = None,
    tls_client_cert: Annotated[
        Path | None, typer.Option("--tls-client-cert", envvar="KEEPSTATE_TLS_CLIENT_CERT")
    ] = None,
    tls_client_key: Annotated[Path | None, typer.Option("--tls-client-key", envvar="KEEPSTATE_TLS_CLIENT_KEY")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over records that are not the row.")] = False,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Write nothing, compare alone.")] = False,
) -> None:
    """Move the rows of a table into records, and read all of them back to compare.

    Rows are checked before anything is written. A record that is there is left alone, so the same command again goes
    on where it was broken off, and repeats nothing. Exit codes: 0 every row is a record; 1 it is not, or the source
    cannot be read; 2 wrong usage; 69 the service is unavailable: run it again.
    """
    name = prefix or table or Path(source).stem
    began = time.monotonic()
    try:
        tls = Tls(ca=tls_ca, client_cert=tls_client_cert, client_key=tls_client_key)
        client = Client(
            address,
            codec=CODEC,
            store=store,
            namespace=namespace,
            timeout=timedelta(seconds=timeout),
            tls=None if tls == Tls() else tls,
        )
        with client, open_source(source, table, key) as rows, _bars() as bars:
            tally, moved, verified = _run(rows, name, client, bars, overwrite=overwrite, write=not verify_only)
    except ValueError as error:  # of the address or the certificates
        raise typer.BadParameter(str(error)) from None
    except SourceError as error:
        _fail(str(error), EXIT_DIFFERENT)
    except KeepstateError as error:
        where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
        if isinstance(error, Unavailable | DeadlineExceeded | OutcomeUnknown | ResourceExhausted):
            _fail(f"{where}{error}; run it again to go on", EXIT_UNAVAILABLE)
        _fail(f"{where}{error}", EXIT_DIFFERENT)
    _report(name, tally, moved, verified, time.monotonic() - began)


def _run(
    rows: Rows, name: str, client: Client[bytes], bars: Bars, *, overwrite: bool, write: bool
) -> tuple[Tally, Moved | None, Verified]:
    moved = None
    tally = check(items(rows(), name), _bar(bars, "check", None))
    if write:
        moved = move(items(rows(), name), client, overwrite=overwrite, progress=_bar(bars, "move", tally.count))
    verified = verify(items(rows(), name), client, progress=_bar(bars, "verify", tally.count))
    return tally, moved, verified


def _report(name: str, tally: Tally, moved: Moved | None, verified: Verified, seconds: float) -> None:
    for line in verified.named:
        print(line, file=sys.stderr)
    if verified.differences > len(verified.named):
        print(f"and {verified.differences - len(verified.named)} more", file=sys.stderr)
    what = ""
    if moved is not None:
        what = f", {moved.written} written, {moved.present} there before"
        what += f" of which {moved.overwritten} written over" if moved.overwritten else ""
    print(f"{name}: {tally.count} rows{what}, {verified.tally.count} read back, in {seconds:.1f} s")
    print(f"checksum of the rows    {tally.checksum}\nchecksum of the records {verified.tally.checksum}")
    if verified.differences:
        _fail(f"{verified.differences} of {tally.count} rows are not their records", EXIT_DIFFERENT)
    if verified.tally != tally:
        _fail("the source changed while it was read: run it again", EXIT_DIFFERENT)


@contextmanager
def _bars() -> Iterator[Bars]:
    """Show progress on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        yield bars


def _bar(bars: Bars, name: str, total: int | None) -> Progress:
    return partial(bars.advance, bars.add_task(f"{name:6}", total=total))


def _fail(reason: str, code: int) -> NoReturn:
    print(f"tables: {reason}", file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
