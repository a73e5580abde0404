"""A view of the state: everything that can be done with the records of one namespace in one store."""

from __future__ import annotations

__all__ = ["State"]

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, overload

from keepstate import _messages as messages
from keepstate import _probes as probes
from keepstate._gathered import DELETE, GET, PUT, TOUCH
from keepstate._many import ManyRecords
from keepstate._transactions import Transactions
from keepstate._updates import Updates
from keepstate.codecs import Codec
from keepstate.errors import NotFound
from keepstate.operations import Delete, Get, Put, Touch
from keepstate.records import Consistency, Record, Touched
from keepstate.stores import Probe, StoreInfo
from keepstate.v1 import record_pb2, store_service_pb2

V = TypeVar("V")
W = TypeVar("W")
D = TypeVar("D")


class State(ManyRecords[V], Transactions[V], Updates):
    """The records of one namespace in one store, with values that one codec encodes as ``V``.

    A client is such a view, of the default namespace and store; others come from ``namespace``, ``store`` and
    ``using``, cost nothing and share the client's channel. Every call may raise, besides what is named on it:

    * ``InvalidArgument``: a field is wrong; ``StoreNotFound``: there is no such store;
    * ``UnsupportedByStore``: the store cannot keep a promise that the call needs;
    * ``PermissionDenied``, ``Unauthenticated``;
    * ``Unavailable``: the service or the store does not answer; ``ResourceExhausted``: it has too much to do;
    * ``DeadlineExceeded``: ``timeout`` (by default the client's) was up;
    * writes ``OutcomeUnknown``: nobody can tell whether the write was applied.

    While the service is unavailable, or where an answer was lost, calls are repeated until their time is up. A repeated
    write is the same request, which the service applies once.
    """

    def namespace(self, name: str) -> State[V]:
        """The same store and codec with another namespace. Empty: the default namespace."""
        return State(self._connection, replace(self._scope, namespace=name))

    def store(self, name: str) -> State[V]:
        """The same namespace and codec in another store. Empty: the service's default store."""
        return State(self._connection, replace(self._scope, store=name))

    def using(self, codec: Codec[W]) -> State[W]:
        """The same namespace and store with another codec."""
        return State(self._connection, replace(self._scope, codec=codec))

    @overload
    async def get(
        self,
        key: str,
        *,
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> V | None: ...

    @overload
    async def get(
        self,
        key: str,
        *,
        default: D,
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> V | D: ...

    @overload
    async def get(
        self,
        key: str,
        *,
        codec: Codec[W],
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> W | None: ...

    @overload
    async def get(
        self,
        key: str,
        *,
        codec: Codec[W],
        default: D,
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> W | D: ...

    async def get(
        self,
        key: str,
        *,
        codec: Codec[Any] | None = None,
        default: Any = None,
        consistency: Consistency = Consistency.STRONG,
        slide_ttl: timedelta | None = None,
        timeout: timedelta | None = None,
    ) -> Any:
        """Read the value under ``key``, or ``default`` if there is none.

        Args:
            slide_ttl: move the record's expiry to this long from now.

        Raises:
            DecodeError: the codec cannot decode the value, or it has another content type.
        """
        found = await self._get(Get(key, consistency=consistency, slide_ttl=slide_ttl), timeout)
        return default if found is None else messages.value(found, codec or self._scope.codec)

    @overload
    async def get_record(
        self,
        key: str,
        *,
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> Record[V] | None: ...

    @overload
    async def get_record(
        self,
        key: str,
        *,
        codec: Codec[W],
        consistency: Consistency = ...,
        slide_ttl: timedelta | None = ...,
        timeout: timedelta | None = ...,
    ) -> Record[W] | None: ...

    async def get_record(
        self,
        key: str,
        *,
        codec: Codec[Any] | None = None,
        consistency: Consistency = Consistency.STRONG,
        slide_ttl: timedelta | None = None,
        timeout: timedelta | None = None,
    ) -> Record[Any] | None:
        """Read the record under ``key`` with its etag and times, or None if there is none.

        Args:
            slide_ttl: move the record's expiry to this long from now.

        Raises:
            DecodeError: the codec cannot decode the value, or it has another content type.
        """
        found = await self._get(Get(key, consistency=consistency, slide_ttl=slide_ttl), timeout)
        return None if found is None else messages.record(found, codec or self._scope.codec)

    async def put(
        self,
        key: str,
        value: V,
        *,
        codec: Codec[V] | None = None,
        if_absent: bool = False,
        if_exists: bool = False,
        if_etag: str | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> str:
        """Store ``value`` under ``key`` and return its new etag.

        Args:
            if_absent: only if there is no record.
            if_exists: only if there is one.
            if_etag: only if the record's etag is this one.
            ttl: the record expires this long from now, by the service's clock.
            expire_at: the record expires at this (aware) time.
            keep_expiry: the record keeps the expiry that it has. With none of the three it never expires.

        Raises:
            AlreadyExists: ``if_absent``, and there is a record; carries its etag.
            NotFound: ``if_exists``, and there is none.
            Conflict: ``if_etag``, and somebody else wrote or deleted the record; carries the current etag.
            EncodeError: the codec cannot encode the value. Nothing was sent.
            ValueError: more than one precondition or expiry was given.
        """
        operation = Put(
            key,
            value,
            codec=codec,
            if_absent=if_absent,
            if_exists=if_exists,
            if_etag=if_etag,
            ttl=ttl,
            expire_at=expire_at,
            keep_expiry=keep_expiry,
            consistency=consistency,
        )
        request = self._scope.put(operation)
        return (await self._connection.perform(PUT, request, timeout=timeout)).etag

    async def delete(
        self,
        key: str,
        *,
        if_exists: bool = False,
        if_etag: str | None = None,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> bool:
        """Delete the record under ``key`` and say whether it was there.

        Raises:
            NotFound: ``if_exists``, and there is none.
            Conflict: ``if_etag``, and somebody else wrote or deleted the record; carries the current etag.
            ValueError: both preconditions were given.
        """
        operation = Delete(key, if_exists=if_exists, if_etag=if_etag, consistency=consistency)
        request = self._scope.delete(operation)
        return (await self._connection.perform(DELETE, request, timeout=timeout)).existed

    async def touch(
        self,
        key: str,
        *,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        never: bool = False,
        if_etag: str | None = None,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> Touched:
        """Move the expiry of the record under ``key``. Its value and etag stay.

        Args:
            ttl: the record expires this long from now, by the service's clock.
            expire_at: the record expires at this (aware) time.
            never: the record does not expire.

        Raises:
            NotFound: there is no record.
            Conflict: ``if_etag``, and somebody else wrote or deleted the record; carries the current etag.
            ValueError: not exactly one of ``ttl``, ``expire_at`` and ``never`` was given.
        """
        operation = Touch(key, ttl=ttl, expire_at=expire_at, never=never, if_etag=if_etag, consistency=consistency)
        request = self._scope.touch(operation)
        return messages.touched(await self._connection.perform(TOUCH, request, timeout=timeout))

    async def now(self, *, timeout: timedelta | None = None) -> datetime:
        """Tell the service's time, by which records expire, within the time that an answer was under way.

        Only a client that has no answer of the service yet asks for it.
        """
        return datetime.fromtimestamp(await self._connection.service_time(timeout), UTC)

    async def stores(self, *, timeout: timedelta | None = None) -> list[StoreInfo]:
        """List the stores by name, with the promises that each one keeps."""
        request = store_service_pb2.ListStoresRequest()
        response = await self._connection.call(
            lambda channel: channel.store.ListStores, request, timeout=timeout, writes=False
        )
        return [messages.store_info(store) for store in response.stores]

    async def store_info(self, *, timeout: timedelta | None = None) -> StoreInfo:
        """Describe this view's store.

        Raises:
            StoreNotFound: there is no such store.
        """
        request = store_service_pb2.GetStoreRequest(name=self._scope.store)
        response = await self._connection.call(
            lambda channel: channel.store.GetStore, request, timeout=timeout, writes=False
        )
        return messages.store_info(response.store)

    async def probe(self, *, timeout: timedelta | None = None) -> Probe:
        """Try out what this view's store does, with keys of its own, which are deleted afterwards.

        It takes some five seconds and two hundred calls of the sidecar. What is seen counts from then on: a store that
        lacks what writes need is only read.

        Args:
            timeout: how long that may take; a minute by default.

        Raises:
            StoreNotFound: there is no such store.
            ResourceExhausted: it is being probed already.
        """
        request = store_service_pb2.ProbeStoreRequest(name=self._scope.store)
        timeout = probes.DEFAULT_TIMEOUT if timeout is None else timeout
        return probes.probe(
            await self._connection.call(
                lambda channel: channel.store.ProbeStore, request, timeout=timeout, writes=False
            )
        )

    async def _get(self, operation: Get, timeout: timedelta | None) -> record_pb2.Record | None:
        request = self._scope.get(operation)
        try:
            response = await self._connection.perform(GET, request, timeout=timeout)
        except NotFound as error:
            if messages.is_missing(error):
                return None
            raise
        return response.record
