"""What a client notices of a service that dies and comes back: nothing but the time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from datetime import timedelta

from keepstate import Client
from tests.support.service import ServiceProcess


async def test_increments_go_on_through_kills_and_are_counted_exactly(
    make_service: Callable[..., ServiceProcess],
) -> None:
    service = await asyncio.to_thread(make_service().start)
    keys = [f"counter:{number}" for number in range(20)]
    answered = 0
    some = asyncio.Condition()

    async with Client(service.address, timeout=timedelta(seconds=60)) as state:

        async def count(key: str) -> None:
            nonlocal answered
            for _ in range(8):  # a record remembers that many, however long a repeat takes
                await state.increment(key)
                async with some:
                    answered += 1
                    some.notify_all()

        counting = asyncio.gather(*map(count, keys))
        for goal in (30, 90):
            async with some:
                await some.wait_for(lambda goal=goal: answered >= goal)  # type: ignore[misc]
            assert await asyncio.to_thread(service.end, signal.SIGKILL) == -signal.SIGKILL
            await asyncio.to_thread(service.start)
        async with asyncio.timeout(60):
            await counting
        assert await state.get_many(keys) == dict.fromkeys(keys, 8)
