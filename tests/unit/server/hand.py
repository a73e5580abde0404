"""Time and chance in the hands of a test."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterator
from itertools import count

from keepstate_server.domain.records import Request
from keepstate_server.domain.times import Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.settings import EngineSettings

SETTINGS = EngineSettings()
START = Instant(1_790_000_000_000)
SECOND = 1000
MINUTE = 60 * SECOND


class HandClock:
    """Stands still until it is moved."""

    def __init__(self, now: int = START) -> None:
        self._now = now

    def now(self) -> Instant:
        return Instant(self._now)

    def advance(self, milliseconds: float) -> None:
        self._now += math.ceil(milliseconds)


class HandDeadline(Deadline):
    """Ends by the test's clock; a pause moves that clock and takes no time."""

    def __init__(self, clock: HandClock, seconds: float = 30.0) -> None:
        super().__init__(seconds)
        self._clock = clock
        self._ends = clock.now() + seconds * 1000

    @property
    def remaining(self) -> float:
        return max((self._ends - self._clock.now()) / 1000, 0.0)

    def half(self) -> HandDeadline:
        return HandDeadline(self._clock, self.remaining / 2)

    async def sleep(self, seconds: float) -> None:
        self._clock.advance(min(seconds, self.remaining) * 1000)
        await asyncio.sleep(0)


class Requests:
    """A client that counts its requests."""

    def __init__(self, clock: HandClock, client: int = 0xC11E27) -> None:
        self._clock = clock
        self._client = client
        self._numbers: Iterator[int] = count(1)

    def new(self) -> Request:
        return Request(client=self._client, number=next(self._numbers), first_sent=self._clock.now(), repeated=False)


def again(request: Request) -> Request:
    """The same request, sent once more."""
    return Request(client=request.client, number=request.number, first_sent=request.first_sent, repeated=True)


def chance(seed: int = 0) -> random.Random:
    return random.Random(seed)
