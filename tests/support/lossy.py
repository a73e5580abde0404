"""A network that delivers requests and loses answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

_OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


class LossyNetwork(grpc.GenericRpcHandler):
    """Stands before one or more instances of the service, which it calls by turns.

    Of the calls of the StateService, counted from 1 on, it loses the answer where ``loses(number)`` says so and it is
    not a refusal: the caller hears that the connection broke.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self.loses: Callable[[int], bool] = lambda number: False
        self.lost = 0
        self.calls = 0
        self._channels = channels

    def service(self, handler_call_details: Any) -> Any:
        """Handles every method alike, bytes for bytes."""
        method = handler_call_details.method

        async def forward(request: bytes, context: Any) -> bytes:
            channel, loses = self._channels[0], False
            if method.startswith("/keepstate.v1.StateService/"):
                self.calls += 1
                channel = self._channels[self.calls % len(self._channels)]
                loses = self.loses(self.calls)
            stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            call = stub(request, timeout=context.time_remaining())
            code, details, trailers = await call.code(), await call.details(), await call.trailing_metadata()
            if code is not grpc.StatusCode.OK:
                await context.abort(code, details, tuple(trailers))
            if loses:
                self.lost += 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            context.set_trailing_metadata(tuple(trailers))
            return await call

        return grpc.unary_unary_rpc_method_handler(forward)


@asynccontextmanager
async def lossy_network(*targets: str) -> AsyncIterator[tuple[LossyNetwork, str]]:
    """Runs a network before the instances at ``targets``; yields it and its address."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(target, options=_OPTIONS)) for target in targets
        ]
        network = LossyNetwork(channels)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *_OPTIONS])
        server.add_generic_rpc_handlers((network,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, None)
        yield network, f"127.0.0.1:{port}"
