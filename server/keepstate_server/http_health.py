"""Health over HTTP, for probes that cannot speak gRPC."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from keepstate_server.config import BadConfiguration

__all__ = ["HttpHealth"]


class HttpHealth:
    """Answers /healthz/live while the process works, and /healthz/ready while the sidecar answers too."""

    def __init__(self, address: str, ready: asyncio.Event, *, live: Callable[[], bool] = lambda: True) -> None:
        """Will listen on ``address`` (host:port). Where others do the work, ``live`` says whether one of them lives."""
        self._address = address
        self._ready = ready
        self._is_live = live
        app = web.Application()
        app.router.add_get("/healthz/live", self._live)
        app.router.add_get("/healthz/ready", self._readiness)
        # By default it waits a minute for a probe that does not take its answer.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self) -> None:
        """Listens.

        Raises:
            BadConfiguration: the port is taken.
        """
        host, _, port = self._address.rpartition(":")
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        except OSError:
            raise BadConfiguration(
                f"KEEPSTATE_HTTP_LISTEN: cannot listen on {self._address}: it may be taken"
            ) from None

    async def stop(self) -> None:
        """Stops listening."""
        await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        if self._is_live():
            return web.Response(text="live\n")
        return web.Response(status=503, text="not live: no worker lives\n")

    async def _readiness(self, _: web.Request) -> web.Response:
        if self._ready.is_set():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: the sidecar does not answer\n")
