"""Calls of one client that run at the same time go to the service together, in batches that no caller notices.

What is gathered are single attempts at operations: what is repeated, and until when, is decided for each caller by
itself, as without gathering.
"""

from __future__ import annotations

__all__ = ["DELETE", "GET", "PUT", "TOUCH", "UPDATE", "Gathering", "Kind", "Method"]

import asyncio
import copy
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._batches import answer_was_too_large, had_no_room
from keepstate._channels import MAX_MESSAGE_BYTES, Channel
from keepstate._metadata import Sent
from keepstate._status import as_of_read, error_of_status
from keepstate.v1 import state_service_pb2 as pb

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")

Method: TypeAlias = Callable[[Channel], grpc.aio.UnaryUnaryMultiCallable[Req, Resp]]
"""Finds a method of the service on a channel: each attempt is made on the one that is then in use."""

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

_FADING = 0.9
"""How fast the size of an answer is forgotten, a batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind(Generic[Req, Resp]):
    """One of the operations that a batch may carry."""

    name: str
    """Of its field in a batch."""

    method: Method[Req, Resp]
    """The call that does the same."""

    writes: bool = True

    brings_value: bool = False
    """Whether its answer has the record's value."""


GET = Kind[pb.GetRequest, pb.GetResponse](
    name="get", method=lambda channel: channel.state.Get, writes=False, brings_value=True
)
PUT = Kind[pb.PutRequest, pb.PutResponse](name="put", method=lambda channel: channel.state.Put)
DELETE = Kind[pb.DeleteRequest, pb.DeleteResponse](name="delete", method=lambda channel: channel.state.Delete)
TOUCH = Kind[pb.TouchRequest, pb.TouchResponse](name="touch", method=lambda channel: channel.state.Touch)
UPDATE = Kind[pb.UpdateRequest, pb.UpdateResponse](
    name="update", method=lambda channel: channel.state.Update, brings_value=True
)


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
        self._waiting: deque[_Attempt] = deque()
        self._records: dict[tuple[str, str], _Record] = {}
        self._under_way = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._looks = False  # whether `_look` is about to run
        self._hold: asyncio.TimerHandle | None = None
        self._crowded = False  # whether the last ones to go were several
        self._answer_bytes = 0.0  # what an answer with a value has brought of late

    async def send(self, kind: Kind[Req, Resp], message: Req, seconds: float, metadata: Sent) -> Resp:
        """Make an attempt at an operation that may take so long.

        Raises:
            KeepstateError: it failed, in the words of a call of its own.
        """
        attempt = _Attempt(kind, message, metadata, time.monotonic() + seconds)
        if not (self._crowded or self._under_way or self._waiting):
            alone: Resp = await self._alone(attempt, seconds)
            return alone
        loop = asyncio.get_running_loop()
        attempt.answer = loop.create_future()
        self._waiting.append(attempt)
        self._look_soon(loop)
        timer = loop.call_later(seconds, attempt.time_is_up)
        try:
            answer: Resp = await attempt.answer
        finally:
            timer.cancel()
            self._end(attempt)
        return answer

    def give_up(self, failure: errors.KeepstateError) -> None:
        """Answer with this failure whatever was not sent yet."""
        for attempt in [*self._waiting, *(held for record in self._records.values() for held in record.held)]:
            attempt.fail(failure)

    async def _alone(self, attempt: _Attempt, seconds: float) -> Any:
        """Send an attempt at once, in the caller's own task."""
        kind = attempt.kind
        self._enter(attempt, self._records.setdefault(attempt.record, _Record()), _Batch())
        try:
            answer = await self._transmit(kind.method, attempt.message, seconds, attempt.metadata, writes=kind.writes)
        finally:
            self._end(attempt)
        self._note_size(answer, kind.brings_value)
        return answer

    def _look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: others that run in this round of the loop may come too.
        if not self._looks:
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

    def _formed(self) -> list[_Batch]:
        """Batches of what waits."""
        waiting, self._waiting = self._waiting, deque()
        now = time.monotonic()
        full = MAX_OPERATIONS
        if not self._under_way and len(waiting) >= _WORTH_TWO:
            full = min(full, math.ceil(len(waiting) / 2))
        formed: list[_Batch] = []
        # Each caller's deadline and metadata are to reach the service.
        last: dict[tuple[int, Sent], _Batch] = {}
        for attempt in waiting:
            if attempt.answer.done():
                continue
            record = self._records.get(attempt.record)
            if record is None:
                record = self._records[attempt.record] = _Record()
            alike = (int(math.log(max(attempt.deadline - now, 0.001)) * _LIKENESS), attempt.metadata)
            batch = None if attempt.size >= LARGE else last.get(alike)
            # What is on one record is best sent together.
            most = full if batch is None or record.batch is not batch else MAX_OPERATIONS
            if batch is None or not self._has_room(batch, attempt, most):
                batch = _Batch()
                formed.append(batch)
                if attempt.size < LARGE:
                    last[alike] = batch
            if record.bars(attempt, batch):
                record.held.append(attempt)
                attempt.held = record
            else:
                self._enter(attempt, record, batch)
        return [batch for batch in formed if batch.attempts]

    def _has_room(self, batch: _Batch, attempt: _Attempt, most: int) -> bool:
        if not batch.attempts:
            return True
        size = batch.size + attempt.size
        answer = (batch.values + attempt.kind.brings_value) * self._answer_bytes
        return len(batch.attempts) < most and size <= MAX_BYTES and answer <= MAX_ANSWER_BYTES

    def _enter(self, attempt: _Attempt, record: _Record, batch: _Batch) -> None:
        attempt.batch = batch
        batch.add(attempt)
        record.enter(attempt, batch)
        self._under_way += 1

    def _end(self, attempt: _Attempt) -> None:
        """The caller has its answer, or waits no longer."""
        batch = attempt.batch
        if batch is None:
            if attempt.held is not None:
                attempt.held.held.remove(attempt)
            return
        self._under_way -= 1
        batch.callers -= 1
        if not batch.callers and batch.task is not None:
            batch.task.cancel()
        record = self._records[attempt.record]
        record.leave(attempt)
        if not record.under_way:
            del self._records[attempt.record]
            for held in record.held:
                held.held = None
            self._waiting.extendleft(reversed(record.held))
        if self._waiting:
            self._look_soon(asyncio.get_running_loop())

    def _start(self, batch: _Batch) -> None:
        batch.task = task = asyncio.get_running_loop().create_task(self._carry(batch))
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _carry(self, batch: _Batch) -> None:
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

    async def _perform_one(self, attempt: _Attempt) -> None:
        kind, seconds = attempt.kind, attempt.deadline - time.monotonic()
        answer = await self._transmit(kind.method, attempt.message, seconds, attempt.metadata, writes=kind.writes)
        self._note_size(answer, kind.brings_value)
        attempt.succeed(answer)

    async def _perform(self, batch: _Batch) -> None:
        attempts = batch.attempts
        seconds = max(attempt.deadline for attempt in attempts) - time.monotonic()
        writes = any(attempt.kind.writes for attempt in attempts)
        request = pb.BatchRequest(operations=[attempt.operation for attempt in attempts])
        response = await self._transmit(_BATCH, request, seconds, attempts[0].metadata, writes=writes)
        given, asked = len(response.results), len(attempts)
        if given != asked:
            kind = errors.OutcomeUnknown if writes else errors.Internal
            raise kind(f"the service gave {given} results for {asked} operations")
        self._note_size(response, batch.values)
        self._answer(attempts, response.results)

    def _fail(self, batch: _Batch, error: Exception) -> None:
        """Give all callers a failure of the whole call."""
        too_large = isinstance(error, errors.KeepstateError) and answer_was_too_large(as_of_read(error))
        if too_large and batch.values:
            self._answer_bytes = MAX_MESSAGE_BYTES / batch.values
        for attempt in batch.attempts:
            if too_large and not attempt.kind.writes and len(batch.attempts) > 1:
                self._send_again(attempt)
            else:
                attempt.fail(error)

    def _answer(self, attempts: Sequence[_Attempt], results: Sequence[pb.BatchResult]) -> None:
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

    def _send_again(self, attempt: _Attempt) -> None:
        """Ask by itself for what had no room in a common answer."""
        if attempt.answer.done():
            return
        assert attempt.batch is not None
        attempt.batch.callers -= 1
        attempt.batch = _Batch()
        attempt.batch.add(attempt)
        self._start(attempt.batch)

    def _note_size(self, answer: Message, values: int) -> None:
        """Learn how much is brought when something is read."""
        if values:
            self._answer_bytes = max(answer.ByteSize() / values, self._answer_bytes * _FADING)


def _BATCH(channel: Channel) -> grpc.aio.UnaryUnaryMultiCallable[pb.BatchRequest, pb.BatchResponse]:  # noqa: N802
    return channel.state.Batch


class _Attempt:
    """One caller's attempt at an operation."""

    __slots__ = ("answer", "batch", "deadline", "held", "kind", "message", "metadata", "record", "size")

    def __init__(self, kind: Kind[Any, Any], message: Any, metadata: Sent, deadline: float) -> None:
        self.kind = kind
        self.message = message
        self.metadata = metadata
        self.deadline = deadline  # as ``time.monotonic`` tells
        self.size: int = message.ByteSize()
        # What tells its record from others. Without the store: the default one has two names.
        self.record: tuple[str, str] = (message.name.namespace, message.name.key)
        self.answer: asyncio.Future[Any]
        self.batch: _Batch | None = None  # None: it waits
        self.held: _Record | None = None  # for whose other calls it waits

    @property
    def operation(self) -> pb.BatchOperation:
        return pb.BatchOperation(**{self.kind.name: self.message})

    def succeed(self, answer: object) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Fail with this error."""
        if self.answer.done():
            return
        if isinstance(error, errors.KeepstateError):
            own = copy.copy(error)  # others may raise it too
            own.__cause__ = error.__cause__
            error = own if self.kind.writes else as_of_read(own)
        self.answer.set_exception(error)

    def time_is_up(self) -> None:
        """Fail as a call of its own would."""
        words, code = "Deadline Exceeded", grpc.StatusCode.DEADLINE_EXCEEDED
        if self.batch is None:
            self.fail(errors.DeadlineExceeded("time was up before the call was sent", code=code, nothing_sent=True))
        elif self.kind.writes:
            self.fail(errors.OutcomeUnknown(words, code=code))
        else:
            self.fail(errors.DeadlineExceeded(words, code=code))


class _Batch:
    """What goes to the service together."""

    __slots__ = ("attempts", "callers", "size", "task", "values")

    def __init__(self) -> None:
        self.attempts: list[_Attempt] = []
        self.callers = 0  # how many wait for it still
        self.size = 0
        self.values = 0  # how many answers have values
        self.task: asyncio.Task[None] | None = None

    def add(self, attempt: _Attempt) -> None:
        self.attempts.append(attempt)
        self.callers += 1
        self.size += attempt.size
        self.values += attempt.kind.brings_value


class _Record:
    """What is under way on one record, and what is held back until that has ended."""

    __slots__ = ("batch", "held", "in_batch", "under_way", "writes")

    def __init__(self) -> None:
        self.held: deque[_Attempt] = deque()
        self.under_way = 0
        self.writes = 0  # of these
        self.batch: _Batch | None = None  # with which the last one went
        self.in_batch = 0  # how many went with it

    def bars(self, attempt: _Attempt, batch: _Batch) -> bool:
        """Whether the attempt would overtake others if it went in this batch: writes, or any if it writes."""
        if self.held:
            return True
        others = self.under_way - (self.in_batch if self.batch is batch else 0)
        return others > 0 and (attempt.kind.writes or self.writes > 0)

    def enter(self, attempt: _Attempt, batch: _Batch) -> None:
        if self.batch is not batch:
            self.batch, self.in_batch = batch, 0
        self.in_batch += 1
        self.under_way += 1
        self.writes += attempt.kind.writes

    def leave(self, attempt: _Attempt) -> None:
        self.under_way -= 1
        self.writes -= attempt.kind.writes


def _unprefixed(error: errors.KeepstateError, prefix: str) -> errors.KeepstateError:
    """The error with its fields named as in a call of its own."""
    error.message = error.message.replace(prefix, "")
    if isinstance(error, errors.InvalidArgument):
        error.violations = tuple(
            errors.FieldViolation(field=each.field.removeprefix(prefix), description=each.description)
            for each in error.violations
        )
    return error
