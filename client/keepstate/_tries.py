"""One try of a transaction: what it has read, what it is to write, and how it is committed."""

from __future__ import annotations

__all__ = ["Try"]

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import grpc

from keepstate import _messages as messages
from keepstate._connection import Connection
from keepstate._repeats import Attempts
from keepstate._snapshots import read_snapshot
from keepstate.errors import AlreadyExists, Conflict, KeepstateError, NotFound, TransactionConflict
from keepstate.records import RecordName
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb

_Write: TypeAlias = pb.PutRequest | pb.DeleteRequest | pb.UpdateRequest


class Try:
    """The records that one try has read and those that it is to write, by the names by which they were asked for.

    Args:
        time: what the transaction's time leaves.
    """

    def __init__(self, connection: Connection, time: Attempts) -> None:
        self._connection = connection
        self._time = time
        self._reads: dict[RecordName, record_pb2.Record | None] = {}
        self._writes: dict[RecordName, _Write] = {}
        self._over = False

    def is_of(self, connection: Connection) -> bool:
        """Whether it is sent by this connection."""
        return self._connection is connection

    async def read(self, request: pb.GetRequest) -> record_pb2.Record | None:
        """Read a record for the first time, or say again what was read; of one that was written, what was written.

        Raises:
            RuntimeError: it is to be changed by an update, or the transaction is over.
        """
        self._must_run()
        name = _name(request.name)
        if name in self._writes:
            return _written(self._writes[name])
        if name not in self._reads:
            found = await self._get(request)
            self._must_run()
            self._reads.setdefault(name, found)  # not what a read at the same time was told otherwise
        return self._reads[name]

    def write(self, message: _Write) -> None:
        """Note a write for the end.

        Raises:
            ValueError: it cannot be one write with what the transaction does to the record already.
            RuntimeError: the transaction is over.
        """
        self._must_run()
        name = _name(message.name)
        if (earlier := self._writes.get(name)) is not None:
            _follow(message, earlier)
        self._writes[name] = message

    def end(self) -> pb.TransactRequest:
        """Take no more reads and writes, and return all that there were as one message.

        Raises:
            AlreadyExists, Conflict, NotFound: what was read contradicts a condition of the caller's own.
        """
        self._over = True
        request = pb.TransactRequest()
        for name, found in self._reads.items():
            demand = record_pb2.Precondition(etag=found.etag) if found else record_pb2.Precondition(absent=True)
            if (write := self._writes.get(name)) is None:
                request.checks.add(name=messages.full_name(name), precondition=demand)
                continue
            _must_hold(name, write.precondition, found)
            write.precondition.CopyFrom(demand)
        for name, write in self._writes.items():
            match write:
                case pb.PutRequest():
                    request.puts.append(write)
                case pb.UpdateRequest():
                    request.updates.append(write)
                case pb.DeleteRequest() if write.precondition.absent:  # nothing to do, if that holds
                    request.checks.add(name=messages.full_name(name), precondition=write.precondition)
                case pb.DeleteRequest():
                    request.deletes.append(write)
        return request

    async def commit(self, request: pb.TransactRequest) -> None:
        """Have all of it applied, if everything that was read still holds.

        Raises:
            KeepstateError: nothing was changed, or ``OutcomeUnknown``.
        """
        if request.puts or request.deletes or request.updates:
            request.request.CopyFrom(self._connection.next_request())
            await self._connection.call(
                lambda channel: channel.state.Transact, request, timeout=self._left, writes=True
            )
        elif len(request.checks) > 1 or self._writes:  # one record that was only read was read as of one moment
            await self._verify(request.checks)

    def is_overtaken(self, error: KeepstateError) -> bool:
        """Whether a commit failed so because what was read holds no more, not for a condition of the caller's own."""
        if isinstance(error, TransactionConflict):
            return True
        if not isinstance(error, Conflict | AlreadyExists | NotFound) or error.name is None:
            return False
        name = error.name
        if name not in self._reads and name not in self._writes:
            name = replace(name, store="")  # the service fills in its default store
        return name in self._reads

    async def _verify(self, checks: Sequence[pb.Check]) -> None:
        """See that all checks hold at one moment."""
        found = await read_snapshot(self._connection, [check.name for check in checks], self._left)
        for check, record in zip(checks, found, strict=True):
            _must_hold(_name(check.name), check.precondition, record)

    async def _get(self, request: pb.GetRequest) -> record_pb2.Record | None:
        try:
            response = await self._connection.call(
                lambda channel: channel.state.Get, request, timeout=self._left, writes=False
            )
        except NotFound as error:
            if messages.is_missing(error):
                return None
            raise
        return response.record

    @property
    def _left(self) -> timedelta:
        return timedelta(seconds=max(self._time.left, 0))

    def _must_run(self) -> None:
        if self._over:
            raise RuntimeError("the transaction is over: read and write before its function returns")


def _name(message: record_pb2.RecordName) -> RecordName:
    return RecordName(store=message.store, namespace=message.namespace, key=message.key)


def _written(write: _Write) -> record_pb2.Record | None:
    """What a record is after a write of the transaction itself."""
    match write:
        case pb.PutRequest():
            return record_pb2.Record(name=write.name, value=write.value, content_type=write.content_type)
        case pb.DeleteRequest():
            return None
    raise RuntimeError(f"the transaction updates {write.name.key!r}: what that leaves is known only afterwards")


def _follow(write: _Write, earlier: _Write) -> None:
    """Make one write of two to the same record: the second one, on the conditions of the first."""
    key = write.name.key
    if pb.UpdateRequest in (type(write), type(earlier)):
        raise ValueError(f"the transaction writes {key!r} already: an update must be the only write to its record")
    if write.HasField("precondition"):
        raise ValueError(f"the transaction writes {key!r} already: the second write cannot have a condition")
    if earlier.HasField("precondition"):
        write.precondition.CopyFrom(earlier.precondition)
    if isinstance(write, pb.PutRequest) and write.keep_expiry:
        _keep_expiry(write, earlier)


def _keep_expiry(write: pb.PutRequest, earlier: _Write) -> None:
    """Give a write the expiry that an earlier one would have left."""
    write.ClearField("keep_expiry")
    if isinstance(earlier, pb.DeleteRequest):
        return
    match earlier.WhichOneof("expiry"):
        case "ttl":
            write.ttl.CopyFrom(earlier.ttl)
        case "expire_time":
            write.expire_time.CopyFrom(earlier.expire_time)
        case "keep_expiry":
            write.keep_expiry = True


def _must_hold(name: RecordName, demand: record_pb2.Precondition, found: record_pb2.Record | None) -> None:
    """Say of a condition what the service would say.

    Raises:
        AlreadyExists, Conflict, NotFound: it does not hold.
    """
    etag = found.etag if found else None
    match demand.WhichOneof("condition"):
        case "absent" if found:
            raise AlreadyExists("the record exists", code=grpc.StatusCode.ALREADY_EXISTS, name=name, etag=etag)
        case "exists" if not found:
            raise NotFound("there is no such record", code=grpc.StatusCode.NOT_FOUND, name=name)
        case "etag" if etag != demand.etag:
            words = "the record has another etag" if found else "the record is gone"
            raise Conflict(words, code=grpc.StatusCode.ABORTED, name=name, etag=etag)
