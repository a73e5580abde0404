"""What the network does to calls."""

from __future__ import annotations

from typing import Any, Literal

import grpc
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from keepstate.v1 import state_service_pb2 as pb


class Strict(BaseModel):
    """A part of a case: a name that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class Status(Strict):
    """A failure that the network answers with."""

    code: str
    message: str = "a fault of the suite"
    reason: str | None = None
    """None: no ErrorInfo."""
    domain: str = "keepstate"
    metadata: dict[str, str] = Field(default_factory=dict)
    retry_after_ms: int | None = None
    violations: dict[str, str] = Field(default_factory=dict)
    """Descriptions by field."""
    details: bytes | None = None
    """What stands in the place of the details, e.g. what cannot be parsed."""
    broken: bool = False
    """Whether each detail has its own type, but what cannot be parsed."""
    time: str | None = None
    """What is told as the service's time. None: the time; empty: nothing."""


class Fault(Strict):
    """What happens to one or more calls."""

    of: str | None = None
    """The method. None: any."""
    do: Literal["lose_request", "lose_answer", "hang", "cut", "hold", "delay", "status", "rewrite"]
    times: int = 1
    """How many calls it happens to, if there are so many."""
    reaches: bool = False
    """Whether the service gets a call that hangs, is cut or is answered with a status."""
    delay_ms: int = 0
    status: Status | None = None
    results: dict[int, Status] = Field(default_factory=dict)
    """Of a batch's answer: what stands in the places of some results."""
    answer: dict[str, Any] | None = None
    """Fields of the answer that are others, as protobuf's JSON says them. A list replaces the whole list."""
    unknown: bytes = b""
    """What is added at the end of the answer: fields of a later version."""
    time: str | None = None
    """What is told as the service's time in a rewritten answer; empty: nothing."""

    _met: int = PrivateAttr(default=0)

    @property
    def met(self) -> int:
        """How many calls it has happened to."""
        return self._met

    def meets(self) -> bool:
        """Whether it happens to the call that comes in now."""
        if self._met == self.times:
            return False
        self._met += 1
        return True


def details_of(status: Status) -> bytes | None:
    """The metadata `grpc-status-details-bin` of a failure. None: none."""
    if status.details is not None:
        return status.details
    packed = _packed(status)
    return packed.SerializeToString() if packed.details else None


def with_results(answer: bytes, results: dict[int, Status]) -> bytes:
    """A batch's answer with other results in some places."""
    response = pb.BatchResponse.FromString(answer)
    for number, status in results.items():
        response.results[number].CopyFrom(pb.BatchResult(error=_packed(status)))
    return response.SerializeToString()


def with_fields(kind: type[Message], answer: bytes, fields: dict[str, Any]) -> bytes:
    """An answer with other fields."""
    response = kind.FromString(answer)
    for name in fields:
        if response.DESCRIPTOR.fields_by_name[name].is_repeated:
            response.ClearField(name)
    json_format.ParseDict(fields, response)
    return response.SerializeToString()


def _packed(status: Status) -> status_pb2.Status:
    number: int = grpc.StatusCode[status.code].value[0]
    packed = status_pb2.Status(code=number, message=status.message)
    details: list[Message] = []
    if status.reason is not None:
        info = error_details_pb2.ErrorInfo(reason=status.reason, domain=status.domain, metadata=status.metadata)
        details.append(info)
    if status.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(status.retry_after_ms)
        details.append(retry)
    if status.violations:
        bad = error_details_pb2.BadRequest()
        for field, description in status.violations.items():
            bad.field_violations.add(field=field, description=description)
        details.append(bad)
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        if status.broken:
            wrapped.value = b"\xff\xff\xff"
        packed.details.append(wrapped)
    return packed
