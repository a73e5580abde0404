"""Clocks on virtual time, each with a difference of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from keepstate_server.domain.times import Instant

__all__ = ["START", "OffsetClock"]

START = 1_790_000_000_000
"""The true time at second 0 of the loop, in milliseconds since the epoch."""


@dataclass(slots=True)
class OffsetClock:
    """Virtual time, seen with a difference, which may be set."""

    loop: asyncio.AbstractEventLoop
    offset: float

    def now(self) -> Instant:
        return Instant(START + int((self.loop.time() + self.offset) * 1000))
