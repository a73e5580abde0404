"""A Redis that is full: of dead records, or in other trouble whenever it is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

import grpc
import pytest
from dapr.proto.runtime.v1.state_pb2 import SaveStateRequest

from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import Api, Refused
from tests.contract.conftest import eventually, running_service
from tests.support.servers import DaprContainer, RedisContainer
from tests.support.service import ServiceProcess
from tests.support.sidecar_proxy import SidecarProxy

pytestmark = [pytest.mark.containers, pytest.mark.promise(7, 13)]

DEAD = 50

Act = Callable[[RedisContainer], object]


TROUBLES: Mapping[str, tuple[Act, Act]] = {
    "full": (
        lambda redis: redis.cli("CONFIG", "SET", "maxmemory", "1"),
        lambda redis: redis.cli("CONFIG", "SET", "maxmemory", "0"),
    ),
    "paused": (RedisContainer.pause, RedisContainer.unpause),
    "killed": (RedisContainer.kill, RedisContainer.start),
}
"""What befalls it, and how it comes to itself."""


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_redis_in_trouble_whenever_it_is_looked_at_is_unavailable_and_lacks_nothing(
    redis: RedisContainer, sidecar: DaprContainer, trouble: str
) -> None:
    """In trouble for each save that is compared, and for no other call: it takes not even the present etag."""
    begin, end = TROUBLES[trouble]
    in_trouble = False

    def save(request: bytes) -> bytes:
        change(to=any(item.HasField("etag") for item in SaveStateRequest.FromString(request).states))
        return request

    def other(request: bytes) -> bytes:
        change(to=False)
        return request

    def change(*, to: bool) -> None:
        nonlocal in_trouble
        if in_trouble != to:
            in_trouble = to
            (begin if to else end)(redis)

    async with SidecarProxy(sidecar.grpc_target) as proxy:
        others = ("GetState", "GetBulkState", "DeleteState", "ExecuteStateTransaction")
        proxy.rewritten = {"SaveState": save, **dict.fromkeys(others, other)}
        async with running_service(SidecarAddress(grpc=proxy.address, http=None)) as backend:
            api = Api(backend.channel, "redis", "looked-at")
            refused = await asyncio.gather(*(api.put(api.key()) for _ in range(4)), return_exceptions=True)
            for each in refused:
                assert isinstance(each, Refused)
                assert each.what == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            proxy.rewritten = {}
            change(to=False)

            async def is_written() -> bool:
                try:
                    await api.put("known")
                except Refused as refused:
                    assert refused.what == ("UNAVAILABLE", "STORE_UNAVAILABLE")
                    return False
                return True

            await eventually(is_written)


async def test_what_is_dead_leaves_a_full_redis_as_soon_as_there_is_room_to_mark_it(
    redis: RedisContainer, instance: Callable[[str], ServiceProcess]
) -> None:
    async with grpc.aio.insecure_channel(instance("one").address) as channel:
        api = Api(channel, "redis", "full")
        living = api.key()
        await api.put(living)
        keys = [api.key() for _ in range(DEAD)]
        await asyncio.gather(*(api.put(key, b"x" * 1000, ttl=timedelta(milliseconds=100)) for key in keys))
        await asyncio.to_thread(redis.cli, "CONFIG", "SET", "maxmemory", "1")

        async def left() -> int:
            found = await asyncio.to_thread(redis.cli, "KEYS", f"redis||{api.prefix}:*")
            return len(found.splitlines()) - 1

        began = asyncio.get_running_loop().time()

        async def they_have_been_due_for_some_sweeps() -> bool:
            assert await left() == DEAD, "nothing may be deleted that is not marked before"
            assert await api.value(living) == b"value"
            with pytest.raises(Refused) as refused:
                await api.put(living, b"new")
            assert refused.value.what == ("UNAVAILABLE", "STORE_UNAVAILABLE")
            return asyncio.get_running_loop().time() - began > 5

        await eventually(they_have_been_due_for_some_sweeps)
        assert {await api.value(key) for key in keys[:5]} == {None}
        await asyncio.to_thread(redis.cli, "CONFIG", "SET", "maxmemory", "0")

        async def they_are_gone() -> bool:
            return await left() == 0

        await eventually(they_are_gone)
        assert await api.value(living) == b"value"
