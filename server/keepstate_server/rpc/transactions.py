"""From a TransactRequest to operations: all of one call, no record twice."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from keepstate.v1 import state_service_pb2
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Append, Check, MergePatch, Put, TransactionOperation, Update
from keepstate_server.domain.records import Request
from keepstate_server.rpc.requests import Reader, WriteRequest

__all__ = ["read_transaction"]

_W = TypeVar("_W", bound=WriteRequest)
_T = TypeVar("_T", bound=TransactionOperation)


def read_transaction(
    reader: Reader, message: state_service_pb2.TransactRequest
) -> tuple[Mapping[str, TransactionOperation], Request | None]:
    """Reads a transaction: checks, puts, deletes and updates in this order, by their paths, and its request.

    Raises:
        InvalidFields: something is wrong.
    """
    # Before anything is read: there could be a hundred thousand.
    count = len(message.checks) + len(message.puts) + len(message.deletes) + len(message.updates)
    if not 1 <= count <= reader.limits.transaction_records:
        reader.wrong("puts", f"a transaction must name 1 to {reader.limits.transaction_records} records, not {count}")
        reader.finish()
    operations: dict[str, TransactionOperation] = {}
    for index, check in enumerate(message.checks):
        operations[f"checks[{index}]."] = _check(reader, check, f"checks[{index}].")
    operations |= _writes(reader, message.puts, "puts", reader.put)
    operations |= _writes(reader, message.deletes, "deletes", reader.delete)
    operations |= _writes(reader, message.updates, "updates", reader.update)
    _limits(reader, operations)
    request = reader.request(message, "")
    reader.finish()
    return operations, request


def _check(reader: Reader, message: state_service_pb2.Check, at: str) -> Check:
    precondition = reader.precondition(message, at)
    if not message.HasField("precondition"):
        reader.wrong(f"{at}precondition", "must be set")
    return Check(name=reader.name(message.name, f"{at}name"), precondition=precondition)


def _writes(reader: Reader, messages: Iterable[_W], field: str, read: Callable[[_W, str], _T]) -> dict[str, _T]:
    operations = {}
    for index, message in enumerate(messages):
        at = f"{field}[{index}]."
        if message.HasField("request"):
            reader.wrong(f"{at}request", "must not be set: the transaction carries it")
        operations[at] = read(message, at)
    return operations


def _limits(reader: Reader, operations: Mapping[str, TransactionOperation]) -> None:
    limits = reader.limits
    values = sum(map(_value_bytes, operations.values()))
    if values > limits.transaction_value_bytes:
        field = "puts" if any(isinstance(each, Put) for each in operations.values()) else "updates"
        reader.wrong(field, f"values must be at most {limits.transaction_value_bytes} bytes together, not {values}")
    names = sum(len(each.name.namespace.encode()) + len(each.name.key.encode()) for each in operations.values())
    if names > limits.transaction_name_bytes:
        field = next(iter(operations)).partition("[")[0]
        reader.wrong(field, f"names must be at most {limits.transaction_name_bytes} bytes together, not {names}")
    first: dict[RecordName, str] = {}
    for at, operation in operations.items():
        if operation.name in first:
            reader.wrong(f"{at}name", f"names the same record as {first[operation.name]}name")
        first.setdefault(operation.name, at)


def _value_bytes(operation: TransactionOperation) -> int:
    match operation:
        case Put(value=value):
            return len(value)
        case Update(change=Append(items=items)):
            return sum(map(len, items))
        case Update(change=MergePatch(patch=patch)):
            return len(patch)
        case _:
            return 0
