"""Plain unary gRPC calls at little cost of the caller's own: HTTP/2 by hand, with another message in each call.

It is for measuring servers: a general client's work would be a good part of what is measured, and h2load sends one
message only. No TLS.
"""

from __future__ import annotations

import asyncio
import statistics
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from bench.load import Measured

__all__ = ["Calls", "framed", "run"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_WINDOW = 2**31 - 1
_FIRST_WINDOW = 65_535
_LARGEST_FRAME = 16_384


@dataclass(frozen=True, kw_only=True)
class Calls:
    """What is called, by how many at once."""

    target: str
    """Host and port."""

    method: str
    """`/package.Service/Method`."""

    messages: Sequence[bytes]
    """Serialized requests. Each connection sends them in an order that jumps about."""

    connections: int = 8
    streams: int = 8
    """Calls under way on each connection."""


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, behind its length."""
    return struct.pack("!BI", 0, len(message)) + message


async def run(calls: Calls, seconds: float) -> Measured:
    """Calls until the time is up, over new connections. The calls under way then are waited for.

    Raises:
        RuntimeError: a call was not answered with a message, which is how gRPC answers OK.
        OSError: a connection was refused or broke.
    """
    loop = asyncio.get_running_loop()
    host, _, port = calls.target.rpartition(":")
    began = time.perf_counter()
    made = [_Connection(calls, number, began + seconds) for number in range(calls.connections)]
    try:
        for each in made:
            await loop.create_connection(lambda each=each: each, host, int(port))  # type: ignore[misc]
        await asyncio.wait_for(asyncio.gather(*(each.done for each in made)), seconds + 30)
        took = time.perf_counter() - began
    finally:
        for each in made:
            each.close()
    if failed := sum(each.failed for each in made):
        raise RuntimeError(f"{failed} calls of {calls.method} failed at {calls.target}")
    times = [spent for each in made for spent in each.times]
    return Measured(operations=len(times), seconds=took, latency=statistics.median(times))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()  # up to 126 bytes, which is what is sent here


class _Connection(asyncio.Protocol):
    """One connection, which keeps so many calls under way."""

    def __init__(self, calls: Calls, number: int, until: float) -> None:
        self._bodies = [framed(message) for message in calls.messages]
        self._next = number * 7919
        self._until = until
        self._streams = calls.streams
        # The four fields stand in HPACK's dynamic table after the first call, which names them as 65 to 62.
        self._fields = b"\x83\x86\x44" + _text(calls.method) + b"\x41" + _text(calls.target)
        self._fields += b"\x5f" + _text("application/grpc") + b"\x40" + _text("te") + _text("trailers")
        self._transport: asyncio.Transport | None = None
        self._stream = -1
        self._room = _FIRST_WINDOW  # bytes that may be sent
        self._taken = 0  # bytes that came since more were last allowed
        self._rest = b""
        self._first = _FIRST_WINDOW  # bytes that each call may send to begin with
        self._more: dict[int, int] = {}  # how many more, or fewer, each may send now
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._under_way: dict[int, float] = {}
        self._answered: set[int] = set()
        self.times: list[float] = []
        self.failed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods alone
        settings = _frame(_SETTINGS, 0, 0, struct.pack("!HI", 4, _WINDOW))  # of each stream
        window = _frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", _WINDOW - _FIRST_WINDOW))
        transport.write(_PREFACE + settings + window)
        transport.write(b"".join(self._begin() for _ in range(self._streams)))

    def close(self) -> None:
        """Ends it, if it ever began."""
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def _begin(self) -> bytes:
        """The frames of one more call."""
        self._stream += 2
        body = self._bodies[self._next % len(self._bodies)]
        self._next += 104_729
        headers = _frame(_HEADERS, _END_HEADERS, self._stream, self._fields)
        self._fields = b"\x83\x86\xc1\xc0\xbf\xbe"
        self._under_way[self._stream] = time.perf_counter()
        self._unsent.append((self._stream, body))
        return headers + self._bodies_sent()

    def _bodies_sent(self) -> bytes:
        """The frames of bodies, in order, as far as the server has room for them."""
        frames = []
        while self._unsent:
            stream, body = self._unsent[0]
            length = min(len(body), self._room, self._first + self._more.get(stream, 0), _LARGEST_FRAME)
            if length <= 0:
                break
            self._room -= length
            self._more[stream] = self._more.get(stream, 0) - length
            frames.append(_frame(_DATA, _END_STREAM if length == len(body) else 0, stream, body[:length]))
            if length < len(body):
                self._unsent[0] = stream, body[length:]
            else:
                self._unsent.popleft()
        return b"".join(frames)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, end, answer = 0, len(data), []
        while end - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            after = at + 9 + length
            if after > end:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == _DATA:
                self._answered.add(stream)
                self._taken += length
            if (kind in {_DATA, _HEADERS} and flags & _END_STREAM) or kind == _RST_STREAM:
                answer.append(self._end(stream))
            elif kind > _RST_STREAM:
                answer.append(self._controlled(kind, flags, stream, data[at + 9 : after]))
            at = after
        self._rest = data[at:]
        if self._taken > 2**30:
            answer.append(_frame(_WINDOW_UPDATE, 0, 0, struct.pack("!I", self._taken)))
            self._taken = 0
        if sending := b"".join(answer):
            assert self._transport is not None
            self._transport.write(sending)

    def _end(self, stream: int) -> bytes:
        """Counts a call, and begins the next while there is time."""
        now = time.perf_counter()
        began = self._under_way.pop(stream)
        self._more.pop(stream, None)
        if stream in self._answered:
            self._answered.remove(stream)
            self.times.append(now - began)
        else:
            self.failed += 1
        if now < self._until:
            return self._begin()
        if not self._under_way and not self.done.done():
            self.done.set_result(None)
        return b""

    def _controlled(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        """What is answered to a frame that is about the connection."""
        if kind == _WINDOW_UPDATE:
            if stream == 0:
                self._room += int.from_bytes(payload, "big")
            elif stream in self._under_way:
                self._more[stream] = self._more.get(stream, 0) + int.from_bytes(payload, "big")
            return self._bodies_sent()
        if kind == _GOAWAY and not self.done.done():
            self.done.set_exception(ConnectionResetError(f"the server turned the connection away: {payload[8:]!r}"))
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            if kind == _SETTINGS:
                self._first = dict(struct.iter_unpack("!HI", payload)).get(4, self._first)
            return _frame(kind, _ACK, 0, payload if kind == _PING else b"") + self._bodies_sent()
        return b""
