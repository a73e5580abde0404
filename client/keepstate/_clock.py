"""The service's clock as the client can tell it."""

from __future__ import annotations

__all__ = ["ServiceClock", "elapsed", "forget_times"]

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

_RESOLUTION = 0.001
"""Seconds: the service states its time in whole milliseconds."""

_DRIFT = 0.001
"""Seconds that two clocks may part in a second: far more than clocks do, so that old samples make room for new ones."""


def elapsed() -> float:
    """Seconds since some moment, whatever the local clock is set to, and where possible also while suspended.

    The monotonic clock of Linux stops while the machine is suspended: carried on by it, the service's time would be
    behind by as long afterwards.
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
class _Sample:
    at: float  # as ``elapsed`` tells
    service: float  # seconds since 1970, by the service's clock
    error: float  # seconds by which `service` may be wrong at `at`
    forgotten: int  # how often times had been forgotten


class ServiceClock:
    """Estimates the service's time from the times that its answers carry.

    An answer was stamped somewhere between sending and receiving, so half of the round trip is the most by which the
    estimate can be wrong, and the quickest answer of late is the best one. Until the first answer the local clock
    serves. The estimate is carried on by ``elapsed``, so that setting the local clock does not move it.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._best: _Sample | None = None

    @property
    def known(self) -> bool:
        """Whether an answer has told the service's time."""
        return self._best is not None and self._best.forgotten == _Forgetting.count

    def now(self) -> float:
        """The service's time in seconds since 1970."""
        if self._best is None:
            return self._wall()
        return self._best.service + (self._monotonic() - self._best.at)

    def observe(self, stamp: str, *, sent: float, received: float) -> None:
        """Take in the ``keepstate-time`` of an answer. ``sent`` and ``received`` are as ``elapsed`` tells."""
        try:
            service = datetime.fromisoformat(stamp)
        except ValueError:
            return  # a proxy's, not the service's: no reason to fail a call that succeeded
        if service.utcoffset() is None:
            return
        sample = _Sample(
            at=(sent + received) / 2,
            service=service.timestamp(),
            error=(received - sent) / 2 + _RESOLUTION,
            forgotten=_Forgetting.count,
        )
        if self._best is None or not self.known or self._is_better(sample, self._best):
            self._best = sample

    @staticmethod
    def _is_better(sample: _Sample, best: _Sample) -> bool:
        elapsed = sample.at - best.at
        error = best.error + _DRIFT * abs(elapsed)
        # Two that cannot both be right: the service's clock was set, or another instance answers. The newer one counts.
        contradicts = abs(best.service + elapsed - sample.service) > error + sample.error
        return contradicts or sample.error <= error
