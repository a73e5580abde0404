"""The service within a test's process."""

from __future__ import annotations

__all__ = ["KeepstateService", "MovableClock"]

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from pydantic_settings import PydanticBaseSettingsSource

from keepstate._clock import forget_times
from keepstate._loop_thread import perform, running_loop
from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from keepstate_server.domain.times import Instant, SystemClock, in_milliseconds
from keepstate_server.embedded import EmbeddedSidecar

_START_SECONDS = 10.0


class MovableClock:
    """The machine's clock, which a test may move on. Never back: the service counts on that."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._moved = 0

    def now(self) -> Instant:
        """The time, in milliseconds since 1970."""
        return Instant(self._system.now() + self._moved)

    def advance(self, duration: timedelta) -> None:
        """Let so much time pass at once, in whole milliseconds.

        The clients in this process ask for the time before their next write. One in another process learns it by its
        next answer; a write that it sends before is taken for one that was long under way.

        Raises:
            ValueError: the duration is negative.
        """
        if duration < timedelta(0):
            raise ValueError(f"duration must not be negative: {duration}")
        self._moved += in_milliseconds(duration)
        forget_times()


class _GivenSettings(Settings):
    """Settings that are given alone: a test's outcome must not hang on the environment."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[Any], init_settings: PydanticBaseSettingsSource, *others: object, **more: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes what the constructor is given."""
        del settings_cls, others, more
        return (init_settings,)


class KeepstateService:
    """The whole service, on a store in memory, at a free port of this machine's loopback.

    It is entered by ``with``, by ``async with``, or started and stopped by hand; each start begins with an empty store
    and takes some hundredths of a second. It runs in a thread of its own, the one that synchronous clients have too,
    so that any number of event loops and threads may call it, one test after another.

    The environment does not reach it: no setting of ``KEEPSTATE_*`` or ``DAPR_*`` counts.
    """

    def __init__(self, *, store: str = "embedded") -> None:
        """Start nothing yet.

        Args:
            store: the name of its one store, which is also the default store.
        """
        self.clock = MovableClock()
        """The service's time. Moving it lets records expire without waiting."""
        self._store = store
        self._address = ""
        self._running: AsyncExitStack | None = None

    @property
    def address(self) -> str:
        """Host and port, as ``Client`` takes them.

        Raises:
            RuntimeError: it does not run.
        """
        if self._running is None:
            raise RuntimeError("the service does not run: enter it by with or async with, or call start")
        return self._address

    def start(self) -> Self:
        """Start it, and wait until it serves.

        Raises:
            RuntimeError: it runs already; or this thread runs an event loop, where it is ``async with``.
        """
        if self._running is not None:
            raise RuntimeError("the service runs already")
        self._running = perform(self._start())
        return self

    def stop(self) -> None:
        """Stop it, and drop its store. What does not run is let be."""
        if self._running is not None:
            running_loop()  # where this thread may not wait, it runs on
            running, self._running = self._running, None
            perform(running.aclose())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    async def _start(self) -> AsyncExitStack:
        async with AsyncExitStack() as starting:
            # By the same clock, so that the store also drops what is long dead.
            sidecar = EmbeddedSidecar(
                path=None,
                store_name=self._store,
                http_port=None,
                clock=lambda: self.clock.now() / 1000,
            )
            starting.push_async_callback(sidecar.stop, timedelta(seconds=1))
            await sidecar.start()
            settings = _GivenSettings(
                listen="127.0.0.1:0",
                http_listen=None,
                sidecar=SidecarKind.DAPR,
                dapr_grpc_endpoint=sidecar.grpc_address,
                notice=timedelta(milliseconds=1),
                drain=timedelta(seconds=1),
            )
            service = Service(settings, clock=self.clock)
            starting.push_async_callback(service.stop)
            await service.start()
            async with asyncio.timeout(_START_SECONDS):
                await service.wait_ready()
            self._address = f"127.0.0.1:{service.port}"
            return starting.pop_all()
        raise AssertionError("unreachable")
