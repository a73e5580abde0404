"""Each recipe on Redis and PostgreSQL, through two instances at once, by a real clock, with and without asyncio.

A case is written once, against the asynchronous recipe; `made` makes it of that or of the synchronous one.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import pytest

import keepstate.recipes.sync
from keepstate import Client, Retry, State, sync
from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from tests.support.lossy import LossyNetwork, lossy_network

P = ParamSpec("P")
R = TypeVar("R")

STORES = ("redis", "postgresql")
STYLES = ("asynchronous", "synchronous")


@dataclass(frozen=True, kw_only=True)
class View:
    """One instance's records of a case, by both clients."""

    asynchronous: State[Any]
    synchronous: sync.State[Any]


async def _instance(containers: Any) -> Service:
    service = Service(
        Settings(
            listen="127.0.0.1:0",
            http_listen=None,
            sidecar=SidecarKind.DAPR,
            dapr_grpc_endpoint=containers.daprd.grpc_target,
            dapr_http_endpoint=containers.daprd.http_endpoint,
            notice=timedelta(milliseconds=1),
        )
    )
    await service.start()
    async with asyncio.timeout(30):
        await service.wait_ready()
    return service


@pytest.fixture(scope="session")
async def addresses(containers: Any) -> AsyncIterator[list[str]]:
    """Two instances beside one sidecar."""
    services = [await _instance(containers) for _ in range(2)]
    yield [f"127.0.0.1:{service.port}" for service in services]
    for service in services:
        await service.stop()


@pytest.fixture(scope="session")
async def clients(addresses: list[str]) -> AsyncIterator[list[tuple[Client[Any], sync.Client[Any]]]]:
    """The clients of each instance."""
    found = [(Client(address), sync.Client(address)) for address in addresses]
    yield found
    for asynchronous, synchronous in found:
        await asynchronous.close()
        await asyncio.to_thread(synchronous.close)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """The store that the case runs on."""
    return str(request.param)


@pytest.fixture(params=STYLES)
def style(request: pytest.FixtureRequest) -> str:
    """Whether the case runs with asyncio or without."""
    return str(request.param)


@pytest.fixture
def namespace() -> str:
    """The case's alone, whatever others are called."""
    return f"case-{uuid4()}"


@pytest.fixture
def views(clients: Any, store: str, namespace: str) -> tuple[View, View]:
    """The case's records, through each instance."""
    one, other = (
        View(
            asynchronous=asynchronous.store(store).namespace(namespace),
            synchronous=synchronous.store(store).namespace(namespace),
        )
        for asynchronous, synchronous in clients
    )
    return one, other


@pytest.fixture
def one(views: tuple[View, View]) -> View:
    """The case's records through one instance."""
    return views[0]


@pytest.fixture
def other(views: tuple[View, View]) -> View:
    """The same records through the other instance."""
    return views[1]


@dataclass(frozen=True, kw_only=True)
class Mortal(View):
    """A program of its own with the case's records, which may die."""

    die: Callable[[], Awaitable[None]]
    """Cuts short what its clients do; nothing comes of them any more."""

    network: LossyNetwork
    """What lies between its clients and both instances."""


@asynccontextmanager
async def _program(addresses: list[str], store: str, namespace: str, retry: Retry | None) -> AsyncIterator[Mortal]:
    async with lossy_network(*addresses) as (network, address):
        asynchronous = Client(address, store=store, namespace=namespace, retry=retry)
        synchronous = sync.Client(address, store=store, namespace=namespace, retry=retry)

        async def die() -> None:
            await asynchronous.close()
            await asyncio.to_thread(synchronous.close)

        yield Mortal(asynchronous=asynchronous, synchronous=synchronous, die=die, network=network)
        await die()


@pytest.fixture
async def mortal(addresses: list[str], store: str, namespace: str) -> AsyncIterator[Mortal]:
    """The same records through clients that the case may close, and whose answers it may lose. They repeat nothing."""
    async with _program(addresses, store, namespace, None) as program:
        yield program


@pytest.fixture
async def lossy(addresses: list[str], store: str, namespace: str) -> AsyncIterator[Mortal]:
    """The same records through clients that every third answer does not reach, and that ask again."""
    quickly = Retry(initial=timedelta(milliseconds=2), limit=timedelta(milliseconds=50))
    async with _program(addresses, store, namespace, quickly) as program:
        program.network.loses = lambda number: number % 3 == 0
        yield program


@pytest.fixture
def state(one: View) -> State[Any]:
    """The same records, to look at and to write past the recipe."""
    return one.asynchronous


Make = Callable[Concatenate[Callable[Concatenate[Any, P], R], View, P], R]


@pytest.fixture
def made(style: str) -> Any:
    """Makes a recipe of a view: `made(recipes.Records, one, "user")`.

    A synchronous one is called in a thread, and functions that it is given, though they are asynchronous, are functions
    without asyncio to it.
    """

    def make(kind: Any, view: View, *arguments: Any, **named: Any) -> Any:
        if style == "asynchronous":
            return kind(view.asynchronous, *arguments, **named)
        synchronous = getattr(keepstate.recipes.sync, kind.__name__)
        return InThreads(synchronous(view.synchronous, *plain(arguments), **plain(named)))

    return make


@pytest.fixture
def calls(style: str) -> Callable[[View], Any]:
    """A view's own calls: `calls(one).transaction(function)`."""
    return lambda view: view.asynchronous if style == "asynchronous" else InThreads(view.synchronous)


# For 64 calls at once, whose functions call again, and theirs once more: each waits in a thread of its own.
_THREADS = ThreadPoolExecutor(256, thread_name_prefix="case")


class InThreads:
    """Something synchronous, used as if it were asynchronous: each call runs in a thread."""

    def __init__(self, synchronous: Any) -> None:
        self._synchronous = synchronous

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._synchronous, name)
        if not callable(found):
            return found
        asynchronous = getattr(getattr(self._synchronous, "_asynchronous", None), name, None)
        if asynchronous is not None and inspect.isasyncgenfunction(inspect.unwrap(asynchronous)):
            return lambda *arguments, **named: _entered(found(*plain(arguments), **plain(named)))
        if asynchronous is not None and not inspect.iscoroutinefunction(asynchronous):
            return found  # needs no waiting in either form
        return lambda *arguments, **named: _in_thread(found, *plain(arguments), **plain(named))


async def _in_thread(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    loop = asyncio.get_running_loop()
    return _shown(await loop.run_in_executor(_THREADS, lambda: function(*arguments, **named)))


@asynccontextmanager
async def _entered(manager: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """What is there for a body, which is asynchronous."""
    found = await _in_thread(manager.__enter__)
    try:
        yield found
    except Exception as error:
        if not await _in_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await _in_thread(manager.__exit__, None, None, None)


def _shown(given: Any) -> Any:
    """What a synchronous recipe gives, as if it were asynchronous."""
    waits = isinstance(given, sync.Transaction) or type(given).__module__.startswith("keepstate.recipes.sync.")
    return InThreads(given) if waits else given


def plain(given: Any) -> Any:
    """Arguments as a synchronous recipe takes them."""
    if isinstance(given, tuple):
        return tuple(plain(each) for each in given)
    if isinstance(given, dict):
        return {name: plain(each) for name, each in given.items()}
    if isinstance(given, InThreads):
        return given._synchronous
    if not inspect.iscoroutinefunction(given):
        return given
    loop = asyncio.get_running_loop()

    def call(*arguments: Any, **named: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(given(*map(_shown, arguments), **named), loop).result(60)

    return call
