"""Processes that are watched: a real one, which serves the embedded store."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from keepstate_server import children
from keepstate_server.children import Child
from keepstate_server.config import Settings
from keepstate_server.orders import ServeStore
from keepstate_server.running import AlreadyTold
from tests.support.processes import children_of, is_gone

MakeStore = Callable[[Path], Child]


@pytest.fixture
async def changed() -> asyncio.Condition:
    return asyncio.Condition()


@pytest.fixture
async def make_store(changed: asyncio.Condition) -> AsyncIterator[MakeStore]:
    made: list[Child] = []
    telling: set[asyncio.Task[None]] = set()

    async def tell() -> None:
        async with changed:
            changed.notify_all()

    def make(data: Path) -> Child:
        async def order() -> ServeStore:
            return ServeStore(settings=Settings(data=data), grpc_port=0, api_token="a token")

        made.append(Child("store", order, lambda: telling.add(asyncio.ensure_future(tell()))))
        return made[-1]

    yield make
    for each in made:
        each.terminate()
        await each.ended(seconds=20)


def own_children() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if not is_gone(pid)]


async def until(changed: asyncio.Condition, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60), changed:
        await changed.wait_for(holds)


async def started(starting: Awaitable[int]) -> int:
    """Starts it, and returns its process."""
    before = own_children()
    assert await starting > 0
    (pid,) = set(own_children()) - set(before)
    return pid


async def test_one_that_hangs_is_killed_and_replaced(
    make_store: MakeStore, changed: asyncio.Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_SILENT_SECONDS", 3.0)  # it reports each 2 s
    store = make_store(tmp_path)
    pid = await started(store.start())
    os.kill(pid, signal.SIGSTOP)
    await until(changed, lambda: not store.live)
    assert is_gone(pid)
    await until(changed, lambda: store.live)


async def test_one_that_cannot_start_at_first_is_not_started_again(make_store: MakeStore) -> None:
    before = own_children()
    with pytest.raises(AlreadyTold, match="exit code 78"):
        await make_store(Path("/dev/null")).start()
    assert own_children() == before


async def test_one_that_ends_while_it_waits_to_be_started_again_stays_ended(
    make_store: MakeStore, changed: asyncio.Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(children, "_LONGEST_PAUSE_SECONDS", 600.0)
    store = make_store(tmp_path)
    os.kill(await started(store.start()), signal.SIGKILL)
    await until(changed, lambda: not store.live)
    before = own_children()
    store.terminate()
    await store.ended(seconds=5)
    assert own_children() == before
