"""Every kind of write, sent with a request, and what it leaves when it was applied exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.contract.api import ABSENT, Api, Refused, duration, if_etag

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of write on the records KEY, KEY:2 and KEY:3, of which the first and the third hold 5 before it."""

    send: Callable[[Api, str, str, record_pb2.RequestId, float], Awaitable[Any]]
    """Sends it, with the first record's etag, a request, and a limit in seconds; returns what each repeat must too."""
    values: tuple[bytes | None, ...]
    """What the three hold once it was applied exactly once; None: there is no record."""


async def _put(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> str:
    return await api.put(key, b"6", request=request, timeout=timeout)


async def _put_with_etag(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> str:
    return await api.put(key, b"6", when=if_etag(etag), request=request, timeout=timeout)


async def _create(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> str:
    return await api.put(f"{key}:2", b"6", when=ABSENT, request=request, timeout=timeout)


async def _delete(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> bool:
    message = pb.DeleteRequest(name=api.name(key), request=request)
    return bool((await api.call(api.state.Delete(message, timeout=timeout))).existed)


async def _touch(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> bool:
    message = pb.TouchRequest(name=api.name(key), ttl=duration(HOUR), request=request)
    # A repeat does not tell the etag that a later write gave the record.
    return bool((await api.call(api.state.Touch(message, timeout=timeout))).HasField("expire_time"))


async def _increment(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> None:
    message = pb.UpdateRequest(name=api.name(key), increment=pb.Increment(delta=1), request=request)
    await api.call(api.state.Update(message, timeout=timeout))


async def _append(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> None:
    message = pb.UpdateRequest(name=api.name(f"{key}:2"), append=pb.Append(items=[b"6"]), request=request)
    await api.call(api.state.Update(message, timeout=timeout))


async def _batch(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> list[str]:
    """Three puts, of which each has a request of its own; those that are undecided fail the whole."""
    operations = []
    for number, each in enumerate((key, f"{key}:2", f"{key}:3")):
        own = record_pb2.RequestId()
        own.CopyFrom(request)
        own.number = request.number * 10 + number
        operations.append(pb.BatchOperation(put=api.put_request(each, b"6", request=own)))
    results = (await api.call(api.state.Batch(pb.BatchRequest(operations=operations), timeout=timeout))).results
    for result in results:
        if result.HasField("error"):
            raise Refused.of(result.error)
    return [result.put.etag for result in results]


async def _transaction(api: Api, key: str, etag: str, request: record_pb2.RequestId, timeout: float) -> Any:
    answer = await api.transact(
        puts=[api.put_request(f"{key}:2", b"6", when=ABSENT)],
        deletes=[api.delete_request(f"{key}:3")],
        updates=[pb.UpdateRequest(name=api.name(key), increment=pb.Increment(delta=1))],
        request=request,
        timeout=timeout,
    )
    return answer.puts[0].etag, answer.deletes[0].existed


KINDS = {
    "put": Kind(send=_put, values=(b"6", None, b"5")),
    "put with an etag": Kind(send=_put_with_etag, values=(b"6", None, b"5")),
    "create": Kind(send=_create, values=(b"5", b"6", b"5")),
    "delete": Kind(send=_delete, values=(None, None, b"5")),
    "touch": Kind(send=_touch, values=(b"5", None, b"5")),
    "increment": Kind(send=_increment, values=(b"6", None, b"5")),
    "append": Kind(send=_append, values=(b"5", b"[6]", b"5")),
    "batch": Kind(send=_batch, values=(b"6", b"6", b"6")),
    "transaction": Kind(send=_transaction, values=(b"6", b"6", None)),
}
