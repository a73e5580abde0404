"""The one channel that all views of a client share: deadlines, repeats, requests and the service's clock."""

from __future__ import annotations

__all__ = ["DEFAULT_TIMEOUT", "Connection", "request_of"]

import asyncio
import importlib.metadata
import itertools
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._clock import ServiceClock, elapsed
from keepstate._repeats import DEFAULT_RETRY, Attempts, Part, Retry
from keepstate._status import error_of_call
from keepstate.tls import Tls, explained, read_files
from keepstate.v1 import record_pb2, store_service_pb2
from keepstate.v1 import state_service_pb2 as pb
from keepstate.v1.state_service_pb2_grpc import StateServiceStub
from keepstate.v1.store_service_pb2_grpc import StoreServiceStub

if TYPE_CHECKING:
    from keepstate.v1.state_service_pb2_grpc import StateServiceAsyncStub
    from keepstate.v1.store_service_pb2_grpc import StoreServiceAsyncStub

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message that the service takes and that is taken from it."""

TIME_KEY = "keepstate-time"
"""The metadata in which every answer carries the service's time, RFC 3339 in UTC."""

_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\]):")

_sleep = asyncio.sleep  # so that tests need not wait

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")

DEFAULT_TIMEOUT = timedelta(seconds=10)


class Connection:
    """Calls the service. Opened by the first use, in the event loop of that use."""

    def __init__(self, address: str, *, timeout: timedelta, retry: Retry | None, tls: Tls | None = None) -> None:
        if address.startswith(("http://", "https://")):
            raise ValueError(f"address must be host:port, without a scheme: {address!r}")
        if ":" not in address:  # gRPC would call port 443
            raise ValueError(f"address must be host:port: {address!r}")
        self._address = address
        self._tls = tls
        self._pem = read_files(tls) if tls else None
        self._timeout = _seconds(timeout)
        self._retry = retry
        self._clock = ServiceClock()
        self._write_numbers = itertools.count(1)
        # The last one is in use. Others are left to calls that were begun on them.
        self._channels: list[_Channel] = []
        self._learning = asyncio.Lock()
        self._closed = False

    @property
    def retry(self) -> Retry:
        """How to pause before something is tried again, whether calls are repeated or not."""
        return self._retry or DEFAULT_RETRY

    @property
    def state_service(self) -> StateServiceAsyncStub:
        """The state service's methods, to give to ``call``."""
        return self._open().state_service

    @property
    def store_service(self) -> StoreServiceAsyncStub:
        """The store service's methods, to give to ``call``."""
        return self._open().store_service

    def _open(self) -> _Channel:
        if self._closed:
            raise RuntimeError("the client is closed")
        if not self._channels or self._renewed():
            options = _options(self._address, self._tls)
            if self._pem is None:
                channel = grpc.aio.insecure_channel(self._address, options=options)
            else:
                channel = grpc.aio.secure_channel(self._address, self._pem.credentials, options=options)
            self._channels.append(_Channel(channel))
        return self._channels[-1]

    def _renewed(self) -> bool:
        """Whether the files of TLS are others than before, looked at where a connection must be made anyway."""
        if self._tls is None or self._channels[-1].connected:
            return False
        try:
            found = read_files(self._tls)
        except ValueError:
            return False  # as while they are being replaced; what was read before may do
        before, self._pem = self._pem, found
        return found != before

    async def close(self) -> None:
        """Cut short what is under way and let the channel go."""
        self._closed = True
        for each in self._channels:
            await each.channel.close()

    @cached_property
    def _client_number(self) -> int:
        # Drawn at the first write: processes forked from the one that made the client must not share it, or the
        # service takes one's writes for repeats of another's.
        return secrets.randbelow(2**64 - 1) + 1

    def next_request(self) -> record_pb2.RequestId:
        """What makes the next write distinguishable from all others. The time is filled in when it is sent."""
        return record_pb2.RequestId(client=self._client_number, number=next(self._write_numbers))

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        message: Req,
        *,
        timeout: timedelta | None,
        writes: bool,
    ) -> Resp:
        """Call the service, again where that is safe and helps.

        Raises:
            KeepstateError: the call failed.
        """
        part = Part(request=request_of(message))
        attempts = await self.begin([part], timeout)
        while True:
            try:
                return await self.send(method, message, attempts.seconds, writes=writes)
            except errors.KeepstateError as error:
                failure = error
            told = part.failed(failure)
            if not await self.pause_after([failure], attempts):
                raise told
            self.renew(part, failure)

    async def begin(self, parts: Sequence[Part], timeout: timedelta | None) -> Attempts:
        """Begin a call with these parts, and stamp their requests with the service's time.

        Raises:
            DeadlineExceeded: the call writes, and its time was up before the service told its time.
        """
        attempts = Attempts(self._retry, self._timeout if timeout is None else _seconds(timeout))
        requests = [part.request for part in parts if part.request is not None]
        if requests:
            await self._learn_time(attempts.seconds)
            if attempts.left <= 0:
                raise errors.DeadlineExceeded(
                    "time was up before the write was sent", code=grpc.StatusCode.DEADLINE_EXCEEDED, nothing_sent=True
                )
            now = self._now()
            for request in requests:
                request.first_sent.FromNanoseconds(now)
        return attempts

    async def pause_after(self, failures: Iterable[errors.KeepstateError], attempts: Attempts) -> bool:
        """Wait until what failed so is to be sent again. False: it is not."""
        pause = attempts.pause_after(failures)
        return pause is not None and await self.pause(pause, attempts)

    async def pause(self, seconds: float, attempts: Attempts) -> bool:
        """Wait so long before another attempt. False: the time does not allow one, or the client was closed."""
        if self._closed or seconds >= attempts.left:
            return False
        await _sleep(seconds)
        return attempts.left > 0 and not self._closed

    def renew(self, part: Part, failure: errors.KeepstateError) -> None:
        """Make a part whose last attempt failed so ready for the next."""
        if part.request is None:
            return
        if failure.nothing_sent and not part.in_doubt:
            # Nobody has seen the request. As a new one it costs less, and does not grow too old to be told.
            part.request.CopyFrom(self.next_request())
            part.request.first_sent.FromNanoseconds(self._now())
        else:
            part.request.attempt += 1

    def _now(self) -> int:
        """The service's time in nanoseconds since 1970."""
        return int(self._clock.now() * 1e9)

    async def send(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp], message: Req, seconds: float, *, writes: bool
    ) -> Resp:
        """Call the service once.

        Raises:
            KeepstateError: the call failed.
        """
        sent = elapsed()
        call = method(message, timeout=seconds)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            self._observe(error.trailing_metadata(), sent=sent)
            failure = error_of_call(error, writes=writes)
            failure.message = explained(failure.message, self._tls)
            # An answer of the service says all there is to say. Otherwise gRPC's own account of it helps.
            raise failure from (None if failure.reason else error)
        except asyncio.CancelledError:
            # gRPC reports a channel closed under a call as if the caller's task had been cancelled.
            if self._closed and (task := asyncio.current_task()) and not task.cancelling():
                kind = errors.OutcomeUnknown if writes else errors.Cancelled
                raise kind("the client was closed during the call", code=grpc.StatusCode.CANCELLED) from None
            raise
        self._observe(await call.trailing_metadata(), sent=sent)
        return response

    def _observe(self, metadata: grpc.aio.Metadata | None, *, sent: float) -> None:
        if metadata and isinstance(stamp := metadata.get(TIME_KEY), str):
            self._clock.observe(stamp, sent=sent, received=elapsed())

    async def _learn_time(self, seconds: float) -> None:
        """Ask for the service's time before the first write: by a wrong one it would be refused, or taken for old."""
        # Of several first writes one asks, with its own time; the others wait no longer than theirs.
        until = time.monotonic() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._learning:
                if self._clock.known:
                    return
                # Refusals tell the time too. Where nobody answers, the write's own failure says it better.
                with suppress(errors.KeepstateError):
                    await self.send(
                        self.store_service.GetStore,
                        store_service_pb2.GetStoreRequest(),
                        until - time.monotonic(),
                        writes=False,
                    )


class _Channel:
    """A channel with the stubs on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.state_service = StateServiceStub(channel)
        self.store_service = StoreServiceStub(channel)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, or one is being made."""
        return self.channel.get_state() in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING)


def request_of(message: Message) -> record_pb2.RequestId | None:
    """The request that a message carries, to be changed in place. None: it carries none."""
    match message:
        case pb.BatchOperation():
            kind = message.WhichOneof("operation")
            return request_of(getattr(message, kind)) if kind else None
        case pb.PutRequest() | pb.DeleteRequest() | pb.TouchRequest() | pb.UpdateRequest() | pb.TransactRequest():
            return message.request if message.HasField("request") else None
    return None


def _options(address: str, tls: Tls | None) -> list[tuple[str, str | int]]:
    named = [] if tls is None or tls.server_name is None else [("grpc.ssl_target_name_override", tls.server_name)]
    # What http_proxy names cannot reach this machine's loopback.
    direct = [("grpc.enable_http_proxy", 0)] if _LOOPBACK.match(address) else []
    return [
        *named,
        *direct,
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 60_000),  # the service lets clients ping every 10 s; proxies may not
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),  # so that a dead connection is noticed before the next call
        ("grpc.initial_reconnect_backoff_ms", 100),  # a second by default: longer than a service needs to restart
        ("grpc.max_reconnect_backoff_ms", 5_000),
        # What is repeated is decided here, with the request's attempt counted, and not by gRPC's service config.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.primary_user_agent", f"keepstate-python/{importlib.metadata.version('keepstate')}"),
    ]


def _seconds(timeout: timedelta) -> float:
    if not isinstance(timeout, timedelta):
        raise TypeError(f"timeout must be a timedelta, not a {type(timeout).__name__}")
    return timeout.total_seconds()
