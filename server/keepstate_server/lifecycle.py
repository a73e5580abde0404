"""A process that runs a service from its start to a signal."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Collection

import uvloop

__all__ = ["run_until_signal"]

_IMPATIENCE_SECONDS = 1.0
"""A second signal counts from then on: of one Ctrl-C a program may hear by the terminal and by whoever started it."""


def run_until_signal(
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
    *,
    signals: Collection[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Runs ``start``, waits for one of ``signals``, and runs ``stop``; ``stop`` also runs when ``start`` fails.

    Another signal, a second or more after the first, ends the process at once, with exit code 1.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[float] = loop.create_future()

        def hear() -> None:
            if not told.done():
                told.set_result(loop.time())
            elif loop.time() - told.result() >= _IMPATIENCE_SECONDS:
                os._exit(1)

        for number in signals:
            loop.add_signal_handler(number, hear)
        try:
            await start()
            await told
        finally:
            await stop()

    uvloop.run(main())
