"""The flags that commands share. Each is mirrored by a variable KEEPSTATE_… of the environment."""

from __future__ import annotations

__all__ = [
    "ConsistencyOption",
    "ExpireAt",
    "IfAbsent",
    "IfEtag",
    "IfExists",
    "KeepExpiry",
    "Key",
    "Output",
    "OutputFormat",
    "Ttl",
]

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from keepstate.durations import parse_duration
from keepstate.records import Consistency


class OutputFormat(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    VALUE = "value"


def duration(text: str) -> timedelta:
    """Read a duration, or say as a usage error why it is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def integer(text: str) -> int:
    """Read a number of 64 bits, or say as a usage error why it is none."""
    try:
        number = int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise typer.BadParameter(f"{text} needs more than 64 bits")
    return number


def moment(text: str) -> datetime:
    """Read a time with its timezone, or say as a usage error why it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 2027-01-31T12:00:00Z") from None
    if time.utcoffset() is None:
        raise typer.BadParameter(f"{text!r} has no timezone: append Z for UTC")
    return time


Key = Annotated[str, typer.Argument(metavar="KEY", help="The record's key, e.g. user:7.", show_default=False)]

Output = Annotated[
    OutputFormat,
    typer.Option("--output", "-o", envvar="KEEPSTATE_OUTPUT", help="value prints the bare result, for scripts."),
]

ConsistencyOption = Annotated[
    Consistency,
    typer.Option("--consistency", envvar="KEEPSTATE_CONSISTENCY", help="eventual: any copy of the data will do."),
]

IfAbsent = Annotated[
    bool, typer.Option("--if-absent", envvar="KEEPSTATE_IF_ABSENT", help="Only if there is no such record.")
]

IfExists = Annotated[
    bool, typer.Option("--if-exists", envvar="KEEPSTATE_IF_EXISTS", help="Only if there is such a record.")
]

IfEtag = Annotated[
    str | None,
    typer.Option("--if-etag", envvar="KEEPSTATE_IF_ETAG", metavar="ETAG", help="Only if the record's etag is this."),
]

Ttl = Annotated[
    timedelta | None,
    typer.Option(
        "--ttl",
        envvar="KEEPSTATE_TTL",
        parser=duration,
        metavar="DURATION",
        help="Expire so long from now: 1h30m, 90s.",
    ),
]

ExpireAt = Annotated[
    datetime | None,
    typer.Option(
        "--expire-at",
        envvar="KEEPSTATE_EXPIRE_AT",
        parser=moment,
        metavar="TIME",
        help="Expire at this time: 2027-01-31T12:00:00Z.",
    ),
]

KeepExpiry = Annotated[
    bool, typer.Option("--keep-expiry", envvar="KEEPSTATE_KEEP_EXPIRY", help="Keep the expiry that the record has.")
]
