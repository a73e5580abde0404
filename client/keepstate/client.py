"""The client: a channel to the service, and the view of its default namespace and store."""

from __future__ import annotations

__all__ = ["Client"]

from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from keepstate._connection import DEFAULT_TIMEOUT, Connection
from keepstate._messages import Scope
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
    ) -> None:
        """Make a client. Nothing is sent yet.

        Args:
            address: ``host:port``, or another gRPC target such as ``dns:///host:port`` or ``unix:/path``.
            codec: how values become bytes, unless a view or a call has another. JSON by default.
            namespace: empty: the default namespace.
            store: the Dapr state component that keeps the records. Empty: the service's default store.
            timeout: how long a call may take, with its repeats, unless the call has its own.
            retry: how calls are repeated when the service is unavailable or an answer was lost. None: not at all.
            tls: how the connection is encrypted. None: not at all, for a service on this machine.

        Raises:
            ValueError: the address has a scheme, or a file of ``tls`` is not what it should be.
        """
        connection = Connection(address, timeout=timeout, retry=retry, tls=tls)
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
