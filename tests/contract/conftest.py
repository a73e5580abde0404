"""One set of cases for every store, each on a real service over a real sidecar.

Each case names the promise it shows, `@pytest.mark.promise(4)`. No store is excused from any.

On Redis and PostgreSQL, one of each way in which stores are used, cases also run with gathering off, and through two
workers of one `keepstate serve`, each call through the other one than the call before. These are the cases that do
nothing but call the API. What needs a clock to be moved, or an instance of its own, runs as above alone.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2
from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from keepstate_server.embedded import EmbeddedSidecar
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.sidecar import Sidecar
from tests.contract.api import Api, new_request
from tests.support.processes import children_of, connections_of
from tests.support.service import ServiceProcess
from tests.unit.embedded.driver import Caller

STORES = ("embedded", "redis", "postgresql", "sqlite", "memory")

UNGATHERED, WORKERS = ", ungathered", ", 2 workers"
VARIANTS = tuple(f"{store}{variant}" for variant in (UNGATHERED, WORKERS) for store in ("redis", "postgresql"))
_CALLS_ALONE = {"api", "store", "request_id", "program"}
"""What a case may ask for to run in the variants, besides its own parameters."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A running service, its clock, and the sidecar behind it for looking and for writing as another program would."""

    instance: Service | None
    """None: it is a process of its own."""
    target: str
    channel: grpc.aio.Channel
    clock: MovableClock
    sidecar: Sidecar
    address: SidecarAddress

    @property
    def service(self) -> Service:
        """The instance, which runs in the tests' process."""
        assert self.instance is not None
        return self.instance


_OPTIONS = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]


@asynccontextmanager
async def running_service(
    address: SidecarAddress, *, clock: MovableClock | None = None, collects: bool = False, **settings: Any
) -> AsyncIterator[Backend]:
    """Runs a service beside the sidecar at `address`; without `clock`, it has one of its own.

    As a rule it does not collect: the stores are the whole run's, and by a clock that a case moved ahead others' living
    records are dead.
    """
    clock = clock or MovableClock()
    service = Service(
        Settings(
            listen="127.0.0.1:0",
            http_listen=None,
            sidecar=SidecarKind.DAPR,
            dapr_grpc_endpoint=address.grpc,
            dapr_http_endpoint=address.http,
            dapr_api_token=address.api_token,
            notice=timedelta(milliseconds=1),
            **settings,
        ),
        clock=clock,
        collects=collects,
    )
    sidecar = Sidecar(address, max_message_bytes=16 * 1024 * 1024)
    try:
        await sidecar.connect()
        await service.start()
        async with asyncio.timeout(30):
            await service.wait_ready()
        target = f"127.0.0.1:{service.port}"
        async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
            yield Backend(
                instance=service, target=target, channel=channel, clock=clock, sidecar=sidecar, address=address
            )
    finally:
        await service.stop()
        await sidecar.close()


@asynccontextmanager
async def embedded_sidecar(folder: Path) -> AsyncIterator[SidecarAddress]:
    embedded = EmbeddedSidecar(path=folder / "embedded.db", api_token="a token")
    await embedded.start()
    yield SidecarAddress(grpc=embedded.grpc_address, http=f"http://{embedded.http_address}", api_token="a token")
    await embedded.stop()


@pytest.fixture(scope="session")
async def embedded_address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SidecarAddress]:
    async with embedded_sidecar(tmp_path_factory.mktemp("embedded")) as address:
        yield address


@pytest.fixture(scope="session")
async def embedded_backend(embedded_address: SidecarAddress) -> AsyncIterator[Backend]:
    async with running_service(embedded_address) as backend:
        yield backend


@pytest.fixture(scope="session")
async def dapr_address(containers: Any) -> SidecarAddress:
    return SidecarAddress(grpc=containers.daprd.grpc_target, http=containers.daprd.http_endpoint)


@pytest.fixture(scope="session")
async def dapr_backend(dapr_address: SidecarAddress) -> AsyncIterator[Backend]:
    async with running_service(dapr_address) as backend:
        yield backend


@pytest.fixture(scope="session")
async def ungathered_backend(dapr_address: SidecarAddress) -> AsyncIterator[Backend]:
    async with running_service(dapr_address, gathering=False) as backend:
        yield backend


@pytest.fixture(scope="session")
async def workers_backend(
    dapr_address: SidecarAddress, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backend]:
    assert dapr_address.http is not None
    with socket.socket() as free, socket.socket() as another:
        for each in (free, another):
            each.bind(("127.0.0.1", 0))
        ports = free.getsockname()[1], another.getsockname()[1]
    process = ServiceProcess(
        tmp_path_factory.mktemp("workers"),
        ports,
        {
            "KEEPSTATE_WORKERS": "2",
            "KEEPSTATE_NOTICE": "1ms",
            "DAPR_GRPC_ENDPOINT": dapr_address.grpc,
            "DAPR_HTTP_ENDPOINT": dapr_address.http,
        },
    )
    sidecar = Sidecar(dapr_address, max_message_bytes=16 * 1024 * 1024)
    async with AsyncExitStack() as stack:
        stack.callback(process.close)
        await asyncio.to_thread(process.start)
        await sidecar.connect()
        stack.push_async_callback(sidecar.close)
        yield Backend(
            instance=None,
            target=process.address,
            channel=await _one_to_each(process, ports[0], stack),
            clock=MovableClock(),
            sidecar=sidecar,
            address=dapr_address,
        )
        assert await asyncio.to_thread(process.end) == 0


async def _one_to_each(process: ServiceProcess, port: int, stack: AsyncExitStack) -> Any:
    """What calls through connections to both workers in turn."""
    taken: dict[int, grpc.aio.Channel] = {}
    for _ in range(60):  # the kernel spreads connections by chance
        before = {pid: connections_of(pid, port) for pid in children_of(process.process.pid)}
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(process.address, options=[*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
        )
        await channel.channel_ready()
        for pid, count in before.items():
            if connections_of(pid, port) > count:
                taken.setdefault(pid, channel)
        if len(taken) == 2:
            return _Alternating([*taken.values()])
    raise AssertionError(process.log.read_text())


class _Alternating:
    """As much of a channel as stubs need: each call goes through the next of several."""

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._channels = channels

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        methods = itertools.cycle([each.unary_unary(*arguments, **options) for each in self._channels])

        def call(*request: Any, **more: Any) -> Any:
            return next(methods)(*request, **more)

        return call


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Has a case run on every store, and in the variants, unless it says itself on what."""
    own = {
        name.strip()
        for marker in metafunc.definition.iter_markers("parametrize")
        for name in (marker.args[0].split(",") if isinstance(marker.args[0], str) else marker.args[0])
    }
    if "store" not in metafunc.fixturenames or "store" in own or "stores" in metafunc.fixturenames:
        return
    asked = set(inspect.signature(metafunc.function).parameters) - own
    variants = VARIANTS if asked <= _CALLS_ALONE else ()
    metafunc.parametrize("store", (*STORES, *variants), indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """The store that the case runs on."""
    return str(request.param).partition(",")[0]


@pytest.fixture
def backend(store: str, request: pytest.FixtureRequest) -> Backend:
    found = request.getfixturevalue(_backend_for(store, request))
    assert isinstance(found, Backend)
    return found


def _backend_for(store: str, request: pytest.FixtureRequest) -> str:
    callspec = getattr(request.node, "callspec", None)
    chosen = str(callspec.params.get("store", "")) if callspec else ""
    if chosen.endswith(UNGATHERED):
        return "ungathered_backend"
    if chosen.endswith(WORKERS):
        return "workers_backend"
    return "embedded_backend" if store == "embedded" else "dapr_backend"


@pytest.fixture
def api(backend: Backend, store: str, request: pytest.FixtureRequest) -> Api:
    """The API on the case's store, with keys of its own."""
    return Api(backend.channel, store, re.sub(r"\W+", "-", request.node.name))


@pytest.fixture
async def program(backend: Backend, store: str) -> AsyncIterator[Caller]:
    """A plain Dapr program: it speaks to the sidecar alone."""
    token = backend.address.api_token
    async with grpc.aio.insecure_channel(backend.address.grpc) as channel:
        yield Caller.on(channel, store=store, metadata=(("dapr-api-token", token),) if token else ())


@pytest.fixture
def clock(backend: Backend) -> MovableClock:
    return backend.clock


@pytest.fixture
def request_id(clock: MovableClock) -> Callable[[], record_pb2.RequestId]:
    """Makes identifiers of requests that are first sent now."""
    return lambda: new_request(clock.now())


@pytest.fixture
def another(backend: Backend, store: str) -> Callable[[], Any]:
    """Starts one more instance, of the same time, beside the same sidecar: `async with another() as its_backend`."""
    del store
    return lambda: running_service(backend.address, clock=backend.clock)


async def eventually(holds: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    """Waits until `holds()`, asking again and again, for what a store does in its own time."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.1)


# The report: a line a promise, a column a store.

_RESULTS: dict[tuple[int, str], list[str]] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report: Any = yield
    marker = item.get_closest_marker("promise")
    callspec = getattr(item, "callspec", None)
    name = callspec.params.get("store") if callspec else None
    if marker and name and (report.when == "call" or report.outcome != "passed"):
        for number in marker.args:
            _RESULTS.setdefault((number, name), []).append(report.outcome)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _RESULTS:
        return
    terminalreporter.section("contract: cases passed, by promise and store")
    numbers = sorted({number for number, _ in _RESULTS})
    columns = [*STORES, *(name for name in VARIANTS if any(name == seen for _, seen in _RESULTS))]
    rows = [columns, *([_cell(number, name) for name in columns] for number in numbers)]
    for number, cells in zip(("promise", *numbers), rows, strict=True):
        padded = [f"{cell:>{max(len(name), 11)}}" for name, cell in zip(columns, cells, strict=True)]
        terminalreporter.write_line(f"{number:>8}  " + "  ".join(padded))


def _cell(number: int, name: str) -> str:
    outcomes = _RESULTS.get((number, name), [])
    if "failed" in outcomes:
        return f"{outcomes.count('failed')} FAILED"
    passed = outcomes.count("passed")
    return f"{passed}" if passed == len(outcomes) and passed else f"{passed} of {len(outcomes)}"
