"""The service's clock as the client can tell it."""

from __future__ import annotations

__all__ = ["Sending", "ServiceClock", "forget_times"]

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

_RESOLUTION = 0.001
"""Seconds: the service states its time in whole milliseconds."""

_DRIFT = 0.001
"""Seconds that two clocks may part in a second: far more than clocks do, so that old samples make room for new ones."""


_STANDSTILL = 1.0
"""Seconds by which the clock that carries the estimate on, where it may stand still, may part from the wall clock."""

_STANDS_STILL = sys.platform != "linux"
"""Whether ``_elapsed`` may stand still while the machine is suspended."""


def _elapsed() -> float:
    """Seconds since some moment, whatever the local clock is set to.

    The monotonic clock of Linux stops while the machine is suspended: carried on by it, the service's time would be
    behind by as long afterwards. That since the boot goes on.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 - so that mypy knows this for another platform's
        return time.monotonic()


class _Forgetting:
    """How often the times that were told so far have been forgotten."""

    count = 0


def forget_times() -> None:
    """Let every client in this process ask for the service's time before its next write, as it was moved on purpose.

    By the time of before, the write would be taken for an old one.
    """
    _Forgetting.count += 1


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What is noted when something is sent, for the time that its answer will tell."""

    at: float
    forgotten: int


@dataclass(frozen=True, kw_only=True)
class _Sample:
    at: float  # as ``_elapsed`` tells
    wall: float  # as the local clock told at `at`
    service: float  # seconds since 1970, by the service's clock
    error: float  # seconds by which `service` may be wrong at `at`
    forgotten: int  # how often times had been forgotten when it was asked for


class ServiceClock:
    """Estimates the service's time from the times that its answers carry.

    An answer was stamped somewhere between sending and receiving, so half of the round trip is the most by which the
    estimate can be wrong, and the quickest answer of late is the best one. Where no time is known the local clock
    serves. The estimate is carried on by a clock that nobody sets.

    Args:
        stands_still: whether that clock may stand still while the machine is suspended. Once it has parted from the
            local clock no time is known.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = _elapsed,
        stands_still: bool = _STANDS_STILL,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._stands_still = stands_still
        self._best: _Sample | None = None

    @property
    def known(self) -> bool:
        """Whether an answer has told the service's time."""
        return self._best is not None and self._holds(self._best)

    def now(self) -> float:
        """The service's time in seconds since 1970."""
        if self._best is None or not self._holds(self._best):
            return self._wall()
        return self._best.service + (self._monotonic() - self._best.at)

    def sending(self) -> Sending:
        """Note that something is sent now."""
        return Sending(at=self._monotonic(), forgotten=_Forgetting.count)

    def observe(self, stamp: str, sent: Sending) -> None:
        """Take in the ``keepstate-time`` of an answer that is received now."""
        try:
            service = datetime.fromisoformat(stamp)
        except ValueError:
            return  # a proxy's, not the service's: no reason to fail a call that succeeded
        if service.utcoffset() is None:
            return
        half = (self._monotonic() - sent.at) / 2
        sample = _Sample(
            at=sent.at + half,
            wall=self._wall() - half,
            service=service.timestamp(),
            error=half + _RESOLUTION,
            forgotten=sent.forgotten,
        )
        if self._best is None or not self._holds(self._best) or self._is_better(sample, self._best):
            self._best = sample

    def _holds(self, sample: _Sample) -> bool:
        """Whether a sample still counts: times were not forgotten since, and nothing has stood still."""
        if sample.forgotten != _Forgetting.count:
            return False
        if not self._stands_still:
            return True
        return abs((self._wall() - sample.wall) - (self._monotonic() - sample.at)) <= _STANDSTILL

    @staticmethod
    def _is_better(sample: _Sample, best: _Sample) -> bool:
        elapsed = sample.at - best.at
        error = best.error + _DRIFT * abs(elapsed)
        # Two that cannot both be right: the service's clock was set, or another instance answers. The newer one counts.
        contradicts = abs(best.service + elapsed - sample.service) > error + sample.error
        return contradicts or sample.error <= error
