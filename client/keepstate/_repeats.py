"""Whether a call is sent again, when, and as which request. The one place that decides."""

from __future__ import annotations

__all__ = ["DEFAULT_RETRY", "Attempts", "Part", "Retry", "may_be_repeated"]

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from math import inf

from keepstate import errors
from keepstate.v1 import record_pb2

_SHARE = 2 / 3
"""The part of the time left that an attempt may take: much, since a slow store must be able to answer; not all, since a
reply may be lost."""

_LEAST = 1.0
"""Seconds. Where less would be left for another attempt, an attempt may take all."""

_JUDGED = frozenset(
    {"ETAG_MISMATCH", "TRANSACTION_CONFLICT", "RECORD_ALREADY_EXISTS", "RECORD_NOT_FOUND", "UPDATE_NOT_APPLICABLE"}
)
"""Reasons with which the service has judged a write. What a later version's say of earlier attempts is not known."""

_now = time.monotonic  # so that tests can move the time


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How calls are repeated, within their deadline, when the service is unavailable or an answer was lost.

    The pauses are drawn between nothing and a ceiling that doubles from ``initial`` to ``limit``, and come on top of
    what the service asks for.
    """

    initial: timedelta = timedelta(milliseconds=50)
    limit: timedelta = timedelta(seconds=1)

    def pause(self, attempt: int, retry_after: timedelta | None = None) -> float:
        """Seconds to wait after the attempt of this number, from 0 on."""
        ceiling = min(self.limit, self.initial * 2 ** min(attempt, 32)).total_seconds()
        jittered = random.uniform(0, ceiling)  # noqa: S311 (it keeps no secret)
        return jittered if retry_after is None else retry_after.total_seconds() + jittered


DEFAULT_RETRY = Retry()


class Attempts:
    """The attempts at one call: how long each may take, and whether and when there is another.

    Args:
        retry: None: there is one attempt.
        seconds: how long the call may take, from now on.
    """

    def __init__(self, retry: Retry | None, seconds: float) -> None:
        self._retry = retry
        self._deadline = _now() + seconds
        self._failed = 0

    @property
    def left(self) -> float:
        """Seconds until the call's time is up."""
        return self._deadline - _now()

    @property
    def seconds(self) -> float:
        """Seconds that an attempt may take that begins now."""
        left = self.left
        if self._retry is None or left * (1 - _SHARE) < _LEAST:
            return left
        return left * _SHARE

    def pause_after(self, failures: Iterable[errors.KeepstateError]) -> float | None:
        """Count an attempt that failed so, in one or more of its parts.

        Returns:
            Seconds to wait before what failed is sent again. None: it is not.
        """
        if self._retry is None:
            return None
        again = [each for each in failures if may_be_repeated(each)]
        asked = max((after for each in again if (after := _retry_after(each)) is not None), default=None)
        # One draw for all: of many the largest would always be near its ceiling.
        pause = self._retry.pause(self._failed, asked) if again else inf
        # With hardly any time an attempt would only make an unknown outcome of a known one.
        needed = _LEAST if any(isinstance(each, errors.DeadlineExceeded) for each in again) else 0.0
        self._failed += 1
        return pause if pause + needed < self.left else None


@dataclass(kw_only=True, eq=False)
class Part:
    """One operation on its way through the attempts: a call's only one, or one of a batch."""

    request: record_pb2.RequestId | None
    """What makes it repeatable, in the message that is sent. None: it reads."""

    in_doubt: bool = False
    """An attempt may have been applied, or may yet be, and no answer has told."""

    def failed(self, error: errors.KeepstateError) -> errors.KeepstateError:
        """Take in how an attempt failed, and return what the caller is told unless there is another."""
        if self.request is None or _is_final(error):
            return error
        if isinstance(error, errors.OutcomeUnknown):
            self.in_doubt = True
            return error
        return _unknown(error) if self.in_doubt else error


def may_be_repeated(error: errors.KeepstateError) -> bool:
    """Whether what failed so may succeed, or tell more, when it is sent again."""
    match error:
        case errors.Unavailable():
            return True
        case errors.OutcomeUnknown():
            return not error.for_good
        case errors.DeadlineExceeded():
            return True  # the attempt's time was up; whether the call's is, is judged by its deadline
        case errors.ResourceExhausted():
            # What had no room in an answer finds some when less is asked for, not later.
            return error.retry_after is not None and error.limit != "bytes in one answer"
    return False


def _is_final(error: errors.KeepstateError) -> bool:
    """Whether the service has judged the write, and so also all of its earlier attempts."""
    return error.reason in _JUDGED


def _unknown(error: errors.KeepstateError) -> errors.OutcomeUnknown:
    unknown = errors.OutcomeUnknown(
        f"an attempt may have been applied, and the last one failed: {error.message}",
        code=error.code,
        correlation_id=error.correlation_id,
    )
    unknown.__cause__ = error
    return unknown


def _retry_after(error: errors.KeepstateError) -> timedelta | None:
    if isinstance(error, errors.Unavailable | errors.ResourceExhausted):
        return error.retry_after
    return None
