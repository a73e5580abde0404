"""One set of cases for every store, each on a real service over a real sidecar.

Each case names the promise it shows, `@pytest.mark.promise(4)`. No store is excused from any.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
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
from tests.unit.embedded.driver import Caller

STORES = ("embedded", "redis", "postgresql", "sqlite", "memory")


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A running service, its clock, and the sidecar behind it for looking and for writing as another program would."""

    service: Service
    target: str
    channel: grpc.aio.Channel
    clock: MovableClock
    sidecar: Sidecar
    address: SidecarAddress


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
    options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
    try:
        await sidecar.connect()
        await service.start()
        async with asyncio.timeout(30):
            await service.wait_ready()
        target = f"127.0.0.1:{service.port}"
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            yield Backend(
                service=service, target=target, channel=channel, clock=clock, sidecar=sidecar, address=address
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


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """The store that the case runs on."""
    return str(request.param)


@pytest.fixture
def backend(store: str, request: pytest.FixtureRequest) -> Backend:
    found = request.getfixturevalue("embedded_backend" if store == "embedded" else "dapr_backend")
    assert isinstance(found, Backend)
    return found


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
    terminalreporter.write_line(f"{'promise':>8}  " + "  ".join(f"{name:>11}" for name in STORES))
    for number in sorted({number for number, _ in _RESULTS}):
        cells = [_cell(number, name) for name in STORES]
        terminalreporter.write_line(f"{number:>8}  " + "  ".join(f"{cell:>11}" for cell in cells))


def _cell(number: int, name: str) -> str:
    outcomes = _RESULTS.get((number, name), [])
    if "failed" in outcomes:
        return f"{outcomes.count('failed')} FAILED"
    passed = outcomes.count("passed")
    return f"{passed}" if passed == len(outcomes) and passed else f"{passed} of {len(outcomes)}"
