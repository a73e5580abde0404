"""What happens to every call at the edge: its deadline, its correlation id, the service's time, and its errors."""

import functools
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, cast

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2

from keepstate_server.domain.errors import KeepstateError, Reason
from keepstate_server.domain.times import Clock, Instant
from keepstate_server.domain.values import frozen
from keepstate_server.engine.deadline import Deadline
from keepstate_server.rpc.admission import Admission, Held
from keepstate_server.rpc.registration import NotRead
from keepstate_server.rpc.requests import carries_repeat, changes_nothing
from keepstate_server.rpc.status import status_of

__all__ = ["Call", "Edge", "call"]

_log = structlog.get_logger(__name__)

_Context = grpc.aio.ServicerContext[Message, Message]
_In = TypeVar("_In", bound=Message)
_Out = TypeVar("_Out", bound=Message)

# Kept back from the caller's time, so that an answer that takes all of it still arrives: a part of it, at most this.
_REPLY_SECONDS = 0.3
_REPLY_PART = 0.1

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS = "grpc-status-details-bin"


@frozen
class Call:
    """One call under way."""

    now: Instant
    deadline: Deadline
    correlation_id: str
    resent: bool
    """gRPC sent it before: the caller's library repeats by itself."""
    maybe_resent: bool
    """That, or a sidecar handed it on: under a retry policy it sends again what it sent before, and nothing tells."""


class Edge:
    """What servicers have in common."""

    def __init__(self, admission: Admission, *, clock: Clock, default_seconds: float, longest_seconds: float) -> None:
        """A call without a deadline gets ``default_seconds``; none gets more than ``longest_seconds``."""
        self.admission = admission
        self._clock = clock
        self._default_seconds = default_seconds
        self._longest_seconds = longest_seconds
        self._told = (0, "")  # a second since the epoch, and its text

    def begin(self, context: _Context) -> Call:
        """Reads what the call carries besides its message."""
        metadata = dict(tuple(context.invocation_metadata() or ()))
        given = cast("float | None", context.time_remaining())  # the stubs know only float
        seconds = self._default_seconds if given is None else min(max(given, 0.0), self._longest_seconds)
        correlation_id = metadata.get("x-correlation-id") or secrets.token_hex(8)
        resent = str(metadata.get("grpc-previous-rpc-attempts", "0")) not in ("", "0")
        return Call(
            now=self._clock.now(),
            deadline=Deadline(seconds - min(_REPLY_SECONDS, seconds * _REPLY_PART)),
            correlation_id=str(correlation_id)[:64],
            resent=resent,
            maybe_resent=resent or "dapr-caller-app-id" in metadata,
        )

    def closing(self, begun: Call, status: status_pb2.Status | None = None) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the metadata that goes with the end of every answer."""
        common = (("keepstate-time", self._moment()), ("x-correlation-id", begun.correlation_id))
        return (*common, (_DETAILS, status.SerializeToString())) if status else common

    def _moment(self) -> str:
        """Returns the time as every answer tells it. Its text up to the second is made once a second."""
        seconds, milliseconds = divmod(self._clock.now(), 1000)
        second, text = self._told
        if second != seconds:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._told = (seconds, text)
        return f"{text}.{milliseconds:03}Z"


class _Servicer(Protocol):
    edge: Edge
    store_field: str
    """The request's field that names a store, if a missing one is that field's fault."""


def call(method: Callable[..., Awaitable[_Out]]) -> Callable[..., Awaitable[_Out]]:
    """Makes an RPC of a servicer's ``method(self, request, call)``; ``held`` are the bytes that the call counts for.

    No exception's text reaches a caller but that of a KeepstateError.
    """

    @functools.wraps(method)
    async def handler(self: _Servicer, request: _In | NotRead, context: _Context, held: Held | None = None) -> _Out:
        edge = self.edge
        began = time.monotonic()
        begun = edge.begin(context)
        structlog.contextvars.bind_contextvars(correlation_id=begun.correlation_id)  # each call is a task of its own
        error: KeepstateError
        try:
            message = _read(request)
            with edge.admission.admitted(held):
                answer = await method(self, message, begun)
            if edge.admission.is_over and changes_nothing(message):  # whoever changed something needs the answer
                edge.admission.refuse()
        except KeepstateError as failed:
            # Its traceback leads to frames that hold it: all of them, and the request, would stay until the collector
            # comes by.
            error = failed.with_traceback(None)
        except Exception:  # noqa: BLE001 - whatever it is, its text is not the caller's
            _log.exception("call failed", call=method.__name__)
            error = KeepstateError()
        else:
            context.set_trailing_metadata(edge.closing(begun))
            return answer
        status = status_of(
            error,
            store_field=self.store_field,
            correlation_id=begun.correlation_id,
            sent_before=begun.maybe_resent
            if isinstance(request, NotRead)
            else carries_repeat(request, begun.now, resent=begun.maybe_resent),
        )
        _log.log(
            _level(error),
            "call refused",
            call=method.__name__,
            reason=error.reason.value,
            seconds=round(time.monotonic() - began, 4),
        )
        try:
            await context.abort(_CODES[status.code], status.message, edge.closing(begun, status))
        finally:
            del error, request  # whatever else holds the error, or what it came of, may hold this frame
        raise AssertionError("abort raises")

    return handler


def _read(request: _In | NotRead) -> _In:
    if isinstance(request, NotRead):
        raise request.error
    return request


_DEBUG, _WARNING = 10, 30


def _level(error: KeepstateError) -> int:
    """Faults of the store or the service are worth a look; what a caller did or met is not."""
    serious = {Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN, Reason.OVERLOADED, Reason.INTERNAL}
    return _WARNING if error.reason in serious else _DEBUG
