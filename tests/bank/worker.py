"""A process of clients: `python -m tests.bank.worker SECONDS FIRST COUNT TARGET...` prints their reports as JSON."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.bank.clients import Client

GRACE = 60
"""How long the clients may take for what they have begun when their time is up, in seconds."""


async def main(seconds: float, numbers: range, targets: list[str]) -> None:
    clients = [Client(number, targets) for number in numbers]
    async with asyncio.timeout(seconds + GRACE):
        json.dump(await asyncio.gather(*(client.work(seconds) for client in clients)), sys.stdout)


if __name__ == "__main__":
    first, count = int(sys.argv[2]), int(sys.argv[3])
    asyncio.run(main(float(sys.argv[1]), range(first, first + count), sys.argv[4:]))
