"""The health address that Dapr's SDK polls before it does anything else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from aiohttp import web

__all__ = ["HealthServer", "address_of"]


class HealthServer:
    """Answers GET ``/v1.0/healthz`` and ``/v1.0/healthz/outbound`` with 204.

    It has a thread and an event loop of its own: the SDK's client polls it in its constructor, on the event loop and
    without a time limit, so in one process with it no answer could ever come from the same loop.
    """

    def __init__(self, *, host: str, port: int) -> None:
        """Configures the server; port 0 takes a free one."""
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> str:
        """Listens, and returns host and port.

        Raises:
            OSError: the port cannot be listened on.
        """
        address: Future[str] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(address)), name="keepstate-embedded-health", daemon=True
        )
        self._thread.start()
        return await asyncio.wrap_future(address)

    async def stop(self) -> None:
        """Stops listening; repeatable."""
        if self._thread is None:
            return
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    async def _serve(self, address: Future[str]) -> None:
        application = web.Application()
        application.router.add_get("/v1.0/healthz", _healthy)
        application.router.add_get("/v1.0/healthz/outbound", _healthy)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            # Two servers on one port would go unnoticed otherwise.
            await web.TCPSite(runner, self._host, self._port, reuse_port=False).start()
        except OSError as error:
            address.set_exception(error)
        else:
            self._loop = asyncio.get_running_loop()
            address.set_result(address_of(self._host, runner.addresses[0][1]))
            await self._stopping.wait()
        finally:
            await runner.cleanup()


def address_of(host: str, port: int) -> str:
    """Host and port as one text, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response(status=204)
