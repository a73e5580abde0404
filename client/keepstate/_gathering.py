"""Calls of one client that run at the same time go to the service together, in batches that no caller notices.

What is gathered are single attempts at operations: what is repeated, and until when, is decided for each caller by
itself, as without gathering.
"""

from __future__ import annotations

__all__ = ["Gathering"]

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._batches import answer_was_too_large, had_no_room
from keepstate._channels import MAX_MESSAGE_BYTES, Channel
from keepstate._gathered import Attempt, Batch, Kind, Method, RecordQueue
from keepstate._metadata import Sent
from keepstate._status import as_of_read, error_of_status
from keepstate.v1 import state_service_pb2 as pb

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")

MAX_OPERATIONS = 128
"""The most that go together."""

MAX_BYTES = 1024 * 1024
"""The most bytes of requests that go together."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The most that is asked for together, as far as can be told from the answers of before."""

LARGE = 64 * 1024
"""Bytes of a request that goes by itself: it gains nothing, and would keep others waiting."""

HOLD_SECONDS = 0.002
"""The longest that a call waits for others."""

_SHARE = 0.5
"""Of the calls under way: when so many more wait, they go. Fewer would make many small batches, each with its cost."""

_WORTH_TWO = 16
"""When so many or more wait, and nothing is under way, they go as two: so one is answered while the other is asked."""

_LIKENESS = 20
"""Calls go together whose time left differs by less than one part in so many: the service learns one deadline."""

_LATENESS = 0.002
"""Seconds by which a caller may be told late that its time is up: one look at all that wait is enough for many."""

_FADING = 0.9
"""How fast the size of an answer is forgotten, a batch."""


class Transmit(Protocol):
    """Calls the service once, and raises a KeepstateError where that fails."""

    async def __call__(
        self, method: Method[Any, Any], message: Message, seconds: float, metadata: Sent, *, writes: bool
    ) -> Any:
        """The answer."""
        ...


class Gathering:
    """Sends attempts at operations, those that come while others are under way in batches.

    What is written and read under one key keeps its order, until a caller has its answer or has gone.
    """

    def __init__(self, transmit: Transmit) -> None:
        self._transmit = transmit
        self._waiting: deque[Attempt] = deque()
        self._records: dict[tuple[str, str, str], RecordQueue] = {}
        self._under_way = 0
        self._batches: set[Batch] = set()  # with a task each
        self._looks = False  # whether `_look` is about to run
        self._hold: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._watched = math.inf  # when `_watch` looks whose time is up
        self._crowded = False  # whether the last ones to go were several
        self._answer_bytes = 0.0  # what an answer with a value has brought of late

    async def send(self, kind: Kind[Req, Resp], message: Req, seconds: float, metadata: Sent) -> Resp:
        """Make an attempt at an operation that may take so long.

        Raises:
            KeepstateError: it failed, in the words of a call of its own.
        """
        attempt = Attempt(kind, message, metadata, time.monotonic() + seconds)
        if not (self._crowded or self._under_way or self._waiting):
            alone: Resp = await self._alone(attempt, seconds)
            return alone
        loop = asyncio.get_running_loop()
        attempt.answer = loop.create_future()
        self._waiting.append(attempt)
        if not self._looks:
            self._look_soon(loop)
        if attempt.deadline < self._watched:
            self._watch_until(attempt.deadline, seconds, loop)
        try:
            answer: Resp = await attempt.answer
        finally:
            self._end(attempt)
        return answer

    def give_up(self, failure: errors.KeepstateError) -> None:
        """Answer with this failure whatever was not sent yet."""
        for attempt in self._unanswered():
            if attempt.batch is None:
                attempt.fail(failure)

    def _unanswered(self) -> list[Attempt]:
        """All that wait, whether they were sent or not, and perhaps some that wait no longer."""
        held = [attempt for record in self._records.values() for attempt in record.held]
        return [*self._waiting, *held, *(attempt for batch in self._batches for attempt in batch.attempts)]

    def _watch_until(self, deadline: float, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        # One timer for all: to set one for each would be a good part of what a gathered call costs.
        if self._watch is not None:
            self._watch.cancel()
        self._watched = deadline
        self._watch = loop.call_later(seconds, self._tell_whose_time_is_up, loop)

    def _tell_whose_time_is_up(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch, self._watched = None, math.inf
        now, earliest = time.monotonic(), math.inf
        for attempt in self._unanswered():
            if attempt.answer.done():
                continue
            if attempt.deadline <= now:
                attempt.time_is_up()
            else:
                earliest = min(earliest, attempt.deadline)
        if earliest < math.inf:
            self._watch_until(earliest, max(earliest - now, _LATENESS), loop)

    async def _alone(self, attempt: Attempt, seconds: float) -> Any:
        """Send an attempt at once, in the caller's own task."""
        kind = attempt.kind
        self._enter(attempt, self._records.setdefault(attempt.name, RecordQueue()), Batch())
        try:
            answer = await self._transmit(kind.method, attempt.message, seconds, attempt.metadata, writes=kind.writes)
        finally:
            self._end(attempt)
        self._note_size(answer, kind.brings_value)
        return answer

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: others that run in this round of the loop may come too.
        self._looks = True
        loop.call_soon(self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have go what waits, or let it wait for more."""
        self._looks = False
        if not self._waiting:
            return
        if len(self._waiting) >= min(_SHARE * self._under_way, MAX_OPERATIONS):
            self._go()
        elif self._hold is None:
            self._hold = loop.call_later(HOLD_SECONDS, self._go)

    def _go(self) -> None:
        """Send what waits, but for what must wait for others on its record."""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        batches = self._formed()
        self._crowded = len(batches) > 1 or any(len(batch.attempts) > 1 for batch in batches)
        for batch in batches:
            self._start(batch)

    def _formed(self) -> list[Batch]:
        """Batches of what waits."""
        waiting, self._waiting = self._waiting, deque()
        now = time.monotonic()
        full = MAX_OPERATIONS
        if not self._under_way and len(waiting) >= _WORTH_TWO:
            full = min(full, math.ceil(len(waiting) / 2))
        formed: list[Batch] = []
        # Each caller's deadline and metadata are to reach the service; and none is to wait for another's store.
        last: dict[tuple[int, Sent, str], Batch] = {}
        for attempt in waiting:
            if attempt.answer.done():
                continue
            record = self._records.get(attempt.name)
            if record is None:
                record = self._records[attempt.name] = RecordQueue()
            like_time = int(math.log(max(attempt.deadline - now, 0.001)) * _LIKENESS)
            alike = (like_time, attempt.metadata, attempt.name[0])
            batch = None if attempt.size >= LARGE else last.get(alike)
            # What is on one record is best sent together.
            most = full if batch is None or record.batch is not batch else MAX_OPERATIONS
            if batch is None or not self._has_room(batch, attempt, most):
                batch = Batch()
                formed.append(batch)
                if attempt.size < LARGE:
                    last[alike] = batch
            if record.bars(attempt, batch):
                record.held.append(attempt)
                attempt.record = record
            else:
                self._enter(attempt, record, batch)
        return [batch for batch in formed if batch.attempts]

    def _has_room(self, batch: Batch, attempt: Attempt, most: int) -> bool:
        if not batch.attempts:
            return True
        size = batch.size + attempt.size
        answer = (batch.values + attempt.kind.brings_value) * self._answer_bytes
        return len(batch.attempts) < most and size <= MAX_BYTES and answer <= MAX_ANSWER_BYTES

    def _enter(self, attempt: Attempt, record: RecordQueue, batch: Batch) -> None:
        attempt.record, attempt.batch = record, batch
        batch.add(attempt)
        if record.batch is not batch:
            record.batch, record.in_batch = batch, 0
        record.in_batch += 1
        record.under_way += 1
        record.writes += attempt.kind.writes
        self._under_way += 1

    def _end(self, attempt: Attempt) -> None:
        """The caller has its answer, or waits no longer."""
        record, batch = attempt.record, attempt.batch
        if record is None:
            return
        if batch is None:
            record.held.remove(attempt)
            return
        self._under_way -= 1
        batch.callers -= 1
        if not batch.callers and batch.task is not None:
            batch.task.cancel()
        record.under_way -= 1
        record.writes -= attempt.kind.writes
        if not record.under_way:
            del self._records[attempt.name]
            if record.held:
                for held in record.held:
                    held.record = None
                self._waiting.extendleft(reversed(record.held))
        if self._waiting and not self._looks:
            self._look_soon(asyncio.get_running_loop())

    def _start(self, batch: Batch) -> None:
        self._batches.add(batch)
        batch.task = asyncio.get_running_loop().create_task(self._carry(batch))

    async def _carry(self, batch: Batch) -> None:
        """Send a batch, and give each caller its answer."""
        try:
            await (self._perform_one(*batch.attempts) if len(batch.attempts) == 1 else self._perform(batch))
        except asyncio.CancelledError:
            for attempt in batch.attempts:
                attempt.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised where the callers wait
            self._fail(batch, error)
        finally:
            batch.task = None
            self._batches.discard(batch)

    async def _perform_one(self, attempt: Attempt) -> None:
        kind, seconds = attempt.kind, attempt.deadline - time.monotonic()
        answer = await self._transmit(kind.method, attempt.message, seconds, attempt.metadata, writes=kind.writes)
        self._note_size(answer, kind.brings_value)
        attempt.succeed(answer)

    async def _perform(self, batch: Batch) -> None:
        attempts = batch.attempts
        seconds = max(attempt.deadline for attempt in attempts) - time.monotonic()
        writes = any(attempt.kind.writes for attempt in attempts)
        request = pb.BatchRequest()
        for attempt in attempts:
            getattr(request.operations.add(), attempt.kind.name).CopyFrom(attempt.message)
        response = await self._transmit(_BATCH, request, seconds, attempts[0].metadata, writes=writes)
        given, asked = len(response.results), len(attempts)
        if given != asked:
            kind = errors.OutcomeUnknown if writes else errors.Internal
            raise kind(f"the service gave {given} results for {asked} operations")
        self._note_size(response, batch.values)
        self._answer(attempts, response.results)

    def _fail(self, batch: Batch, error: Exception) -> None:
        """Give all callers a failure of the whole call."""
        too_large = isinstance(error, errors.KeepstateError) and answer_was_too_large(as_of_read(error))
        if too_large and batch.values:
            self._answer_bytes = MAX_MESSAGE_BYTES / batch.values
        for attempt in batch.attempts:
            if too_large and not attempt.kind.writes and len(batch.attempts) > 1:
                self._send_again(attempt)
            else:
                attempt.fail(error)

    def _answer(self, attempts: Sequence[Attempt], results: Sequence[pb.BatchResult]) -> None:
        for index, (attempt, result) in enumerate(zip(attempts, results, strict=True)):
            match result.WhichOneof("result"):
                case attempt.kind.name as name:
                    attempt.succeed(getattr(result, name))
                case "error":
                    error = error_of_status(result.error, writes=attempt.kind.writes)
                    if had_no_room(error):
                        self._send_again(attempt)
                    else:
                        attempt.fail(_unprefixed(error, f"operations[{index}].{attempt.kind.name}."))
                case _:
                    words = "the service answered an operation with a result of another kind"
                    attempt.fail((errors.OutcomeUnknown if attempt.kind.writes else errors.Internal)(words))

    def _send_again(self, attempt: Attempt) -> None:
        """Ask by itself for what had no room in a common answer."""
        if attempt.answer.done():
            return
        assert attempt.batch is not None
        attempt.batch.callers -= 1
        attempt.batch = Batch()
        attempt.batch.add(attempt)
        self._start(attempt.batch)

    def _note_size(self, answer: Message, values: int) -> None:
        """Learn how much is brought when something is read."""
        if values:
            self._answer_bytes = max(answer.ByteSize() / values, self._answer_bytes * _FADING)


def _BATCH(channel: Channel) -> grpc.aio.UnaryUnaryMultiCallable[pb.BatchRequest, pb.BatchResponse]:  # noqa: N802
    return channel.state.Batch


def _unprefixed(error: errors.KeepstateError, prefix: str) -> errors.KeepstateError:
    """The error with its fields named as in a call of its own."""
    error.message = error.message.replace(prefix, "")
    if isinstance(error, errors.InvalidArgument):
        error.violations = tuple(
            errors.FieldViolation(field=each.field.removeprefix(prefix), description=each.description)
            for each in error.violations
        )
    return error
