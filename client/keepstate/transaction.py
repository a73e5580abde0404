"""What a transaction's function reads and writes with."""

from __future__ import annotations

__all__ = ["Transaction"]

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar, overload

from keepstate import _messages as messages
from keepstate._connection import Connection
from keepstate._tries import Try
from keepstate.codecs import Codec
from keepstate.operations import Append, Delete, Get, Increment, MergePatch, Put, Update
from keepstate.records import Record

V = TypeVar("V")
W = TypeVar("W")
D = TypeVar("D")


class Transaction(Generic[V]):
    """One try of a transaction, as a view of one namespace in one store. ``state.transaction`` makes it.

    Reads go to the service, each record once, and are remembered: the transaction is applied only if they all still
    hold at one moment. One that others have overtaken may see records that do not fit each other; it is refused in the
    end, and the function runs again.

    Writes wait for the end. A read of a record that was put or deleted shows what was written, as a record without etag
    and times; what an update will leave cannot be read: RuntimeError. A record that was put or deleted may be put or
    deleted once more, then without a condition; everything else that would write a record twice is a ValueError.
    """

    def __init__(self, attempt: Try, scope: messages.Scope) -> None:
        self._try = attempt
        self._scope = scope

    def namespace(self, name: str) -> Transaction[V]:
        """The same transaction, store and codec with another namespace. Empty: the default namespace."""
        return Transaction(self._try, replace(self._scope, namespace=name))

    def store(self, name: str) -> Transaction[V]:
        """The same transaction, namespace and codec in another store. Empty: the service's default store."""
        return Transaction(self._try, replace(self._scope, store=name))

    def using(self, codec: Codec[W]) -> Transaction[W]:
        """The same transaction, namespace and store with another codec."""
        return Transaction(self._try, replace(self._scope, codec=codec))

    def _as_seen_by(self, connection: Connection, scope: messages.Scope) -> Transaction[Any]:
        if not self._try.is_of(connection):
            raise ValueError("the transaction is another client's than the view")
        return Transaction(self._try, scope)

    @overload
    async def get(self, key: str) -> V | None: ...

    @overload
    async def get(self, key: str, *, default: D) -> V | D: ...

    @overload
    async def get(self, key: str, *, codec: Codec[W]) -> W | None: ...

    @overload
    async def get(self, key: str, *, codec: Codec[W], default: D) -> W | D: ...

    async def get(self, key: str, *, codec: Codec[Any] | None = None, default: Any = None) -> Any:
        """Read the value under ``key``, or ``default`` if there is none.

        Raises:
            DecodeError: the codec cannot decode the value, or it has another content type.
        """
        found = await self._get(key, codec)
        return default if found is None else found.value

    @overload
    async def get_record(self, key: str) -> Record[V] | None: ...

    @overload
    async def get_record(self, key: str, *, codec: Codec[W]) -> Record[W] | None: ...

    async def get_record(self, key: str, *, codec: Codec[Any] | None = None) -> Record[Any] | None:
        """Read the record under ``key`` with its etag and times, or None if there is none.

        Raises:
            DecodeError: the codec cannot decode the value, or it has another content type.
        """
        return await self._get(key, codec)

    def put(
        self,
        key: str,
        value: Any,
        *,
        codec: Codec[Any] | None = None,
        if_absent: bool = False,
        if_exists: bool = False,
        if_etag: str | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
    ) -> None:
        """Have ``value`` stored under ``key``. The arguments are those of ``State.put``.

        Raises:
            EncodeError: the codec cannot encode the value.
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
        )
        self._try.write(self._scope.put(operation, None))

    def delete(self, key: str, *, if_exists: bool = False, if_etag: str | None = None) -> None:
        """Have the record under ``key`` deleted, if there is one."""
        self._try.write(self._scope.delete(Delete(key, if_exists=if_exists, if_etag=if_etag), None))

    def update(self, operation: Update[Any]) -> None:
        """Have the service perform an ``Increment``, an ``Append`` or a ``MergePatch``.

        Raises:
            EncodeError: JSON cannot say what it carries.
        """
        self._try.write(self._scope.update(operation, None))

    def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        initial: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
    ) -> None:
        """Have ``delta`` added to the number under ``key``. The arguments are those of ``State.increment``."""
        self.update(
            Increment(
                key,
                delta,
                initial=initial,
                minimum=minimum,
                maximum=maximum,
                ttl=ttl,
                expire_at=expire_at,
                keep_expiry=keep_expiry,
            )
        )

    def append(
        self,
        key: str,
        items: Sequence[Any],
        *,
        max_length: int | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
    ) -> None:
        """Have ``items`` added to the end of the list under ``key``. The arguments are those of ``State.append``."""
        self.update(Append(key, items, max_length=max_length, ttl=ttl, expire_at=expire_at, keep_expiry=keep_expiry))

    def merge_patch(
        self,
        key: str,
        patch: Any,
        *,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
    ) -> None:
        """Have ``patch`` merged into the JSON value under ``key``. The arguments are those of ``State.merge_patch``."""
        self.update(MergePatch(key, patch, ttl=ttl, expire_at=expire_at, keep_expiry=keep_expiry))

    async def _get(self, key: str, codec: Codec[Any] | None) -> Record[Any] | None:
        operation = Get(key, codec=codec)
        found = await self._try.read(self._scope.get(operation))
        return None if found is None else messages.record(found, codec or self._scope.codec)
