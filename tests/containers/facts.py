"""Short ways of asking what stores do by themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc

from tests.contract.conftest import eventually
from tests.unit.embedded.driver import Caller

ABORTED, INTERNAL, INVALID = "ABORTED", "INTERNAL", "INVALID_ARGUMENT"
MIB = 1024 * 1024
LIMITS = [("grpc.max_send_message_length", 32 * MIB), ("grpc.max_receive_message_length", 32 * MIB)]

Ask = Callable[..., str]
"""Asks Redis itself about a key: `ask("PTTL", key)`."""
Odd = Callable[[str], Caller]
"""A caller of one of the odd sidecar's stores."""


async def value(caller: Caller, key: str) -> bytes | None:
    """What stands under the key; None: nothing."""
    found = await caller.get(key)
    return found.data if found.etag else None


async def code_of(call: Awaitable[object]) -> str:
    """The name of the code that the call is answered with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def expired(caller: Caller, key: str) -> None:
    async def gone() -> bool:
        return await value(caller, key) is None

    await eventually(gone)
