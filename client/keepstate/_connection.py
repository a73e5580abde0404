"""The one channel that all views of a client share: deadlines, repeats, requests and the service's clock."""

from __future__ import annotations

__all__ = ["DEFAULT_RETRY", "DEFAULT_TIMEOUT", "Connection", "Retry"]

import asyncio
import importlib.metadata
import itertools
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._clock import ServiceClock, elapsed
from keepstate._status import error_of_call
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

_sleep = asyncio.sleep  # so that tests need not wait

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How calls that may be repeated are repeated when the service is unavailable, within their deadline.

    The pauses double from ``initial`` to ``limit``, each shortened by chance by up to a half, and never shorter than
    what the service asks for.
    """

    initial: timedelta = timedelta(milliseconds=50)
    limit: timedelta = timedelta(seconds=1)

    def pause(self, attempt: int, retry_after: timedelta | None) -> float:
        """Seconds to wait after the attempt of this number, from 0 on."""
        ceiling = min(self.limit, self.initial * 2 ** min(attempt, 32)).total_seconds()
        jittered = random.uniform(ceiling / 2, ceiling)  # noqa: S311 (it keeps no secret)
        return jittered if retry_after is None else retry_after.total_seconds() + jittered


DEFAULT_TIMEOUT = timedelta(seconds=10)

DEFAULT_RETRY = Retry()


class Connection:
    """Calls the service. Opened by the first use, in the event loop of that use."""

    def __init__(self, address: str, *, timeout: timedelta, retry: Retry | None) -> None:
        if address.startswith(("http://", "https://")):
            raise ValueError(f"address must be host:port, without a scheme: {address!r}")
        self._address = address
        self._timeout = _seconds(timeout)
        self._retry = retry
        self._clock = ServiceClock()
        self._client_number = secrets.randbelow(2**64 - 1) + 1
        self._write_numbers = itertools.count(1)
        self._channel: _Channel | None = None
        self._learning = asyncio.Lock()
        self._closed = False

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
        if self._channel is None:
            self._channel = _Channel(grpc.aio.insecure_channel(self._address, options=_options()))
        return self._channel

    async def close(self) -> None:
        """Cut short what is under way and let the channel go."""
        self._closed = True
        if self._channel is not None:
            await self._channel.channel.close()

    def next_request(self) -> record_pb2.RequestId:
        """What makes the next write distinguishable from all others. The time is filled in when it is sent."""
        return record_pb2.RequestId(client=self._client_number, number=next(self._write_numbers))

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        request: Req,
        *,
        timeout: timedelta | None,
        writes: bool,
    ) -> Resp:
        """Call the service, again where that is safe and helps.

        Raises:
            KeepstateError: the call failed.
        """
        deadline = time.monotonic() + (self._timeout if timeout is None else _seconds(timeout))
        if writes:
            await self._learn_time(deadline)
            if time.monotonic() >= deadline:
                raise errors.DeadlineExceeded(
                    "time was up before the write was sent", code=grpc.StatusCode.DEADLINE_EXCEEDED, nothing_sent=True
                )
            now = int(self._clock.now() * 1e9)
            for each in _requests_in(request):
                each.first_sent.FromNanoseconds(now)
        attempt = 0
        while True:
            try:
                return await self._send(method, request, deadline - time.monotonic(), writes=writes)
            except errors.KeepstateError as error:
                pause = self._pause_before_repeat(error, attempt, writes=writes)
                if pause is None or time.monotonic() + pause >= deadline:
                    raise
            await _sleep(pause)
            self._open()  # it may have been closed meanwhile
            attempt += 1

    async def _send(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp], request: Req, timeout: float, *, writes: bool
    ) -> Resp:
        sent = elapsed()
        call = method(request, timeout=timeout)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            self._observe(error.trailing_metadata(), sent=sent)
            failure = error_of_call(error, writes=writes)
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

    async def _learn_time(self, deadline: float) -> None:
        """Ask for the service's time before the first write: by a wrong one it would be refused, or taken for old."""
        # Of several first writes one asks, with its own deadline; the others wait no longer than theirs.
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline - time.monotonic()), self._learning:
                if self._clock.known:
                    return
                # Refusals tell the time too. Where nobody answers, the write's own failure says it better.
                with suppress(errors.KeepstateError):
                    await self._send(
                        self.store_service.GetStore,
                        store_service_pb2.GetStoreRequest(),
                        deadline - time.monotonic(),
                        writes=False,
                    )

    def _pause_before_repeat(self, error: errors.KeepstateError, attempt: int, *, writes: bool) -> float | None:
        # The one place that decides whether a call is repeated. Writes carry requests, but the service does not promise
        # yet (contract, 11) that a repeated request is applied once. When it does, they are repeated here too, with the
        # request's attempt counted up.
        if self._retry is None or writes or not isinstance(error, errors.Unavailable):
            return None
        return self._retry.pause(attempt, error.retry_after)


class _Channel:
    """A channel with the stubs on it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.state_service = StateServiceStub(channel)
        self.store_service = StoreServiceStub(channel)


def _requests_in(message: Message) -> Iterator[record_pb2.RequestId]:
    """All requests that a message carries."""
    match message:
        case pb.BatchRequest():
            for operation in message.operations:
                if kind := operation.WhichOneof("operation"):
                    yield from _requests_in(getattr(operation, kind))
        case pb.PutRequest() | pb.DeleteRequest() | pb.TouchRequest() | pb.UpdateRequest() | pb.TransactRequest():
            if message.HasField("request"):
                yield message.request


def _options() -> list[tuple[str, str | int]]:
    return [
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
