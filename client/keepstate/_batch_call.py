"""One batch, of which what failed for now is sent again."""

from __future__ import annotations

__all__ = ["call_batch"]

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from keepstate._connection import Connection, request_of
from keepstate._repeats import Part, may_be_repeated
from keepstate._status import as_of_read, error_of_status
from keepstate.errors import Internal, KeepstateError, OutcomeUnknown
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb


@dataclass(kw_only=True, eq=False)
class _Item(Part):
    """One operation of the batch."""

    message: pb.BatchOperation

    result: pb.BatchResult | KeepstateError | None = None
    """What the caller is told unless there is another attempt. None: it was not sent yet."""

    failure: KeepstateError | None = None
    """How its last attempt failed."""

    @property
    def record(self) -> tuple[str, str]:
        """What tells its record from others. Without the store: the default one has two names."""
        name: record_pb2.RecordName = getattr(self.message, self.message.WhichOneof("operation") or "").name
        return (name.namespace, name.key)

    def take(self, failure: KeepstateError) -> None:
        """Take in how an attempt failed."""
        self.failure = failure if self.request else as_of_read(failure)
        self.result = self.failed(self.failure)


async def call_batch(
    connection: Connection, operations: Sequence[pb.BatchOperation], timeout: timedelta | None
) -> list[pb.BatchResult | KeepstateError]:
    """Perform the operations of a batch, those that failed for now again within the deadline.

    Returns:
        For each operation its answer, or why it failed, in the order given.

    Raises:
        KeepstateError: the call failed as a whole, and no operation was answered.
    """
    items = [_Item(message=message, request=request_of(message)) for message in operations]
    attempts = await connection.begin(items, timeout)
    waiting, answered = items, False
    while True:
        whole = await _attempt(connection, waiting, attempts.seconds)
        answered = answered or whole is None
        waiting = _to_be_repeated(waiting)
        failures = [item.failure for item in waiting if item.failure]
        if not failures or not await connection.pause_after(failures, attempts):
            break
        for item, failure in zip(waiting, failures, strict=True):
            connection.renew(item, failure)
    results = [item.result for item in items if item.result is not None]
    if whole is not None and not answered:
        raise next((result for result in results if isinstance(result, OutcomeUnknown)), whole)
    return results


async def _attempt(connection: Connection, items: Sequence[_Item], seconds: float) -> KeepstateError | None:
    """Send these once, and have each take its result. Returns the error with which the call failed as a whole."""
    writes = any(item.request is not None for item in items)
    request = pb.BatchRequest(operations=[item.message for item in items])
    try:
        response = await connection.send(lambda channel: channel.state.Batch, request, seconds, writes=writes)
        if len(response.results) != len(items):
            kind = OutcomeUnknown if writes else Internal
            raise kind(f"the service gave {len(response.results)} results for {len(items)} operations")
    except KeepstateError as error:
        for item in items:
            item.take(error)
        return error
    for item, result in zip(items, response.results, strict=True):
        if result.HasField("error"):
            item.take(error_of_status(result.error, writes=item.request is not None))
        else:
            item.failure, item.result = None, result
    return None


def _to_be_repeated(items: Sequence[_Item]) -> list[_Item]:
    """Those that failed for now, but for what would overtake a later operation on its record that has its answer."""
    repeated, overtaken = [], set()
    for item in reversed(items):
        if item.failure and may_be_repeated(item.failure) and item.record not in overtaken:
            repeated.append(item)
        else:
            overtaken.add(item.record)
    return repeated[::-1]
