"""The client: a channel to the service, and the view of its default namespace and store."""

from __future__ import annotations

__all__ = ["Client"]

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from keepstate._connection import DEFAULT_TIMEOUT, Connection
from keepstate._messages import Scope
from keepstate._metadata import Token
from keepstate._repeats import DEFAULT_RETRY, Retry
from keepstate.codecs import Codec, Json
from keepstate.state import State
from keepstate.tls import Tls

V = TypeVar("V")


class Client(State[V]):
    """A client of the state service, for one event loop.

    ::

        async with Client("localhost:7400") as state:
            etag = await state.put("user:7", {"name": "Ada"}, ttl=timedelta(hours=1))

    Make one and keep it: it holds one connection, opened by the first call, which all calls and views share.
    """

    @overload
    def __init__(
        self: Client[Any],
        address: str = ...,
        *,
        namespace: str = ...,
        store: str = ...,
        timeout: timedelta = ...,
        retry: Retry | None = ...,
        tls: Tls | None = ...,
        token: Token | None = ...,
        metadata: Mapping[str, str | bytes] | None = ...,
        gather: bool = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        address: str = ...,
        *,
        codec: Codec[V],
        namespace: str = ...,
        store: str = ...,
        timeout: timedelta = ...,
        retry: Retry | None = ...,
        tls: Tls | None = ...,
        token: Token | None = ...,
        metadata: Mapping[str, str | bytes] | None = ...,
        gather: bool = ...,
    ) -> None: ...

    def __init__(
        self,
        address: str = "localhost:7400",
        *,
        codec: Codec[V] | None = None,
        namespace: str = "",
        store: str = "",
        timeout: timedelta = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        gather: bool = True,
    ) -> None:
        """Make a client. Nothing is sent yet.

        Args:
            address: ``host:port``.
            codec: how values become bytes, unless a view or a call has another. JSON by default.
            namespace: empty: the default namespace.
            store: the Dapr state component that keeps the records. Empty: the service's default store.
            timeout: how long a call may take, with its repeats, unless the call has its own.
            retry: how calls are repeated when the service is unavailable or an answer was lost. None: not at all.
            tls: how the connection is encrypted. None: not at all, for a service on this machine.
            token: says who calls, in the metadata ``authorization`` of each call. A function is asked before each
                attempt, in the event loop: it must not block, and may be asynchronous. Where it fails the call is
                ``Unauthenticated``, with what it raised as the cause.
            metadata: more metadata, the same with every call. Values are bytes where the name ends in ``-bin``, else
                printable ASCII.
            gather: whether calls for single records that run at the same time go to the service together.

        Raises:
            ValueError: the address is not ``host:port``, a file of ``tls`` is not what it should be, the token or the
                metadata cannot be sent, or there is a token without ``tls`` and the host is not localhost, of
                127.0.0.0/8, or [::1].
        """
        connection = Connection(
            address, timeout=timeout, retry=retry, tls=tls, token=token, metadata=metadata, gather=gather
        )
        super().__init__(connection, Scope(store=store, namespace=namespace, codec=codec or Json()))

    async def close(self) -> None:
        """Close the connection. Calls that are under way are cut short; later ones raise RuntimeError."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
