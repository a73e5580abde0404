"""The client for programs without asyncio: the calls of the asynchronous one, each of which waits for its answer.

::

    with Client("localhost:7400") as state:
        etag = state.put(key("user", 7), {"name": "Ada"}, ttl=timedelta(hours=1))
"""

from __future__ import annotations

__all__ = ["Client", "State", "Transaction"]

from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from keepstate import client, state, transaction
from keepstate._connection import DEFAULT_TIMEOUT
from keepstate._loop_thread import perform
from keepstate._metadata import Token
from keepstate._repeats import DEFAULT_RETRY, Retry
from keepstate._waiting import Here, passing_on, wait_with_calls, waiting
from keepstate.codecs import Codec
from keepstate.tls import Tls

V = TypeVar("V")
W = TypeVar("W")
R = TypeVar("R")


class Transaction(Generic[V]):
    """One try of a transaction, as a view of one namespace in one store. ``state.transaction`` makes it.

    It is ``keepstate.Transaction`` with reads that wait.
    """

    def __init__(self, asynchronous: transaction.Transaction[V]) -> None:
        self._asynchronous = asynchronous

    @property
    def asynchronous(self) -> transaction.Transaction[V]:
        """The asynchronous transaction that does the work: for what is built on both clients."""
        return self._asynchronous

    def namespace(self, name: str) -> Transaction[V]:
        """The same transaction, store and codec with another namespace. Empty: the default namespace."""
        return Transaction(self._asynchronous.namespace(name))

    def store(self, name: str) -> Transaction[V]:
        """The same transaction, namespace and codec in another store. Empty: the service's default store."""
        return Transaction(self._asynchronous.store(name))

    def using(self, codec: Codec[W]) -> Transaction[W]:
        """The same transaction, namespace and store with another codec."""
        return Transaction(self._asynchronous.using(codec))

    get = waiting(transaction.Transaction[V].get)
    get_record = waiting(transaction.Transaction[V].get_record)
    put = passing_on(transaction.Transaction[V].put)
    delete = passing_on(transaction.Transaction[V].delete)
    update = passing_on(transaction.Transaction[V].update)
    increment = passing_on(transaction.Transaction[V].increment)
    append = passing_on(transaction.Transaction[V].append)
    merge_patch = passing_on(transaction.Transaction[V].merge_patch)


class State(Generic[V]):
    """The records of one namespace in one store, with values that one codec encodes as ``V``.

    It is ``keepstate.State`` with calls that wait: their arguments, answers and errors are the same. Any number of
    threads may call it. Ctrl-C ends a call that waits; whether a write was applied is then not known.

    Every call may raise RuntimeError, besides what is named on it: in a thread that runs an event loop, which it would
    block, and in a process that was forked from one that had used a synchronous client.
    """

    def __init__(self, asynchronous: state.State[V]) -> None:
        self._asynchronous = asynchronous

    @property
    def asynchronous(self) -> state.State[V]:
        """The asynchronous view that does the work, in a thread of its own: for what is built on both clients."""
        return self._asynchronous

    def namespace(self, name: str) -> State[V]:
        """The same store and codec with another namespace. Empty: the default namespace."""
        return State(self._asynchronous.namespace(name))

    def store(self, name: str) -> State[V]:
        """The same namespace and codec in another store. Empty: the service's default store."""
        return State(self._asynchronous.store(name))

    def using(self, codec: Codec[W]) -> State[W]:
        """The same namespace and store with another codec."""
        return State(self._asynchronous.using(codec))

    get = waiting(state.State[V].get)
    get_record = waiting(state.State[V].get_record)
    put = waiting(state.State[V].put)
    delete = waiting(state.State[V].delete)
    touch = waiting(state.State[V].touch)
    get_many = waiting(state.State[V].get_many)
    put_many = waiting(state.State[V].put_many)
    batch = waiting(state.State[V].batch)
    update = waiting(state.State[V].update)
    increment = waiting(state.State[V].increment)
    append = waiting(state.State[V].append)
    merge_patch = waiting(state.State[V].merge_patch)
    transact = waiting(state.State[V].transact)
    snapshot = waiting(state.State[V].snapshot)
    now = waiting(state.State[V].now)
    stores = waiting(state.State[V].stores)
    store_info = waiting(state.State[V].store_info)
    probe = waiting(state.State[V].probe)

    def transaction(
        self, function: Callable[[Transaction[V]], R], *, tries: int = 10, timeout: timedelta | None = None
    ) -> R:
        """Run ``function`` and apply what it writes, all or nothing, if all that it read still holds.

        It runs in this thread, again from the start where others came between. Everything else is as
        ``keepstate.State.transaction`` says.

        ::

            def move(tx: Transaction[int]) -> None:
                one, other = tx.get("account:1", default=0), tx.get("account:2", default=0)
                tx.put("account:1", one - 10)
                tx.put("account:2", other + 10)

            state.transaction(move)
        """

        def in_this_thread(here: Here) -> Coroutine[Any, Any, R]:
            return self._asynchronous.transaction(
                lambda tx: here(function, Transaction(tx)), tries=tries, timeout=timeout
            )

        return wait_with_calls(in_this_thread)

    def within(self, tx: Transaction[Any]) -> Transaction[V]:
        """This view's records as part of a transaction that another view of the same client began.

        Everything else is as ``keepstate.State.within`` says.
        """
        return Transaction(self._asynchronous.within(tx.asynchronous))


class Client(State[V]):
    """A client of the state service for programs without asyncio.

    ::

        with Client("localhost:7400") as state:
            etag = state.put("user:7", {"name": "Ada"}, ttl=timedelta(hours=1))

    Make one and keep it: it holds one connection, opened by the first call, which all calls, views and threads share.
    It may be made before a process forks, but must not be used before: gRPC does not survive that.
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
        codec: Codec[Any] | None = None,
        namespace: str = "",
        store: str = "",
        timeout: timedelta = DEFAULT_TIMEOUT,
        retry: Retry | None = DEFAULT_RETRY,
        tls: Tls | None = None,
        token: Token | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        gather: bool = True,
    ) -> None:
        """Make a client. Nothing is sent yet. The arguments are those of ``keepstate.Client``.

        A ``token`` that is a function is asked in the one thread that works for all clients of the process.
        """
        options: dict[str, Any] = {} if codec is None else {"codec": codec}
        self._client: client.Client[V] = client.Client(
            address,
            namespace=namespace,
            store=store,
            timeout=timeout,
            retry=retry,
            tls=tls,
            token=token,
            metadata=metadata,
            gather=gather,
            **options,
        )
        super().__init__(self._client)

    def close(self) -> None:
        """Close the connection. Calls under way in other threads are cut short; later ones raise RuntimeError."""
        perform(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
