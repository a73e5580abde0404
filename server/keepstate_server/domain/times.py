"""Points in time, as records keep them."""

import time
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

__all__ = ["Clock", "Instant", "SystemClock", "as_datetime", "in_milliseconds"]

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch, by the clock of the service that noted it."""


def in_milliseconds(duration: timedelta) -> int:
    """Returns ``duration`` in whole milliseconds, rounded down."""
    return duration // timedelta(milliseconds=1)


def as_datetime(instant: Instant) -> datetime:
    """Returns ``instant`` as an aware datetime in UTC."""
    return datetime.fromtimestamp(instant / 1000, UTC)


class Clock(Protocol):
    """Tells the time that records are judged by."""

    def now(self) -> Instant:
        """Returns the present time."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Instant:
        """Returns the present time."""
        return Instant(time.time_ns() // 1_000_000)
