"""What is gathered: attempts at operations, the batches that they go in, and the records that they are for."""

from __future__ import annotations

__all__ = ["DELETE", "GET", "PUT", "TOUCH", "UPDATE", "Attempt", "Batch", "Kind", "Method", "RecordQueue"]

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._channels import Channel
from keepstate._metadata import Sent
from keepstate._status import as_of_read
from keepstate.v1 import state_service_pb2 as pb

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")

Method: TypeAlias = Callable[[Channel], grpc.aio.UnaryUnaryMultiCallable[Req, Resp]]
"""Finds a method of the service on a channel: each attempt is made on the one that is then in use."""


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


class Attempt:
    """One caller's attempt at an operation."""

    __slots__ = ("answer", "batch", "deadline", "kind", "message", "metadata", "name", "record", "size")

    def __init__(self, kind: Kind[Any, Any], message: Any, metadata: Sent, deadline: float) -> None:
        self.kind = kind
        self.message = message
        self.metadata = metadata
        self.deadline = deadline  # as ``time.monotonic`` tells
        self.size: int = message.ByteSize()
        name = message.name
        # What tells its record from others. That the default store has two names may cost an order, no more: without
        # the store, a record would wait for its namesake in one that does not answer.
        self.name: tuple[str, str, str] = (name.store, name.namespace, name.key)
        self.answer: asyncio.Future[Any]
        self.record: RecordQueue | None = None  # where it is under way, or held back; None: it waits for others to join
        self.batch: Batch | None = None  # None: it was not sent

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


class Batch:
    """What goes to the service together."""

    __slots__ = ("attempts", "callers", "size", "task", "values")

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.callers = 0  # how many wait for it still
        self.size = 0
        self.values = 0  # how many answers have values
        self.task: asyncio.Task[None] | None = None

    def add(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.callers += 1
        self.size += attempt.size
        self.values += attempt.kind.brings_value


class RecordQueue:
    """What is under way on one record, and what is held back until that has ended."""

    __slots__ = ("batch", "held", "in_batch", "under_way", "writes")

    def __init__(self) -> None:
        self.held: list[Attempt] = []
        self.under_way = 0
        self.writes = 0  # of these
        self.batch: Batch | None = None  # with which the last one went
        self.in_batch = 0  # how many went with it

    def bars(self, attempt: Attempt, batch: Batch) -> bool:
        """Whether the attempt would overtake others if it went in this batch: writes, or any if it writes."""
        if self.held:
            return True
        others = self.under_way - (self.in_batch if self.batch is batch else 0)
        return others > 0 and (attempt.kind.writes or self.writes > 0)
