"""A sidecar's gRPC port with a test in between, which counts state calls, stops at any of them, or loses replies.

What it does before or after a call it does in the order in which the calls come in, so that a test can name the moment:
the third call, once it has been carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import grpc

Act = Callable[[], Awaitable[object]]

_LIMITS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


class Lost(Exception):
    """Raised by what is done after a call: its answer never arrives."""


class SidecarProxy(grpc.GenericRpcHandler):
    """Hands every call on to the sidecar at `target`. Start and stop it on one event loop."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.calls: list[str] = []
        """The state calls that came in since `forget`, by the name of the method."""
        self.before: dict[int, Act] = {}
        """What is done before a call is handed on, by its number in `calls`, counted from 1."""
        self.after: dict[int, Act] = {}
        """What is done once the sidecar has answered a call, and before the caller is answered."""
        self.rewritten: dict[str, Callable[[bytes], bytes]] = {}
        """What is made of a request before it is handed on, by the name of the method."""
        self.address = ""
        """Host and port, once started."""
        self._cut = False

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._target, options=_LIMITS)
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *_LIMITS])
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)
        await self._channel.close()

    def forget(self) -> None:
        """Counts from 1 again, and forgets what was to be done."""
        self.calls.clear()
        self.before.clear()
        self.after.clear()

    async def cut(self) -> None:
        """Lets no state call through any more, nor an answer: to the sidecar it is as if the caller had died."""
        self._cut = True
        await asyncio.Event().wait()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Makes what handles one call."""
        name = details.method.rsplit("/", 1)[-1]
        metadata = [each for each in details.invocation_metadata if each[0].startswith("dapr-")]

        async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            number = self._count(name)
            if number and self._cut:
                await self.cut()
            if act := self.before.get(number):
                await act()
            answer, failure = b"", None
            request = self.rewritten.get(name, bytes)(request)
            try:
                call: Any = self._channel.unary_unary(details.method)
                answer = await call(request, timeout=context.time_remaining(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                failure = error
            try:
                if act := self.after.get(number):
                    await act()
            except Lost:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset by a test")
            if failure:
                await context.abort(failure.code(), failure.details() or "", tuple(failure.trailing_metadata()))
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)

    def _count(self, name: str) -> int:
        """Returns the number of a state call; 0: it is none."""
        if "State" not in name:
            return 0
        self.calls.append(name)
        return len(self.calls)
