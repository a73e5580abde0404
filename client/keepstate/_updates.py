"""Changes to values that the service makes."""

from __future__ import annotations

__all__ = ["Updates"]

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from keepstate import _messages as messages
from keepstate._connection import Connection
from keepstate._gathered import UPDATE
from keepstate.errors import NotFound
from keepstate.operations import Append, Increment, MergePatch, Update
from keepstate.records import Consistency, RecordName, Updated
from keepstate.v1 import state_service_pb2 as pb

U = TypeVar("U")


class Updates:
    """The part of a view that changes values at the service, atomically. They are JSON, whatever the view's codec.

    An update whose answer was lost is repeated and applied once; then the service answers with the record as it is now,
    which others may have changed since. ``increment``, ``append`` and ``merge_patch`` return its value all the same:
    who must know, e.g. to give out every number once, calls ``update`` and looks at ``repeated``.
    """

    _connection: Connection
    _scope: messages.Scope

    async def update(self, operation: Update[U], *, timeout: timedelta | None = None) -> Updated[U]:
        """Perform an ``Increment``, an ``Append`` or a ``MergePatch``, and return the record that it left.

        Raises:
            UpdateNotApplicable: it does not fit the value, or the result would go out of bounds.
            AlreadyExists, NotFound, Conflict: its condition does not hold.
            EncodeError: JSON cannot say what it carries. Nothing was sent.
        """
        return messages.updated(await self._update(operation, timeout))

    async def _update(self, operation: Update[Any], timeout: timedelta | None) -> pb.UpdateResponse:
        return await self._connection.perform(UPDATE, self._scope.update(operation), timeout=timeout)

    async def increment(
        self,
        key: str,
        delta: int = 1,
        *,
        initial: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
        if_absent: bool = False,
        if_exists: bool = False,
        if_etag: str | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> int:
        """Add ``delta`` to the number under ``key`` and return the new number.

        Without ``ttl``, ``expire_at`` or ``keep_expiry`` the record never expires, as with ``put``.

        Args:
            initial: what an absent record counts as. None: 0.
            minimum: the least that the result may be. None: the least 64-bit number.
            maximum: the most that the result may be. None: the greatest 64-bit number.

        Raises:
            UpdateNotApplicable: the value is no whole number, or the result would go out of bounds.
            AlreadyExists, Conflict: the condition does not hold.
            NotFound: ``if_exists``, and there is none; or it was applied, and the record has gone before that was told.
        """
        operation = Increment(
            key,
            delta,
            initial=initial,
            minimum=minimum,
            maximum=maximum,
            if_absent=if_absent,
            if_exists=if_exists,
            if_etag=if_etag,
            ttl=ttl,
            expire_at=expire_at,
            keep_expiry=keep_expiry,
            consistency=consistency,
        )
        return await self._value_after(operation, timeout)

    async def append(
        self,
        key: str,
        items: Sequence[Any],
        *,
        max_length: int | None = None,
        if_absent: bool = False,
        if_exists: bool = False,
        if_etag: str | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> list[Any]:
        """Add ``items`` to the end of the list under ``key``, an absent one being empty, and return the new list.

        Without ``ttl``, ``expire_at`` or ``keep_expiry`` the record never expires, as with ``put``.

        Args:
            max_length: how many items the list keeps, the newest. None: all.

        Raises:
            UpdateNotApplicable: the value is no list.
            AlreadyExists, Conflict: the condition does not hold.
            NotFound: ``if_exists``, and there is none; or it was applied, and the record has gone before that was told.
        """
        operation = Append(
            key,
            items,
            max_length=max_length,
            if_absent=if_absent,
            if_exists=if_exists,
            if_etag=if_etag,
            ttl=ttl,
            expire_at=expire_at,
            keep_expiry=keep_expiry,
            consistency=consistency,
        )
        return await self._value_after(operation, timeout)

    async def merge_patch(
        self,
        key: str,
        patch: Any,
        *,
        if_absent: bool = False,
        if_exists: bool = False,
        if_etag: str | None = None,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> Any:
        """Merge ``patch`` into the JSON value under ``key`` as RFC 7396 says, and return the new value.

        None removes a field; an absent record counts as the empty object. Without ``ttl``, ``expire_at`` or
        ``keep_expiry`` the record never expires, as with ``put``.

        Raises:
            UpdateNotApplicable: the value is no JSON.
            AlreadyExists, Conflict: the condition does not hold.
            NotFound: ``if_exists``, and there is none; or it was applied, and the record has gone before that was told.
        """
        operation = MergePatch(
            key,
            patch,
            if_absent=if_absent,
            if_exists=if_exists,
            if_etag=if_etag,
            ttl=ttl,
            expire_at=expire_at,
            keep_expiry=keep_expiry,
            consistency=consistency,
        )
        return await self._value_after(operation, timeout)

    async def _value_after(self, operation: Update[U], timeout: timedelta | None) -> U:
        response = await self._update(operation, timeout)
        if not response.HasField("record"):
            name = self._scope.name(operation)
            raise NotFound(
                "the update was applied, and the record has gone since",
                name=RecordName(store=name.store, namespace=name.namespace, key=name.key),
            )
        value: U = messages.value(response.record, messages.JSON)
        return value
