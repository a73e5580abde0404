"""What all views of a client share: how the service is called, with deadlines, repeats, requests and its clock."""

from __future__ import annotations

__all__ = ["DEFAULT_TIMEOUT", "Connection", "request_of"]

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from keepstate import errors
from keepstate._channels import Channels, is_loopback
from keepstate._clock import Sending, ServiceClock
from keepstate._gathered import Kind, Method
from keepstate._gathering import Gathering
from keepstate._metadata import CallMetadata, Sent, Token
from keepstate._repeats import DEFAULT_RETRY, Attempts, Part, Retry
from keepstate._status import error_of_call
from keepstate.tls import Tls, explained
from keepstate.v1 import record_pb2, store_service_pb2
from keepstate.v1 import state_service_pb2 as pb

TIME_KEY = "keepstate-time"
"""The metadata in which every answer carries the service's time, RFC 3339 in UTC."""

_sleep = asyncio.sleep  # so that tests need not wait

Req = TypeVar("Req", bound=Message)
Resp = TypeVar("Resp")

DEFAULT_TIMEOUT = timedelta(seconds=10)


class Connection:
    """Calls the service. Opened by the first use, in the event loop of that use.

    Raises:
        ValueError: an argument is wrong; the message names it.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: timedelta,
        retry: Retry | None,
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        gather: bool = True,
    ) -> None:
        self._channels = Channels(address, tls)
        self._metadata = CallMetadata(token, metadata or {})
        if token is not None and tls is None and not is_loopback(address):
            raise ValueError(f"token: without TLS it is sent to this machine's loopback alone, not to {address!r}")
        self._tls = tls
        self._timeout = _seconds(timeout)
        self._retry = retry
        self._clock = ServiceClock()
        self._write_numbers = itertools.count(1)
        self._learning = asyncio.Lock()
        self._gathering = Gathering(self._transmit) if gather else None

    @property
    def retry(self) -> Retry:
        """How to pause before something is tried again, whether calls are repeated or not."""
        return self._retry or DEFAULT_RETRY

    async def close(self) -> None:
        """Cut short what is under way and let the connection go."""
        self._channels.closed = True
        if self._gathering is not None:
            self._gathering.give_up(_closed(errors.Cancelled, nothing_sent=True))
        await self._channels.close()

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
        method: Method[Req, Resp],
        message: Req,
        *,
        timeout: timedelta | None,
        writes: bool,
    ) -> Resp:
        """Call the service, again where that is safe and helps.

        Raises:
            KeepstateError: the call failed.
        """
        return await self._call(
            lambda seconds: self.send(method, message, seconds, writes=writes), request_of(message), timeout
        )

    async def perform(self, kind: Kind[Req, Resp], message: Req, *, timeout: timedelta | None) -> Resp:
        """Call the service for one operation as ``call`` does, together with others if they run at the same time.

        A write's message is given its request.

        Raises:
            KeepstateError: the call failed.
        """
        request: record_pb2.RequestId | None = None
        if kind.writes:
            request = message.request  # type: ignore[attr-defined]  # of all kinds that write
            request.client = self._client_number
            request.number = next(self._write_numbers)
        return await self._call(lambda seconds: self._attempt(kind, message, seconds), request, timeout)

    async def _call(
        self,
        send: Callable[[float], Awaitable[Resp]],
        request: record_pb2.RequestId | None,
        timeout: timedelta | None,
    ) -> Resp:
        part = Part(request=request)
        attempts = self._attempts(timeout)
        if request is not None:
            await self._stamp([request], attempts)
        while True:
            try:
                return await send(attempts.seconds)
            except errors.KeepstateError as error:
                failure = error
            told = part.failed(failure)
            if not await self.pause_after([failure], attempts):
                raise told
            self.renew(part, failure)

    def _attempts(self, timeout: timedelta | None) -> Attempts:
        return Attempts(self._retry, self._timeout if timeout is None else _seconds(timeout))

    async def begin(self, parts: Sequence[Part], timeout: timedelta | None) -> Attempts:
        """Begin a call with these parts, and stamp their requests with the service's time.

        Raises:
            DeadlineExceeded: the call writes, and its time was up before the service told its time.
        """
        attempts = self._attempts(timeout)
        if requests := [part.request for part in parts if part.request is not None]:
            await self._stamp(requests, attempts)
        return attempts

    async def _stamp(self, requests: Iterable[record_pb2.RequestId], attempts: Attempts) -> None:
        if not self._clock.known:
            await self._learn_time(attempts.seconds)
        if attempts.left <= 0:
            raise errors.DeadlineExceeded(
                "time was up before the write was sent", code=grpc.StatusCode.DEADLINE_EXCEEDED, nothing_sent=True
            )
        seconds, nanos = divmod(self._now(), 10**9)
        for request in requests:
            stamp = request.first_sent
            stamp.seconds, stamp.nanos = seconds, nanos

    async def service_time(self, timeout: timedelta | None) -> float:
        """The service's time in seconds since 1970.

        Raises:
            KeepstateError: no answer has told it, and the service does not answer.
        """
        if not self._clock.known:
            request = store_service_pb2.ListStoresRequest()
            await self.call(lambda channel: channel.store.ListStores, request, timeout=timeout, writes=False)
        return self._clock.now()

    async def pause_after(self, failures: Iterable[errors.KeepstateError], attempts: Attempts) -> bool:
        """Wait until what failed so is to be sent again. False: it is not."""
        pause = attempts.pause_after(failures)
        return pause is not None and await self.pause(pause, attempts)

    async def pause(self, seconds: float, attempts: Attempts) -> bool:
        """Wait so long before another attempt. False: the time does not allow one, or the client was closed."""
        if self._channels.closed or seconds >= attempts.left:
            return False
        await _sleep(seconds)
        return attempts.left > 0 and not self._channels.closed

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

    async def send(self, method: Method[Req, Resp], message: Req, seconds: float, *, writes: bool) -> Resp:
        """Call the service once.

        Raises:
            KeepstateError: the call failed.
        """
        until = time.monotonic() + seconds
        metadata = await self._metadata_of_attempt(seconds)
        return await self._transmit(method, message, until - time.monotonic(), metadata, writes=writes)

    async def _attempt(self, kind: Kind[Req, Resp], message: Req, seconds: float) -> Resp:
        """Make one attempt at an operation, together with others if they run at the same time."""
        if self._gathering is None:
            return await self.send(kind.method, message, seconds, writes=kind.writes)
        if (metadata := self._metadata.fixed) is None:
            until = time.monotonic() + seconds
            metadata = await self._metadata_of_attempt(seconds)
            seconds = until - time.monotonic()
        else:
            self._channels.check_open()
        return await self._gathering.send(kind, message, seconds, metadata)

    async def _metadata_of_attempt(self, seconds: float) -> Sent:
        self._channels.check_open()
        return await self._metadata.of_attempt(seconds)

    async def _transmit(
        self, method: Method[Req, Resp], message: Req, seconds: float, metadata: Sent, *, writes: bool
    ) -> Resp:
        if self._channels.closed:  # since the call began
            raise _closed(errors.Cancelled, nothing_sent=True)
        channel = self._channels.take()
        try:
            return await self._send(method(channel), message, seconds, metadata, writes=writes)
        finally:
            await self._channels.give_back(channel)

    async def _send(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Req, Resp],
        message: Req,
        seconds: float,
        metadata: Sent,
        *,
        writes: bool,
    ) -> Resp:
        sent = self._clock.sending()
        call = method(message, timeout=seconds, metadata=metadata)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            self._observe(error.trailing_metadata(), sent)
            failure = error_of_call(error, writes=writes)
            failure.message = explained(failure.message, self._tls)
            # An answer of the service says all there is to say. Otherwise gRPC's own account of it helps.
            raise failure from (None if failure.reason else error)
        except asyncio.CancelledError:
            # gRPC reports a channel closed under a call as if the caller's task had been cancelled.
            if self._channels.closed and (task := asyncio.current_task()) and not task.cancelling():
                raise _closed(errors.OutcomeUnknown if writes else errors.Cancelled) from None
            raise
        self._observe(await call.trailing_metadata(), sent)
        return response

    def _observe(self, metadata: grpc.aio.Metadata | None, sent: Sending) -> None:
        if metadata and isinstance(stamp := metadata.get(TIME_KEY), str):
            self._clock.observe(stamp, sent)

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
                        lambda channel: channel.store.GetStore,
                        store_service_pb2.GetStoreRequest(),
                        until - time.monotonic(),
                        writes=False,
                    )


def request_of(message: Message) -> record_pb2.RequestId | None:
    """The request that a message carries, to be changed in place. None: it carries none."""
    match message:
        case pb.BatchOperation():
            kind = message.WhichOneof("operation")
            return request_of(getattr(message, kind)) if kind else None
        case pb.PutRequest() | pb.DeleteRequest() | pb.TouchRequest() | pb.UpdateRequest() | pb.TransactRequest():
            return message.request if message.HasField("request") else None
    return None


def _closed(kind: type[errors.KeepstateError], *, nothing_sent: bool = False) -> errors.KeepstateError:
    words = "the client was closed during the call"
    return kind(words, code=grpc.StatusCode.CANCELLED, nothing_sent=nothing_sent)


def _seconds(timeout: timedelta) -> float:
    if not isinstance(timeout, timedelta):
        raise TypeError(f"timeout must be a timedelta, not a {type(timeout).__name__}")
    return timeout.total_seconds()
