"""A Redis that is full of dead records, and gets room again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import grpc
import pytest

from tests.contract.api import Api, Refused
from tests.contract.conftest import eventually
from tests.support.servers import RedisContainer
from tests.support.service import ServiceProcess

pytestmark = [pytest.mark.containers, pytest.mark.promise(7, 13)]

DEAD = 50


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
