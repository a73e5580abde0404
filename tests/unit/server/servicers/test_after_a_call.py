"""What a call counts for, and the request that it holds, are gone when it has ended, however that was.

Over the wire, for gRPC has a part in it, and with the garbage collector switched off.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import grpc
import pytest

from keepstate.v1 import state_service_pb2
from keepstate_server.rpc.admission import Held
from keepstate_server.rpc.registration import add_service

from .conftest import Service, put

PUT = "/keepstate.v1.StateService/Put"
CHANGED = put("k")
CHANGED.precondition.etag = "A" * 22


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (put("k").SerializeToString(), grpc.StatusCode.OK),
        (CHANGED.SerializeToString(), grpc.StatusCode.ABORTED),
        (put("").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        (b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (put("k", store="nowhere").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["answered", "changed", "wrong", "no message", "no store"],
)
@pytest.mark.usefixtures("uncollected")
async def test_nothing_is_left_of_a_call(service: Service, data: bytes, code: grpc.StatusCode) -> None:
    server = grpc.aio.server()
    add_service(
        server, state_service_pb2.DESCRIPTOR.services_by_name["StateService"], service.state, service.edge.admission
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await answered(channel, data) is code
    await server.stop(5)
    assert service.edge.admission.bytes == 0
    assert not [each for each in gc.get_objects() if isinstance(each, Held)]


async def answered(channel: grpc.aio.Channel, data: bytes) -> grpc.StatusCode:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PUT)
    return await call(data).code()
