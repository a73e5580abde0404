"""Reading requests, and what is found wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1.record_pb2 import RecordName, RequestId
from keepstate_server.domain.errors import InvalidFields
from keepstate_server.domain.records import Version, etag_of
from keepstate_server.rpc.requests import Limits, Reader
from tests.unit.server.hand import SETTINGS, START

VERSION = Version(b"0123456789abcdef")
ETAG = etag_of(VERSION)
YEAR = timedelta(days=365)


def reader(*, default_store: str | None = "model", resent: bool = False, limits: Limits | None = None) -> Reader:
    return Reader(
        now=START,
        default_store=default_store,
        clock_difference_ms=SETTINGS.clock_difference_ms,
        resent=resent,
        limits=limits or Limits(),
    )


def stamp(milliseconds: int) -> Timestamp:
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def duration(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message


def request_id(*, sent: int = START, attempt: int = 0) -> RequestId:
    return RequestId(client=5, number=9, first_sent=stamp(sent), attempt=attempt)


NAME = RecordName(key="k")
Read = Callable[[Reader], object]


def wrong(read: Read, **settings: object) -> list[str]:
    """Which fields are named when this is read."""
    one = reader(**settings)  # type: ignore[arg-type]
    try:
        read(one)
        one.finish()
    except InvalidFields as error:
        assert all(violation.description for violation in error.violations)
        return [violation.field for violation in error.violations]
    return []
