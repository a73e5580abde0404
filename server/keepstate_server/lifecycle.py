"""A process that runs a service from its start to a signal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import uvloop

__all__ = ["run_until_signal"]


def run_until_signal(start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
    """Runs ``start``, waits for SIGTERM or SIGINT, and runs ``stop``; ``stop`` also runs when ``start`` fails."""

    async def main() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        try:
            await start()
            await told.wait()
        finally:
            await stop()

    uvloop.run(main())
