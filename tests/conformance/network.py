"""The network between a client and the service: it sees every call, and does to it what a case says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.message import Message

from keepstate._connection import request_of
from keepstate.v1 import record_pb2, state_service_pb2, store_service_pb2
from tests.conformance.faults import Fault, details_of, with_fields, with_results

# It may send more than any service would.
_LIMITS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", -1)]
_TIME_KEY = "keepstate-time"
_WHATEVER_COMES_SECONDS = 20

_METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in (state_service_pb2, store_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(kw_only=True)
class Seen:
    """A call as it came in."""

    method: str
    """Its name, e.g. "Put"."""
    message: Message
    requests: list[record_pb2.RequestId]
    """As the client sent them: one of a write, several of a batch."""
    metadata: Mapping[str, str]
    deadline_ms: float | None
    """How long the client waits."""
    pause_ms: float | None
    """How long after the end of the call before it came in."""
    told_ms: float
    """The service's time then, as clients are told it, in milliseconds since 1970."""
    ended: float | None = None
    cancelled: bool = False
    """Whether the client gave it up, by itself or because its time was up."""


@dataclass(kw_only=True)
class Wire:
    """What all ways to the service of one case have in common."""

    now: Callable[[], datetime]
    """The service's time."""
    shift: timedelta = timedelta(0)
    """By how much the service's time is another than it is, as clients are told it."""
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where calls that are held go on."""

    def told(self) -> datetime:
        """The service's time as clients are told it."""
        return self.now() + self.shift

    def fault_for(self, method: str) -> Fault | None:
        """The first fault that is meant for the next call of this method."""
        for fault in self.faults:
            if fault.of in (method, None) and fault.meets():
                return fault
        return None

    async def notify(self) -> None:
        """Have those look again who wait for what is seen."""
        async with self.changed:
            self.changed.notify_all()


class Network(grpc.GenericRpcHandler):
    """One way to one or more instances of the service, which are called by turns."""

    def __init__(self, wire: Wire, channels: Sequence[grpc.aio.Channel]) -> None:
        self._wire = wire
        self._channels = channels
        self._calls = 0
        self.relay = Relay()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Makes what handles one call."""
        method = details.method

        async def handle(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            seen = self._saw(method, request, context)
            await self._wire.notify()
            try:
                return await self._handle(method, seen, context)
            except asyncio.CancelledError:
                seen.cancelled = True
                raise
            finally:
                seen.ended = time.monotonic()
                await asyncio.shield(self._wire.notify())

        return grpc.unary_unary_rpc_method_handler(handle) if method in _METHODS else None

    async def _handle(self, method: str, seen: Seen, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        fault = self._wire.fault_for(seen.method)
        if fault is None:
            return await self._forward(method, seen, context)
        if fault.do == "hold":
            await self._wire.released.wait()
        if fault.do == "delay":
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault.do in ("hold", "delay", "rewrite"):
            return await self._forward(method, seen, context, fault)
        if fault.reaches or fault.do == "lose_answer":
            await self._reach_whatever_comes(method, seen)
        if fault.do == "status":
            await self._abort(fault, context)
        if fault.do == "cut":
            self.relay.cut()
        if fault.do in ("hang", "cut"):
            await asyncio.Event().wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        raise AssertionError("unreachable")

    async def _abort(self, fault: Fault, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        assert fault.status is not None
        status = fault.status
        trailers: list[tuple[str, str | bytes]] = []
        if (packed := details_of(status)) is not None:
            trailers.append(("grpc-status-details-bin", packed))
        if status.time != "":
            trailers.append((_TIME_KEY, status.time or _text(self._wire.told())))
        await context.abort(grpc.StatusCode[status.code], status.message, tuple(trailers))

    async def _forward(
        self, method: str, seen: Seen, context: grpc.aio.ServicerContext[bytes, bytes], fault: Fault | None = None
    ) -> bytes:
        code, words, trailers, answer = await self._reach(method, seen)
        trailers = [(name, self._shifted(value) if name == _TIME_KEY else value) for name, value in trailers]
        if fault is not None and fault.time is not None:
            trailers = [(name, fault.time if name == _TIME_KEY else value) for name, value in trailers]
            trailers = [each for each in trailers if each[1] != ""]
        if code is not grpc.StatusCode.OK:
            await context.abort(code, words, tuple(trailers))
        context.set_trailing_metadata(tuple(trailers))
        if fault is None:
            return answer
        if fault.results:
            answer = with_results(answer, fault.results)
        if fault.answer is not None:
            answer = with_fields(message_factory.GetMessageClass(_METHODS[method].output_type), answer, fault.answer)
        return answer + fault.unknown

    async def _reach_whatever_comes(self, method: str, seen: Seen) -> None:
        """Calls the service to the end, though the client may give up meanwhile."""
        reaching = asyncio.ensure_future(self._reach(method, seen, _WHATEVER_COMES_SECONDS))
        try:
            await asyncio.shield(reaching)
        except asyncio.CancelledError:
            await reaching
            raise

    async def _reach(
        self, method: str, seen: Seen, seconds: float | None = None
    ) -> tuple[grpc.StatusCode, str, Sequence[tuple[str, Any]], bytes]:
        """Calls the service, by whatever instance's turn it is, for as long as the client waits or so many seconds."""
        channel = self._channels[self._calls % len(self._channels)]
        self._calls += 1
        message = type(seen.message)()
        message.CopyFrom(seen.message)
        for request in _requests(message):
            request.first_sent.FromNanoseconds(request.first_sent.ToNanoseconds() - _nanoseconds(self._wire.shift))
        stub: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        left = (seen.deadline_ms or 60_000) / 1000 if seconds is None else seconds
        call = stub(message.SerializeToString(), timeout=max(0, left))
        code, words, trailers = await call.code(), await call.details(), await call.trailing_metadata()
        answer = await call if code is grpc.StatusCode.OK else b""
        return code, words or "", list(trailers or ()), answer

    def _saw(self, method: str, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> Seen:
        message = message_factory.GetMessageClass(_METHODS[method].input_type).FromString(request)
        left = context.time_remaining()
        before = [each.ended for each in self._wire.seen if each.ended is not None]
        requests = []
        for each in _requests(message):
            copy = record_pb2.RequestId()
            copy.CopyFrom(each)
            requests.append(copy)
        seen = Seen(
            method=method.rpartition("/")[2],
            message=message,
            requests=requests,
            metadata={name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)},
            deadline_ms=left * 1000 if left < 1e6 else None,
            told_ms=self._wire.told().timestamp() * 1000,
            pause_ms=(time.monotonic() - before[-1]) * 1000 if before else None,
        )
        self._wire.seen.append(seen)
        return seen

    def _shifted(self, stamp: str) -> str:
        return _text(datetime.fromisoformat(stamp) + self._wire.shift)


class Relay:
    """A TCP connection's way to a port of this machine, which can be cut, closed and opened again."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._target = 0
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        """How many there were."""

    @property
    def address(self) -> str:
        """Host and port, which stay when it is opened again."""
        return f"127.0.0.1:{self._port}"

    async def open(self, target: int | None = None) -> None:
        """Take connections, to the port of before if none is given."""
        self._target = target or self._target
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break the connections that there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Break the connections, and refuse others."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:  # also those that were being connected
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            its_reader, its_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, its_writer}
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, its_writer))
                group.create_task(_copy(its_reader, writer))
            self._writers -= {writer, its_writer}
        except OSError:
            pass  # nobody listens there
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands on what comes, until its end."""
    try:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
    finally:
        writer.transport.abort()


@asynccontextmanager
async def network(
    wire: Wire, channels: Sequence[grpc.aio.Channel], credentials: grpc.ServerCredentials | None
) -> AsyncIterator[Network]:
    """Runs a network before the instances that the channels reach. With credentials it speaks TLS."""
    async with AsyncExitStack() as stack:
        running = Network(wire, channels)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *_LIMITS])
        server.add_generic_rpc_handlers((running,))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        stack.push_async_callback(server.stop, None)
        await running.relay.open(port)
        stack.push_async_callback(running.relay.close)
        yield running


def _requests(message: Message) -> list[record_pb2.RequestId]:
    """The requests that a message carries, to be changed in place."""
    if isinstance(message, state_service_pb2.BatchRequest):
        return [each for operation in message.operations if (each := request_of(operation)) is not None]
    request = request_of(message)
    return [] if request is None else [request]


def _nanoseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1) * 1000


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
