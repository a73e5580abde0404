"""How a servicer's methods become a server's.

As the generated code does it, but for messages that cannot be parsed: gRPC would answer those by itself, as UNKNOWN and
with the protobuf library's text (promise 13).
"""

from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

__all__ = ["Malformed", "add_service"]


@dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a request that is not a message of its type."""


def add_service(server: grpc.aio.Server, service: ServiceDescriptor, servicer: object) -> None:
    """Has ``server`` answer the methods of ``service`` by those of ``servicer``, which may get a Malformed request."""
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=_parser(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
        for method in service.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _parser(message: type[Message]) -> Callable[[bytes], Message | Malformed]:
    def parse(data: bytes) -> Message | Malformed:
        try:
            return message.FromString(data)
        except DecodeError:
            return Malformed()

    return parse
