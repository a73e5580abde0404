"""Callers that call one after the other, and what they got done."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Load", "Measured", "run"]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to be done: `callers` at once, each of which calls `operation(its number, the call's number)`."""

    operation: Callable[[int, int], Awaitable[object]]
    callers: int
    seconds: float
    counts: int = 1
    """What one call counts as: the records of a bulk read, say."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What they got done."""

    operations: int
    seconds: float
    latency: float
    """The median time of a call, in seconds."""

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


async def run(load: Load) -> Measured:
    """Let them call until the time is up, each at least once. The calls under way then are waited for, and count."""
    times: list[float] = []
    until = time.perf_counter() + load.seconds
    began = time.perf_counter()

    async def calls(caller: int) -> None:
        number, now = 0, time.perf_counter()
        while number == 0 or now < until:
            await load.operation(caller, number)
            number += 1
            after = time.perf_counter()
            times.append(after - now)
            now = after

    async with asyncio.TaskGroup() as group:
        for caller in range(load.callers):
            group.create_task(calls(caller))
    seconds = time.perf_counter() - began
    return Measured(operations=len(times) * load.counts, seconds=seconds, latency=statistics.median(times))
