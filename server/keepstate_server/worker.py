"""A process that ``keepstate serve`` starts: one of its workers, or the sidecar that they share.

It ends at once when its parent dies, however that comes about: what a killed instance leaves others resolve.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from datetime import timedelta

from keepstate_server import logs
from keepstate_server.app import Service
from keepstate_server.backing import open_embedded
from keepstate_server.embedded import EmbeddedSidecar
from keepstate_server.lifecycle import run_until_signal
from keepstate_server.orders import END_STORE, REPORT_SECONDS, Report, ServeCalls, ServeStore, received
from keepstate_server.running import exit_code_of

__all__ = ["main"]

_FROM_PARENT, _TO_PARENT = 0, 1


def main() -> None:
    """Does what the parent says, until a signal."""
    try:
        with os.fdopen(_FROM_PARENT, "rb", closefd=False) as pipe:
            order = received(pipe)
    except EOFError:
        sys.exit(1)
    os.set_blocking(_TO_PARENT, False)  # a parent that was stopped for hours takes no more: that holds up nobody
    threading.Thread(target=_end_with_parent, name="keepstate-parent", daemon=True).start()
    process: _Worker | _Store = _Worker(order) if isinstance(order, ServeCalls) else _Store(order)
    settings = order.settings
    logs.configure(level=settings.log_level, as_json=settings.log_format == "json", worker=process.name)
    sys.exit(exit_code_of(lambda: run_until_signal(process.start, process.stop, signals=process.signals)))


class _Worker:
    """Serves callers."""

    signals = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, order: ServeCalls) -> None:
        self.name = order.worker
        self._service = Service(order.settings, shared_port=True, on_ready=_tell_readiness)
        self._reporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._service.start()
        self._reporting = asyncio.create_task(_report(self._service.port))

    async def stop(self) -> None:
        await self._service.stop()
        await _end(self._reporting)


class _Store:
    """Is the workers' sidecar."""

    name = "embedded"
    signals = (END_STORE,)

    def __init__(self, order: ServeStore) -> None:
        for number in _Worker.signals:
            signal.signal(number, signal.SIG_IGN)
        self._order = order
        self._sidecar: EmbeddedSidecar | None = None
        self._reporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        order = self._order
        self._sidecar = await open_embedded(
            order.settings, api_token=order.api_token, grpc_port=order.grpc_port, shared_port=True
        )
        self._reporting = asyncio.create_task(_report(int(self._sidecar.grpc_address.rpartition(":")[2])))

    async def stop(self) -> None:
        if self._sidecar is not None:
            await self._sidecar.stop(timedelta(seconds=1))
        await _end(self._reporting)


def _tell_readiness(ready: bool) -> None:
    _tell(Report.READY if ready else Report.NOT_READY)


async def _report(port: int) -> None:
    """Says once that the process listens, and then again and again that it lives."""
    _tell(f"{Report.LISTENS} {port}")
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        _tell(Report.LIVES)


async def _end(reporting: asyncio.Task[None] | None) -> None:
    if reporting is not None:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # the parent has died, and the process is about to end, or takes no more
        os.write(_TO_PARENT, f"{line}\n".encode())


def _end_with_parent() -> None:
    """In a thread, so that it also ends a process whose event loop is held up."""
    while os.read(_FROM_PARENT, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
