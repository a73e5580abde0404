"""Several records as one: transactions and snapshots."""

from __future__ import annotations

__all__ = ["Transactions"]

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, TypeVar

from keepstate import _messages as messages
from keepstate._connection import Connection
from keepstate._snapshots import read_snapshot
from keepstate._tries import Try
from keepstate.errors import KeepstateError
from keepstate.operations import Check, Delete, Put, Update
from keepstate.records import Committed, Record, RecordName
from keepstate.transaction import Transaction
from keepstate.v1 import state_service_pb2 as pb

V = TypeVar("V")
R = TypeVar("R")
Name = TypeVar("Name", bound=str | RecordName)


class Transactions(Generic[V]):
    """The part of a view that deals with several records as of one moment."""

    _connection: Connection
    _scope: messages.Scope

    async def transaction(
        self,
        function: Callable[[Transaction[V]], Awaitable[R]],
        *,
        tries: int = 10,
        timeout: timedelta | None = None,
    ) -> R:
        """Run ``function`` and apply what it writes, all or nothing, if all that it read still holds.

        Otherwise it runs again from the start, after a pause drawn at random: it must do nothing else that counts.
        What it raises passes through, and nothing is applied. Strictly serialisable; at most 100 records, of any
        stores, read or written.

        ::

            async def move(tx: Transaction[int]) -> None:
                one, other = await tx.get("account:1", default=0), await tx.get("account:2", default=0)
                tx.put("account:1", one - 10)
                tx.put("account:2", other + 10)

            await state.transaction(move)

        Args:
            function: reads and writes by the transaction that it is given.
            tries: how often it may run.
            timeout: for all tries together, with the time that the function takes. The function is not cut short.

        Returns:
            What ``function`` returned in the try that was applied.

        Raises:
            Conflict, AlreadyExists: others came between in the last try too; carries the record's name.
            Conflict, AlreadyExists, NotFound: a condition of a write does not hold; carries the record's name.
            UpdateNotApplicable: an update does not fit the value that it met.
            OutcomeUnknown: nobody can tell whether it was applied.
            ValueError: ``tries`` is less than 1.
        """
        if tries < 1:
            raise ValueError(f"tries must be at least 1, not {tries}")
        time = await self._connection.begin((), timeout)
        made = 0
        while True:
            attempt = Try(self._connection, time)
            result = await function(Transaction(attempt, self._scope))
            request = attempt.end()
            try:
                await attempt.commit(request)
            except KeepstateError as error:
                made += 1
                if made == tries or not attempt.is_overtaken(error):
                    raise
                conflict = error
            else:
                return result
            if not await self._connection.pause(self._connection.retry.pause(made - 1), time):
                raise conflict

    def within(self, tx: Transaction[Any]) -> Transaction[V]:
        """This view's records as part of a transaction that another view of the same client began.

        ::

            async def order(tx: Transaction[Any]) -> None:
                tx.put("order:7", {"item": "tea"})
                state.namespace("stock").within(tx).increment("tea", -1, minimum=0)

            await state.namespace("orders").transaction(order)

        Raises:
            ValueError: the transaction is another client's.
        """
        return tx._as_seen_by(self._connection, self._scope)  # noqa: SLF001 - one class in two modules

    async def transact(
        self,
        *,
        checks: Iterable[Check] = (),
        puts: Iterable[Put] = (),
        deletes: Iterable[Delete] = (),
        updates: Iterable[Update[Any]] = (),
        timeout: timedelta | None = None,
    ) -> Committed:
        """Perform all writes or none, if all of their preconditions and all checks hold at one moment.

        At most 100 records, of any stores, none of them named twice.

        Raises:
            Conflict: an etag did not match; carries the record's name and its current etag.
            AlreadyExists: ``if_absent``, and there is a record; carries its name and etag.
            NotFound: ``if_exists``, and there is none; carries its name.
            UpdateNotApplicable: an update does not fit the value that it met; carries the record's name.
            TransactionConflict: writes of others came between again and again. Begin anew.
            OutcomeUnknown: nobody can tell whether it was applied.
            EncodeError: a value cannot be encoded. Nothing was sent.
        """
        request = pb.TransactRequest(
            checks=[self._scope.check(check) for check in checks],
            puts=[self._scope.put(put, None) for put in puts],
            deletes=[self._scope.delete(delete, None) for delete in deletes],
            updates=[self._scope.update(update, None) for update in updates],
            request=self._connection.next_request(),
        )
        response = await self._connection.call(
            lambda channel: channel.state.Transact, request, timeout=timeout, writes=True
        )
        return messages.committed(response, request)

    async def snapshot(self, names: Iterable[Name], *, timeout: timedelta | None = None) -> dict[Name, Record[V]]:
        """Read up to 100 records as they were at one moment.

        Args:
            names: keys of this view, or full names of records anywhere.

        Returns:
            The records that there were, by what they were asked for. A name that is not among them had no record.

        Raises:
            DecodeError: the view's codec cannot decode a value, or it has another content type.
        """
        asked = list(dict.fromkeys(names))
        if not asked:
            return {}
        found = await read_snapshot(self._connection, [self._scope.full_name(name) for name in asked], timeout)
        return {
            name: messages.record(record, self._scope.codec)
            for name, record in zip(asked, found, strict=True)
            if record is not None
        }
