"""``keepstate serve`` with several workers: a parent that starts them, watches them, and tells of their health.

It speaks no gRPC itself. All workers listen on one port, among which the kernel spreads connections.
"""

import asyncio
import secrets

import structlog

from keepstate_server.children import Child
from keepstate_server.config import BadConfiguration, Settings, SidecarKind
from keepstate_server.http_health import HttpHealth
from keepstate_server.orders import END_STORE, ServeCalls, ServeStore
from keepstate_server.ports import ReservedPort

__all__ = ["Supervisor"]

_log = structlog.get_logger(__name__)

_LAST_SECONDS = 5.0
"""What a process may take to end besides notice and drain."""


class Supervisor:
    """Runs ``settings.workers`` workers, and one embedded store for all of them where that is used."""

    def __init__(self, settings: Settings) -> None:
        """Opens nothing before ``start``."""
        self._settings = settings
        self._ready = asyncio.Event()
        self._all_are_ready = False
        self._stopping = False
        self._http: HttpHealth | None = None
        self._reserved: ReservedPort | None = None
        self._store_reserved: ReservedPort | None = None
        self._store: Child | None = None
        self._store_token = secrets.token_hex(16)  # other users of the machine can reach its port, but not the records
        self._store_port: asyncio.Future[int] | None = None
        self._workers: list[Child] = []
        self.port = 0
        """The gRPC port, once started."""

    async def start(self) -> None:
        """Listens. The first worker goes first: what is wrong for one is wrong for all, and is told once.

        Raises:
            BadConfiguration: a port is taken.
            AlreadyTold: the embedded store or the first worker could not start.
        """
        settings = self._settings
        self._reserved = self._reserve()
        self.port = self._reserved.port
        self._workers = [self._make_worker(number + 1) for number in range(settings.workers)]
        first, *others = self._workers
        if settings.uses_embedded:
            self._store_reserved = ReservedPort("127.0.0.1", 0)
            self._store_port = asyncio.get_running_loop().create_future()
            self._store = Child("embedded", self._order_for_store, lambda: None, end=END_STORE)
            # The first worker is started beside it, and waits for its port.
            starting = asyncio.ensure_future(first.start())
            self._store_port.set_result(await self._store.start())
            await starting
        else:
            await first.start()
        if settings.http_listen:
            self._http = HttpHealth(settings.http_listen, self._ready, live=self._lives)
            await self._http.start()
        for worker in others:
            worker.begin()

    async def stop(self) -> None:
        """Has all workers end at once, and then the store, and kills those that take too long."""
        self._stopping = True
        self._look()
        if self._store_port is not None:
            self._store_port.cancel()
        for worker in self._workers:
            worker.terminate()
        settings = self._settings
        seconds = (settings.notice + settings.drain).total_seconds() + _LAST_SECONDS
        await asyncio.gather(*(worker.ended(seconds=seconds) for worker in self._workers))
        if self._store is not None:
            self._store.terminate()
            await self._store.ended(seconds=_LAST_SECONDS)
        if self._http is not None:
            await self._http.stop()
        for reserved in (self._reserved, self._store_reserved):
            if reserved is not None:
                reserved.close()
        _log.info("stopped")

    def _reserve(self) -> ReservedPort:
        address = self._settings.listen
        host, _, port = address.rpartition(":")
        try:
            return ReservedPort(host.strip("[]"), int(port))
        except OSError:
            raise BadConfiguration(f"KEEPSTATE_LISTEN: cannot listen on {address}: it may be taken") from None

    def _make_worker(self, number: int) -> Child:
        host = self._settings.listen.rpartition(":")[0]
        settings = self._settings.model_copy(update={"listen": f"{host}:{self.port}", "http_listen": None})

        async def order() -> ServeCalls:
            return ServeCalls(worker=f"{number}", settings=await self._with_store(settings))

        return Child(f"{number}", order, self._look)

    async def _with_store(self, settings: Settings) -> Settings:
        """Names the embedded store, once it listens, as the sidecar; leaves any other as it is."""
        if self._store_port is None:
            return settings
        return settings.model_copy(
            update={
                "sidecar": SidecarKind.DAPR,
                "dapr_grpc_endpoint": f"127.0.0.1:{await asyncio.shield(self._store_port)}",
                "dapr_http_endpoint": None,
                "dapr_http_port": None,
                "dapr_api_token": self._store_token,
            }
        )

    async def _order_for_store(self) -> ServeStore:
        assert self._store_reserved is not None
        port = self._store_reserved.port
        return ServeStore(settings=self._settings, grpc_port=port, api_token=self._store_token)

    def _lives(self) -> bool:
        return any(worker.live for worker in self._workers)

    def _look(self) -> None:
        """Takes in what the workers have become."""
        ready = [worker.ready and not self._stopping for worker in self._workers]
        if all(ready) and not self._all_are_ready:
            _log.info("serving", workers=len(ready))
        if any(ready):
            self._ready.set()
        elif self._ready.is_set():
            self._ready.clear()
            if not self._stopping:
                _log.warning("not serving: no worker is ready")
        self._all_are_ready = all(ready)
