"""The commands that move keys: ``keepstate adopt`` and ``keepstate export``.

Exit codes: 0 done, 1 some keys were not moved, 2 wrong usage, 69 the sidecar or its store is unavailable, 73 the store
is of a kind that is not used, 78 a wrong setting, 130 interrupted.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, NoReturn

import typer

from keepstate.cli._options import OutputFormat, duration
from keepstate.cli._output import print_fields, print_json, print_value
from keepstate_server.cli import bad_configuration, settings_of
from keepstate_server.config import BadConfiguration, Settings
from keepstate_server.domain.errors import KeepstateError, StoreNotFound, StoreUnavailable
from keepstate_server.domain.records import KEEP_EXPIRY, KeepExpiry
from keepstate_server.domain.times import SystemClock
from keepstate_server.moves import Direction, Moves, Report, StoreAway

__all__ = ["adopt", "export"]

_EX_FAILED, _EX_USAGE, _EX_UNAVAILABLE, _EX_UNSUPPORTED, _EX_INTERRUPTED = 1, 2, 69, 73, 130

# How long the sidecar may take to answer at first.
_PATIENCE = 30.0

_TELL_EVERY = 2.0  # seconds

_Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys as plain Dapr programs write them.")]
_KeysFile = Annotated[
    str | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        help="Takes more keys from it, one a line, as they are: nothing is quoted. - is standard input.",
    ),
]
_Store = Annotated[
    str | None,
    typer.Option("--store", envvar="KEEPSTATE_STORE", help="The Dapr state component; else the default store."),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")]
_Output = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", envvar="KEEPSTATE_OUTPUT", help="value prints how many were moved, and no more."),
]
_Config = Annotated[Path | None, typer.Option(help="A YAML file of settings, the service's own.")]


def adopt(
    keys: _Keys = None,
    keys_file: _KeysFile = None,
    store: _Store = None,
    ttl: Annotated[
        timedelta | None,
        typer.Option("--ttl", parser=duration, metavar="DURATION", help="Adopted records expire so long from now."),
    ] = None,
    never: Annotated[bool, typer.Option("--never", help="Adopted records never expire.")] = False,
    dry_run: _DryRun = False,
    output: _Output = OutputFormat.TABLE,
    config: _Config = None,
) -> None:
    """Take plain values over: each gets its envelope, and stays the value that it is.

    Works on the stores itself, with the settings of `keepstate serve`, and may run beside it. Each value is read back
    and compared. Keys that have an envelope, or no value, are left alone: after whatever cut it off, run it again.

    An expiry is kept where the store tells it. Redis does not: there say --ttl or --never, for all keys of the run.
    """
    if ttl is not None and never:
        raise typer.BadParameter("--ttl and --never exclude each other")
    life = None if never else ttl or KEEP_EXPIRY
    _move(Direction.INTO, keys, keys_file, _Job(store=store, life=life, dry=dry_run), output, config)


def export(
    keys: _Keys = None,
    keys_file: _KeysFile = None,
    store: _Store = None,
    dry_run: _DryRun = False,
    output: _Output = OutputFormat.TABLE,
    config: _Config = None,
) -> None:
    """Hand records back to plain programs: each value takes the place of its envelope, with the rest of its ttl.

    First stop those who write these keys through Keepstate. For them etags from before match no more, repeats of
    earlier requests would be applied again, and their next write would put the envelope back.

    Works on the stores itself, with the settings of `keepstate serve`. Each value is read back and compared. Keys that
    have no envelope, or no record, are left alone: after whatever cut it off, run it again.
    """
    _move(Direction.OUT_OF, keys, keys_file, _Job(store=store, life=KEEP_EXPIRY, dry=dry_run), output, config)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What to do with the keys."""

    store: str | None
    life: timedelta | KeepExpiry | None
    dry: bool


class _Stopped(Exception):
    """The run ended early; the report says how far it came."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def _move(
    direction: Direction,
    keys: Sequence[str] | None,
    keys_file: str | None,
    job: _Job,
    output: OutputFormat,
    config: Path | None,
) -> None:
    if not keys and keys_file is None:
        raise typer.BadParameter("give KEYs, or --keys FILE, or --keys - for standard input")
    settings = settings_of(Settings, config)
    report, ended = Report(), None
    with tempfile.TemporaryFile() as spool:
        _gather(keys or (), keys_file, spool)
        told = _Told(direction, report)
        try:
            asyncio.run(_run(direction, _lines(spool), job, settings, report, told))
        except BadConfiguration as error:
            bad_configuration(error)
        except _Stopped as stopped:
            ended = stopped
    if ended is None or report.keys:
        _show(direction, report, job, output)
    if ended is not None:
        _fail(str(ended), ended.code)
    if report.failed:
        raise typer.Exit(_EX_FAILED)


def _gather(keys: Sequence[str], keys_file: str | None, spool: IO[bytes]) -> None:
    """Writes all keys into one file, a line each, so that they can be read as fast as they are moved."""
    for key in keys:
        spool.write(key.encode(errors="surrogateescape") + b"\n")
    if keys_file == "-":
        shutil.copyfileobj(sys.stdin.buffer, spool)
    elif keys_file is not None:
        try:
            with Path(keys_file).open("rb") as file:
                shutil.copyfileobj(file, spool)
        except OSError as error:
            raise typer.BadParameter(f"--keys: {keys_file}: {error.strerror}") from None
    spool.seek(0)


def _lines(spool: IO[bytes]) -> Iterator[str]:
    for line in spool:
        if key := line.rstrip(b"\r\n"):
            # What is no UTF-8 becomes halves of surrogate pairs, which no key may hold: it is told as such.
            yield key.decode(errors="surrogateescape")


class _Told:
    """Says on standard error how far it is and what failed."""

    def __init__(self, direction: Direction, report: Report) -> None:
        self._what = _words(direction)
        self._report = report
        self._said_at = time.monotonic()

    def progress(self) -> None:
        if time.monotonic() - self._said_at >= _TELL_EVERY:
            self._said_at = time.monotonic()
            report = self._report
            _say(f"{report.keys} keys: {report.moved} {self._what}, {report.already} already, {report.failed} failed")

    @staticmethod
    def failed(key: str, reason: str) -> None:
        _say(f"{key!r} {reason}")


async def _run(
    direction: Direction, keys: Iterator[str], job: _Job, settings: Settings, report: Report, told: _Told
) -> None:
    """Moves ``keys``.

    Raises:
        BadConfiguration: a setting is wrong.
        _Stopped: it ended early.
    """
    from keepstate_server.backing import Backing
    from keepstate_server.engine.moving import Mover

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    clock = SystemClock()
    backing = await Backing.open(settings, clock=clock)
    try:
        await _answers(backing.sidecar.connect(), stopping)
        try:
            name = await backing.catalog.resolve(job.store or "", timeout=_PATIENCE)
            if name is None:
                raise typer.BadParameter("--store must be given: the service has no default store")
            store = await backing.catalog.find_for_writing(name, timeout=_PATIENCE)
        except KeepstateError as error:
            raise _Stopped(error.message, _code(error)) from None
        if direction is Direction.INTO and isinstance(job.life, KeepExpiry) and not store.tells_expiry:
            raise typer.BadParameter(
                f"store {name} does not tell when other programs' values expire: say --ttl DURATION or --never"
            )
        mover = Mover(backing.engine, backing.catalog, store, settings=settings.engine, clock=clock)
        moves = Moves(
            mover,
            direction,
            clock=clock,
            clock_difference=settings.clock_difference,
            life=job.life,
            report=report,
            stopping=stopping,
            failed=told.failed,
        )
        try:
            await moves.run(keys, dry=job.dry, progress=told.progress)
        except StoreAway:
            if not stopping.is_set():
                raise _Stopped(f"store {name} does not answer; run again to go on", _EX_UNAVAILABLE) from None
        if stopping.is_set():
            raise _Stopped("interrupted; run again to go on", _EX_INTERRUPTED)
    finally:
        await backing.drain(timeout=10)
        await backing.close()


async def _answers(connecting: Coroutine[None, None, None], stopping: asyncio.Event) -> None:
    """Waits for the sidecar.

    Raises:
        _Stopped: it does not answer, or nobody waits any more.
    """
    tasks = [asyncio.ensure_future(connecting), asyncio.ensure_future(stopping.wait())]
    await asyncio.wait(tasks, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    connected = tasks[0].done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if stopping.is_set():
        raise _Stopped("interrupted; run again to go on", _EX_INTERRUPTED)
    if not connected:
        raise _Stopped("the sidecar does not answer", _EX_UNAVAILABLE)


def _code(error: KeepstateError) -> int:
    match error:
        case StoreNotFound():
            return _EX_USAGE
        case StoreUnavailable():
            return _EX_UNAVAILABLE
        case _:
            return _EX_UNSUPPORTED


def _words(direction: Direction) -> str:
    return "adopted" if direction is Direction.INTO else "exported"


def _show(direction: Direction, report: Report, job: _Job, output: OutputFormat) -> None:
    numbers = {
        f"to be {_words(direction)}" if job.dry else _words(direction): report.moved,
        "already": report.already,
        "absent": report.absent,
        "failed": report.failed,
    }
    checksums = {"sha256_before": str(report.before)} | ({} if job.dry else {"sha256_after": str(report.after)})
    if output is OutputFormat.VALUE:
        print_value(b"%d\n" % report.moved)
    elif output is OutputFormat.JSON:
        print_json({name.replace(" ", "_"): number for name, number in numbers.items()} | checksums)
    else:
        print_fields({name: str(number) for name, number in numbers.items()} | checksums)


def _fail(reason: str, code: int) -> NoReturn:
    _say(f"keepstate: {reason}")
    raise typer.Exit(code)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
