"""The connection to a sidecar that is away: how soon it is found again."""

from __future__ import annotations

import asyncio
import time

import pytest

from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.sidecar import Sidecar, SidecarError


@pytest.mark.parametrize("scheme", ["", "https://"])
@pytest.mark.filterwarnings("ignore:http and https schemes are deprecated")
async def test_a_sidecar_that_is_away_is_tried_every_second_however_long_that_takes(scheme: str) -> None:
    """By gRPC's default each pause is longer than the one before, up to two minutes."""
    attempts: list[float] = []

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    sidecar = Sidecar(SidecarAddress(grpc=scheme + address, http=None), max_message_bytes=1024)
    try:
        await sidecar.connect()
        async with asyncio.timeout(20):
            while len(attempts) < 10:
                with pytest.raises(SidecarError):
                    await sidecar.components(timeout=1)
                await asyncio.sleep(0.02)
    finally:
        await sidecar.close()
        server.close()
        await server.wait_closed()
    assert attempts[-1] - attempts[-2] < 2
