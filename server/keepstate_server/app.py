"""The service, composed: sidecar, engine, servicers, health."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from keepstate.v1 import state_service_pb2, store_service_pb2
from keepstate_server.backing import MAX_MESSAGE_BYTES, Backing
from keepstate_server.config import BadConfiguration, Settings
from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.times import Clock, SystemClock
from keepstate_server.engine.engine import Engine
from keepstate_server.http_health import HttpHealth
from keepstate_server.rpc.admission import Admission
from keepstate_server.rpc.edge import Edge
from keepstate_server.rpc.registration import add_service
from keepstate_server.rpc.sidecar_health import add_sidecar_health
from keepstate_server.rpc.state import StateServicer
from keepstate_server.rpc.stores import StoreServicer
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.sidecar import Sidecar
from keepstate_server.stores.time_limit import TimeLimit
from keepstate_server.tls import Certificates

__all__ = ["Service"]

_log = structlog.get_logger(__name__)

_SERVICES = (
    "",
    state_service_pb2.DESCRIPTOR.services_by_name["StateService"].full_name,
    store_service_pb2.DESCRIPTOR.services_by_name["StoreService"].full_name,
)

# How often the sidecar is asked whether it is still there, and how long it may take to answer.
_WATCH_SECONDS = 2.0


class _Health(health.aio.HealthServicer):  # type: ignore[misc]  # the library has no types
    """grpc.health.v1, whose watches end when the service stops: each would hold it up for all of the drain.

    The library's own Watch also forgets the other watchers of a service as soon as one goes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()
        self._over = False

    async def set(self, service: str, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        await super().set(service, status)
        self._tell()

    async def Watch(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        told = None
        while True:
            changed = self._changed  # before the status is looked at, so that no change is missed
            unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            status = self._server_status.get(request.service, unknown)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            if self._over:
                return
            await changed.wait()

    def end_watches(self) -> None:
        """Ends those that are open once they have told the last status, and each later one."""
        self._over = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Service:
    """One instance of the service, in one process, whatever ``settings.workers`` says. It is used on one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        collects: bool = True,
        shared_port: bool = False,
        on_ready: Callable[[bool], None] | None = None,
    ) -> None:
        """Opens nothing before ``start``.

        Args:
            settings: all but the number of workers.
            clock: tells the time; else the machine's does.
            collects: whether it deletes dead records, by its ``clock``: one that is ahead takes living ones for dead.
            shared_port: others listen on the port too, on purpose, and each gets some of the connections.
            on_ready: called with whether it serves, each time that this changes.
        """
        self._settings = settings
        self._collects = collects
        self._clock = clock or SystemClock()
        self._shared_port = shared_port
        self._on_ready = on_ready
        self._backing: Backing | None = None
        self._server: grpc.aio.Server | None = None
        self._http: HttpHealth | None = None
        self._health = _Health()
        self._watching: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.port = 0
        """The gRPC port, once started."""

    async def start(self) -> None:
        """Listens; answers NOT_SERVING until the sidecar does.

        Raises:
            BadConfiguration: a port is taken, a certificate or its key is none, the embedded store's file cannot be
                used, or a sidecar's address is none.
        """
        settings = self._settings
        backing = self._backing = await Backing.open(settings, clock=self._clock)
        self._server = self._make_server(backing.engine, backing.catalog)
        self.port = self._listen(self._server)
        await self._set_serving(False)
        await self._server.start()
        if settings.http_listen:
            self._http = HttpHealth(settings.http_listen, self._ready)
            await self._http.start()
        self._watching = asyncio.create_task(self._watch(backing.sidecar, backing.catalog))
        self._looking = asyncio.create_task(self._look(backing.catalog))
        if self._collects:
            self._sweeping = asyncio.create_task(self._sweep(backing.engine, backing.catalog))

    async def wait_ready(self) -> None:
        """Waits until the sidecar answers."""
        await self._ready.wait()

    async def stop(self) -> None:
        """Takes no more calls, lets those under way end, and closes everything. Safe after a failed start."""
        was_ready = self._ready.is_set()
        for task in (self._watching, self._looking, self._sweeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._set_serving(False)
        if was_ready:
            _log.info("stopping: not serving any more")
            await asyncio.sleep(self._settings.notice.total_seconds())  # callers go elsewhere before they are refused
        self._health.end_watches()
        drain = TimeLimit(self._settings.drain.total_seconds())
        if self._server is not None:
            await self._server.stop(drain.left)
        if self._backing is not None:
            # A caller that went away does not end what was begun for it.
            await self._backing.drain(timeout=drain.left)
        if self._http is not None:
            await self._http.stop()
        if self._backing is not None:
            await self._backing.close()
        _log.info("stopped")

    def _listen(self, server: grpc.aio.Server) -> int:
        address, tls = self._settings.listen, self._settings.tls
        try:
            if tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, Certificates(tls).credentials)
        except RuntimeError:
            raise BadConfiguration(f"KEEPSTATE_LISTEN: cannot listen on {address}: it may be taken") from None

    def _make_server(self, engine: Engine, catalog: Catalog) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(self._shared_port)),  # else a second service on the port shall be noticed
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", 1000),
                # What arrives before its call is looked at is kept by the library: of each call no more than this, and
                # so many calls. It would drop those beyond, without a reason that callers could read.
                ("grpc.http2.lookahead_bytes", 16 * 1024),
                ("grpc.http2.bdp_probe", 0),  # else the former grows
                ("grpc.server.max_pending_requests", settings.concurrent_calls),
                ("grpc.server.max_pending_requests_hard_limit", 2 * settings.concurrent_calls),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        admission = Admission(most_calls=settings.concurrent_calls, most_bytes=settings.concurrent_bytes)
        edge = Edge(
            admission,
            clock=self._clock,
            default_seconds=settings.default_deadline.total_seconds(),
            longest_seconds=settings.longest_deadline.total_seconds(),
        )
        state = StateServicer(edge, engine, catalog, settings=settings.engine, limits=settings.limits)
        add_service(server, state_service_pb2.DESCRIPTOR.services_by_name["StateService"], state, admission)
        stores = StoreServicer(edge, catalog)
        add_service(server, store_service_pb2.DESCRIPTOR.services_by_name["StoreService"], stores, admission)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        add_sidecar_health(server)
        if settings.reflection:
            names = (*_SERVICES[1:], health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return server

    async def _watch(self, sidecar: Sidecar, catalog: Catalog) -> None:
        """Says SERVING while the sidecar answers, for as long as the service runs."""
        while True:
            pause = _WATCH_SECONDS
            try:
                await sidecar.connect()
                await catalog.refresh(timeout=_WATCH_SECONDS)
                serving = True
            except KeepstateError:
                serving, pause = False, 0.1
            except Exception:  # noqa: BLE001 - nobody would learn that the watch ended
                _log.exception("cannot tell whether the sidecar answers")
                serving = False
            if serving != self._ready.is_set():
                if serving:
                    _log.info("serving")
                else:
                    _log.warning("not serving: the sidecar does not answer")
                await self._set_serving(serving)
            await asyncio.sleep(pause)

    async def _look(self, catalog: Catalog) -> None:
        """Looks at the stores as soon as the sidecar answers, so that no first write has to wait for that.

        And again and again at those that are only read: whoever would write them is refused before they are looked at.
        """
        await self._ready.wait()
        look = catalog.look_at_all
        while True:
            try:
                await look()
            except Exception:  # noqa: BLE001 - nobody would learn that the looking ended
                _log.exception("cannot look at the stores")
            look = catalog.look_again
            await asyncio.sleep(_WATCH_SECONDS)

    async def _sweep(self, engine: Engine, catalog: Catalog) -> None:
        """Collects dead records in all stores, for as long as the service runs."""
        await self._ready.wait()
        interval = engine.sweep_interval.total_seconds()
        while True:
            # At random, so that instances that were started together do not sweep together.
            await asyncio.sleep(random.uniform(0.5, 1.0) * interval)  # noqa: S311 - nothing secret
            for store in catalog.names:
                try:
                    await engine.sweep(store)
                except Exception:  # noqa: BLE001 - nobody would learn that the sweeping ended
                    _log.exception("cannot collect dead records", store=store)

    async def _set_serving(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in _SERVICES:
            await self._health.set(name, status)
        if serving == self._ready.is_set():
            return
        if serving:
            self._ready.set()
        else:
            self._ready.clear()
        if self._on_ready is not None:
            self._on_ready(serving)
