"""The embedded sidecar: what a DaprClient needs to meet, in the service's own process."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import structlog
from dapr.proto.runtime.v1 import dapr_pb2_grpc

from keepstate_server.embedded import answers
from keepstate_server.embedded.database import Database
from keepstate_server.embedded.errors import ListenError, StorageError
from keepstate_server.embedded.health import HealthServer, address_of
from keepstate_server.embedded.servicer import StateServicer

__all__ = ["EmbeddedSidecar"]

# The public methods of the servicer are the calls that it answers; those of its base only say that they do not.
_SERVED: Final = frozenset(
    f"/dapr.proto.runtime.v1.Dapr/{name}" for name in vars(StateServicer) if not name.startswith("_")
)
_log = structlog.get_logger(__name__)
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class EmbeddedSidecar:
    """Serves Dapr's state API over SQLite, as daprd does with the component ``state.sqlite`` and ``keyPrefix: name``.

    Writes are on the disk before they are acknowledged, and survive a crash of the process or the machine. Several
    sidecars, of one process or of many, may serve one data file.
    """

    def __init__(
        self,
        *,
        path: Path | None,
        store_name: str = "embedded",
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int | None = 0,
        api_token: str | None = None,
        shared_port: bool = False,
        max_message_bytes: int = 16 * 1024 * 1024,
        purge_interval: timedelta = timedelta(minutes=5),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Configures the sidecar; nothing is opened before ``start``.

        Args:
            path: the data file, created with its folder where there is none; None for a private database in memory,
                gone at ``stop``.
            store_name: the name of the one state component.
            host: the address to listen on.
            grpc_port: the port of the API; 0 takes a free one.
            http_port: the port of the health address that the SDK polls; 0 takes a free one, None does without.
            api_token: if given, every call must carry it as ``dapr-api-token``.
            shared_port: somebody holds the port for it, with SO_REUSEPORT.
            max_message_bytes: the largest message in either direction.
            purge_interval: how often expired rows are removed; they are invisible before that.
            clock: tells the seconds since the epoch, in any thread; expiry is judged by it, in whole seconds as in
                daprd.
        """
        self._path = path
        self._store_name = store_name
        self._host = host
        self._grpc_port = grpc_port
        self._http_port = http_port
        self._api_token = api_token
        self._shared_port = shared_port
        self._max_message_bytes = max_message_bytes
        self._purge_interval = purge_interval
        self._clock = clock
        self._started = False
        self._grpc_address: str | None = None
        self._http_address: str | None = None
        self._database: Database | None = None
        self._server: grpc.aio.Server | None = None
        self._health: HealthServer | None = None
        self._purging: asyncio.Task[None] | None = None

    @property
    def grpc_address(self) -> str:
        """Host and port of the API, for example ``127.0.0.1:53412``.

        Raises:
            RuntimeError: the sidecar was not started.
        """
        if self._grpc_address is None:
            raise RuntimeError("the embedded sidecar was not started")
        return self._grpc_address

    @property
    def http_address(self) -> str | None:
        """Host and port of the health address; None before the start and where it was not asked for."""
        return self._http_address

    async def start(self) -> None:
        """Opens the data file and listens; both addresses are known afterwards.

        Raises:
            DataFileError: the data file cannot be opened, is not Keepstate's, or is of a newer version.
            ListenError: a port cannot be listened on.
            RuntimeError: it was started before; a sidecar is started once.
        """
        if self._started:
            raise RuntimeError("an embedded sidecar is started once")
        self._started = True
        try:
            self._database = await Database.open(self._path, clock=self._clock)
            await self._start_grpc(self._database)
            if self._http_port is not None:
                await self._start_http(self._http_port)
            self._purging = asyncio.create_task(self._purge(self._database))
        except BaseException:
            await self.stop(timedelta())
            raise
        _log.info(
            "embedded sidecar started",
            store=self._store_name,
            path=None if self._path is None else str(self._path),
            grpc=self._grpc_address,
            http=self._http_address,
        )

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """Refuses new calls, lets running ones finish for ``grace``, and closes the data file. Repeatable.

        What was handed to the storage is finished even when its caller is cut off.
        """
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.gather(self._purging, return_exceptions=True)
            self._purging = None
        if self._health is not None:
            await self._health.stop()
            self._health = None
        if self._server is not None:
            await self._server.stop(grace.total_seconds())
            self._server = None
        if self._database is not None:
            await self._database.close()
            self._database = None

    async def _start_grpc(self, database: Database) -> None:
        address = address_of(self._host, self._grpc_port)
        server = grpc.aio.server(
            interceptors=[_Gate(self._api_token)],
            options=[
                # On by default, and then a second sidecar on the same port goes unnoticed.
                ("grpc.so_reuseport", int(self._shared_port)),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
                # daprd lets clients ping this often; the library's default answers them with GOAWAY.
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 8_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        dapr_pb2_grpc.add_DaprServicer_to_server(  # type: ignore[no-untyped-call]
            StateServicer(database, store_name=self._store_name), server
        )
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise ListenError(
                address=address, reason="the port is taken, or the address is not this machine's"
            ) from error
        self._server = server
        await server.start()
        self._grpc_address = address_of(self._host, port)

    async def _start_http(self, port: int) -> None:
        self._health = HealthServer(host=self._host, port=port)
        try:
            self._http_address = await self._health.start()
        except OSError as error:
            address = address_of(self._host, port)
            raise ListenError(address=address, reason=error.strerror or type(error).__name__) from error

    async def _purge(self, database: Database) -> None:
        while True:
            await asyncio.sleep(self._purge_interval.total_seconds())
            with contextlib.suppress(StorageError):  # logged where it arose
                removed = await database.purge()
                if removed:
                    _log.info("expired rows removed", rows=removed)


class _Gate(grpc.aio.ServerInterceptor):
    """Lets only calls pass that carry the token, and answers those that the sidecar does not have."""

    def __init__(self, api_token: str | None) -> None:
        self._token = None if api_token is None else api_token.encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[_Request, _Response] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        refusal = self._check_token(handler_call_details)
        if refusal is None and handler_call_details.method not in _SERVED:
            refusal = answers.unimplemented(handler_call_details.method.rpartition("/")[2])
        return await continuation(handler_call_details) if refusal is None else _refusing(refusal)

    def _check_token(self, call: grpc.HandlerCallDetails) -> answers.Refusal | None:
        if self._token is None:
            return None
        given = next((value for name, value in call.invocation_metadata if name == "dapr-api-token"), None)
        if given is None:
            return answers.unauthenticated("missing api token in request metadata")
        given = given.encode() if isinstance(given, str) else given
        if not hmac.compare_digest(given, self._token):
            return answers.unauthenticated("authentication error: api token mismatch")
        return None


def _refusing(refusal: answers.Refusal) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await context.abort(refusal.code, refusal.text, refusal.trailers())

    # A stream of requests that is never read: this shape answers calls of every shape.
    return grpc.stream_stream_rpc_method_handler(refuse)
