"""A plain Dapr program: it speaks to the sidecar alone, by the SDK's generated stub, and knows nothing of Keepstate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dapr.proto.common.v1.common_pb2 import StateItem

from tests.unit.embedded.driver import FIRST_WRITE, Caller, item

__all__ = ["KINDS", "VALUE", "Plain"]

VALUE = b'{"by":"a plain program","n":1}'


@dataclass(frozen=True, kw_only=True)
class Plain:
    """One way in which such programs write."""

    write: Callable[[Caller, str], Awaitable[None]]
    key: str = "{}"
    """What the program makes of an identifier."""
    expires: bool = False


async def _save(caller: Caller, key: str) -> None:
    await caller.save(item(key, VALUE))


async def _first_write(caller: Caller, key: str) -> None:
    await caller.save(item(key, VALUE, concurrency=FIRST_WRITE))


async def _with_ttl(caller: Caller, key: str) -> None:
    await caller.save(item(key, VALUE, ttl="30000000"))  # tests move the clock by hours


async def _json(caller: Caller, key: str) -> None:
    # daprd writes the JSON anew: without spaces, names in order.
    text = b' {"n": 1, "by": "a plain program"}'
    await caller.save(StateItem(key=key, value=text, metadata={"contentType": "application/json"}))


async def _transaction(caller: Caller, key: str) -> None:
    await caller.transact(("upsert", item(key, VALUE)))


KINDS: Mapping[str, Plain] = MappingProxyType(
    {
        "saved": Plain(write=_save),
        "first write": Plain(write=_first_write),
        "with a ttl": Plain(write=_with_ttl, expires=True),
        "as json": Plain(write=_json),
        "in a transaction": Plain(write=_transaction),
        "with slashes": Plain(write=_save, key="team/{}/a b/7"),
        "with odd signs": Plain(write=_save, key="/{}%2F100%/"),
    }
)
