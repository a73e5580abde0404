"""More callers than there is room for: they are told so, and the process does not grow with their number."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from keepstate import Client, ResourceExhausted
from tests.support.service import ServiceProcess

MIB = 1 << 20
WAITS = 400


def peak_mib(pid: int) -> int:
    """The most that was resident since `forget_peak`."""
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def test_beyond_the_bytes_that_may_be_under_way_calls_are_refused_and_memory_does_not_grow(
    make_service: Callable[..., ServiceProcess],
) -> None:
    service = make_service(KEEPSTATE_CONCURRENT_BYTES=str(4 * MIB))
    await asyncio.to_thread(service.start)
    pid = service.process.pid
    value = "x" * (256 * 1024)
    async with Client(service.address, retry=None, gather=False, timeout=timedelta(seconds=60)) as state:

        async def put(number: int) -> str:
            try:
                await state.put(f"k{number % 10}", value)
            except ResourceExhausted as refused:
                assert refused.limit == "bytes of requests and answers under way"
                assert refused.retry_after == timedelta(seconds=1)
                assert refused.nothing_sent
                return "refused"
            return "put"

        await put(0)
        await asyncio.to_thread(forget_peak, pid)
        before = await asyncio.to_thread(peak_mib, pid)
        outcomes = Counter(await asyncio.gather(*map(put, range(WAITS))))  # 100 MiB at once
        assert outcomes["put"] > 0
        assert outcomes["refused"] > 0
        assert await asyncio.to_thread(peak_mib, pid) - before < 80
        assert await put(1) == "put", "what was refused or answered does not count any more"
        assert await state.get("k1") == value
