"""Many records, each for itself: batches."""

from __future__ import annotations

__all__ = ["ManyRecords"]

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from keepstate import _messages as messages
from keepstate._batch_call import call_batch
from keepstate._batches import in_batches
from keepstate._connection import Connection
from keepstate.errors import KeepstateError, PartialFailure
from keepstate.operations import Get, Operation, Put
from keepstate.records import Consistency, Record
from keepstate.v1 import state_service_pb2 as pb

V = TypeVar("V")
T = TypeVar("T")


class ManyRecords(Generic[V]):
    """The part of a view that does several independent things in a call."""

    def __init__(self, connection: Connection, scope: messages.Scope) -> None:
        self._connection = connection
        self._scope = scope

    async def batch(
        self, operations: Sequence[Operation[T]], *, timeout: timedelta | None = None
    ) -> list[T | KeepstateError]:
        """Perform up to 1,000 independent operations in one call; those on one key in the order given.

        Returns:
            What each operation answers, in the order of the operations: a ``Get`` its record or None, a ``Put`` the
            new etag, a ``Delete`` whether the record was there, a ``Touch`` a ``Touched``, an update an ``Updated``;
            or, where it failed, the error that the operation would have raised as a call of its own.

        Raises:
            EncodeError: a value cannot be encoded. Nothing was sent.
        """
        if not operations:
            return []
        return await self._batch(operations, [self._batched(operation) for operation in operations], timeout)

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> dict[str, V]:
        """Read the values under any number of keys, in as many batches as it takes.

        Args:
            timeout: for each batch.

        Returns:
            The values that there are, by key. A key that is not among them has no record.

        Raises:
            PartialFailure: some could not be read or decoded; carries the others.
        """
        operations = {key: Get(key, consistency=consistency) for key in keys}
        try:
            return _values(await self._many(operations, timeout))
        except PartialFailure as failure:
            failure.results = _values(failure.results)
            raise

    async def put_many(
        self,
        values: Mapping[str, V],
        *,
        if_absent: bool = False,
        if_exists: bool = False,
        ttl: timedelta | None = None,
        expire_at: datetime | None = None,
        keep_expiry: bool = False,
        consistency: Consistency = Consistency.STRONG,
        timeout: timedelta | None = None,
    ) -> dict[str, str]:
        """Store any number of values by key, in as many batches as it takes, and return their new etags.

        Each is a write of its own: this is no transaction. The other arguments are those of ``put``, for every value.

        Args:
            timeout: for each batch.

        Raises:
            PartialFailure: some could not be written; carries the etags of the others.
            EncodeError: a value cannot be encoded. Nothing was sent.
        """
        operations = {
            key: Put(
                key,
                value,
                if_absent=if_absent,
                if_exists=if_exists,
                ttl=ttl,
                expire_at=expire_at,
                keep_expiry=keep_expiry,
                consistency=consistency,
            )
            for key, value in values.items()
        }
        return await self._many(operations, timeout)

    async def _many(self, operations: Mapping[str, Operation[T]], timeout: timedelta | None) -> dict[str, T]:
        # All are encoded before any is sent, so that a value that cannot be encoded leaves nothing half done.
        batched = {key: self._batched(operation) for key, operation in operations.items()}

        async def send(keys: Sequence[str]) -> list[T | KeepstateError]:
            return await self._batch([operations[key] for key in keys], [batched[key] for key in keys], timeout)

        return await in_batches(batched, send)

    def _batched(self, operation: Operation[Any]) -> pb.BatchOperation:
        return self._scope.batched(operation, self._connection.next_request)

    async def _batch(
        self, operations: Sequence[Operation[T]], batched: Sequence[pb.BatchOperation], timeout: timedelta | None
    ) -> list[T | KeepstateError]:
        results = await call_batch(self._connection, batched, timeout)
        pairs = zip(operations, results, strict=True)
        return [messages.result_of(operation, result, self._scope.codec) for operation, result in pairs]


def _values(found: Mapping[str, Record[Any] | None]) -> dict[str, Any]:
    return {key: record.value for key, record in found.items() if record is not None}
