"""Serves the data file named on the command line until it is killed; prints its address."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from keepstate_server.embedded import EmbeddedSidecar


async def main() -> None:
    sidecar = EmbeddedSidecar(path=Path(sys.argv[1]), http_port=None)
    await sidecar.start()
    sys.stdout.write(f"address={sidecar.grpc_address}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(main())
