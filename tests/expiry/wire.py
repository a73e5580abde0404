"""What the simulation's histories ask, as messages to a real service, and its answers as the engine's results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from google.rpc import status_pb2

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.domain.errors import (
    DeadlineExceeded,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreUnavailable,
    UpdateNotApplicable,
)
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Deleted, Found, Increment, Touched, Updated, Written
from keepstate_server.domain.records import Demand, Record, etag_of, version_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from tests.contract.api import Refused
from tests.simulation.clocks import START
from tests.simulation.history import Kind, Spec

__all__ = ["Era", "error_of", "operation_of"]

_M = TypeVar("_M", pb.PutRequest, pb.UpdateRequest)

_REFUSALS: Mapping[str, Callable[[RecordName, str], KeepstateError]] = {
    "ETAG_MISMATCH": RecordChanged,
    "RECORD_ALREADY_EXISTS": RecordExists,
    "RECORD_NOT_FOUND": RecordMissing,
    "UPDATE_NOT_APPLICABLE": UpdateNotApplicable,
}


def operation_of(spec: Spec) -> pb.BatchOperation:
    """Returns the message that asks for ``spec``."""
    name = record_pb2.RecordName(store=spec.name.store, key=spec.name.key)
    demand = _demand(spec)
    match spec.kind:
        case Kind.GET:
            return pb.BatchOperation(get=pb.GetRequest(name=name))
        case Kind.SLIDE:
            get = pb.GetRequest(name=name)
            get.slide_ttl.FromMilliseconds(spec.ttl or 0)
            return pb.BatchOperation(get=get)
        case Kind.DELETE:
            return pb.BatchOperation(delete=pb.DeleteRequest(name=name, precondition=demand))
        case Kind.TOUCH:
            touch = pb.TouchRequest(name=name, precondition=demand)
            if spec.ttl is not None:
                touch.ttl.FromMilliseconds(spec.ttl)
            return pb.BatchOperation(touch=touch)
        case Kind.PUT:
            return pb.BatchOperation(
                put=_expiring(pb.PutRequest(name=name, value=spec.value, precondition=demand), spec)
            )
        case Kind.INCREMENT:
            assert isinstance(spec.change, Increment)
            change = pb.Increment(delta=spec.change.delta)
            update = pb.UpdateRequest(name=name, precondition=demand, increment=change)
            return pb.BatchOperation(update=_expiring(update, spec))
        case other:
            raise NotImplementedError(other)


def _expiring(message: _M, spec: Spec) -> _M:
    if spec.ttl is not None:
        message.ttl.FromMilliseconds(spec.ttl)
    elif spec.keep:
        message.keep_expiry = True
    return message


def _demand(spec: Spec) -> record_pb2.Precondition | None:
    match spec.precondition:
        case None:
            return None
        case bytes(version):
            return record_pb2.Precondition(etag=etag_of(version))
        case Demand.ABSENT:
            return record_pb2.Precondition(absent=True)
        case Demand.EXISTS:
            return record_pb2.Precondition(exists=True)


def error_of(status: status_pb2.Status, name: RecordName) -> KeepstateError:
    """Returns the error that a status tells of."""
    refused = Refused.of(status)
    if refusal := _REFUSALS.get(refused.reason):
        return refusal(name, refused.metadata.get("etag", ""))
    match refused.reason:
        case "STORE_UNAVAILABLE":
            return StoreUnavailable(name.store)
        case "OUTCOME_UNKNOWN":
            return OutcomeUnknown()
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded()
        case "OVERLOADED":
            return Overloaded(refused.message)
        case _:
            raise refused


@dataclass(frozen=True, kw_only=True)
class Era:
    """When a run began: the checker reckons from a moment of its own on."""

    began: int
    """Milliseconds since the epoch."""

    def moment(self, milliseconds: int) -> Instant:
        """Returns what the checker calls that moment since the epoch."""
        return Instant(milliseconds - self.began + START)

    def second(self, milliseconds: float) -> float:
        """Returns that moment since the epoch in seconds since the beginning."""
        return (milliseconds - self.began) / 1000

    def result(self, answer: pb.BatchResult, name: RecordName) -> Result:
        """Returns what ``answer`` says of the record of that name."""
        match answer.WhichOneof("result"):
            case "get":
                return Found(record=self._record(answer.get.record))
            case "put":
                return Written(version=version_of(answer.put.etag))
            case "delete":
                return Deleted(existed=answer.delete.existed)
            case "touch":
                touch = answer.touch
                return Touched(version=version_of(touch.etag), expire_at=self._expiry(touch))
            case "update":
                return Updated(record=self._record(answer.update.record))
            case _:
                return error_of(answer.error, name)

    def _record(self, record: record_pb2.Record) -> Record:
        return Record(
            value=record.value,
            content_type=record.content_type,
            version=version_of(record.etag),
            create_time=self.moment(record.create_time.ToMilliseconds()),
            update_time=self.moment(record.update_time.ToMilliseconds()),
            expire_time=self._expiry(record),
        )

    def _expiry(self, message: record_pb2.Record | pb.TouchResponse) -> Instant | None:
        return self.moment(message.expire_time.ToMilliseconds()) if message.HasField("expire_time") else None
