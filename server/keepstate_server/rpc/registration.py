"""How a servicer's methods become a server's.

As the generated code does it, but for messages that cannot be parsed, which gRPC would answer by itself, as UNKNOWN and
with the protobuf library's text (promise 13); and for limits on the bytes that are under way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from keepstate_server.domain.errors import FieldViolation, InvalidFields, KeepstateError
from keepstate_server.rpc.admission import Admission, Held

__all__ = ["NotRead", "add_service"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_NOT_PARSED = FieldViolation(field="(message)", description="is not of this type, or holds text that is no UTF-8")


@dataclass(frozen=True, slots=True)
class NotRead:
    """Stands for a request that is not a message of its type, or that there was no room for."""

    error: KeepstateError
    """What is to be answered."""


class _Method(Protocol):
    def __call__(self, request: Message | NotRead, context: _Context, held: Held | None) -> Awaitable[Message]: ...


def add_service(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object, admission: Admission) -> None:
    """Has ``server`` answer the methods of ``service`` by those of ``servicer``, which may get a NotRead request."""
    methods = {
        f"/{service.full_name}/{method.name}": _Served(
            getattr(servicer, method.name), GetMessageClass(method.input_type), admission
        )
        for method in service.methods
    }
    server.add_generic_rpc_handlers((_Handlers(service.full_name, methods),))


class _Served:
    """One method."""

    def __init__(self, method: _Method, request: type[Message], admission: Admission) -> None:
        self._method = method
        self._parse = _parser(request)
        self._admission = admission

    def handler(self) -> "grpc.RpcMethodHandler[Any, Any]":
        """Returns what answers one call."""
        if self._admission.refuses_unread():
            # A stream of requests, which fits the one that there is, and which is never read.
            return grpc.stream_unary_rpc_method_handler(self._refuse)
        return grpc.unary_unary_rpc_method_handler(_Call(self._method, self._parse, self._admission).serve)

    async def _refuse(self, _requests: object, context: _Context) -> bytes:
        answer = await self._method(NotRead(self._admission.overloaded()), context, None)
        return answer.SerializeToString()


class _Handlers(grpc.ServiceRpcHandler):
    """Finds a method's handler, before its request is read."""

    def __init__(self, name: str, methods: dict[str, _Served]) -> None:
        self._name = name
        self._methods = methods

    def service_name(self) -> str:
        return self._name

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        served = self._methods.get(handler_call_details.method)
        return None if served is None else served.handler()


class _Call:
    """One call, from bytes to bytes, so that they are counted without being written once more.

    gRPC lets go of it when the call has ended, and with it of what it counts for.
    """

    __slots__ = ("_admission", "_held", "_method", "_parse")

    def __init__(self, method: _Method, parse: Callable[[bytes], Message | NotRead], admission: Admission) -> None:
        self._method = method
        self._parse = parse
        self._admission = admission
        self._held = admission.expected()

    async def serve(self, data: bytes, context: _Context) -> bytes:
        held = self._held
        self._admission.read(held, len(data))
        try:
            answer = (await self._method(self._parse(data), context, held)).SerializeToString()
        except BaseException as error:
            held.now(0)  # whoever holds the exception holds this frame, and by it what is held
            if isinstance(error, grpc.aio.AbortError):
                # gRPC keeps it with the call, which the frames of its traceback hold: they would stay, and the request
                # with them, until the collector comes by.
                error.__traceback__ = None
            raise
        held.now(len(answer))  # until it is sent
        return answer


def _parser(message: type[Message]) -> Callable[[bytes], Message | NotRead]:
    def parse(data: bytes) -> Message | NotRead:
        try:
            return message.FromString(data)
        except DecodeError:
            return NotRead(InvalidFields([_NOT_PARSED]))

    return parse
