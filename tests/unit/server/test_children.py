"""Processes that are watched: a real one, which serves the embedded store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from keepstate_server import children
from keepstate_server.children import Child
from keepstate_server.config import Settings
from keepstate_server.orders import END_STORE, REPORT_SECONDS, ServeStore, sent
from keepstate_server.running import AlreadyTold
from tests.support.apps import eventually
from tests.support.processes import children_of, is_gone, listens_on

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

        made.append(Child("store", order, lambda: telling.add(asyncio.ensure_future(tell())), end=END_STORE))
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
    monkeypatch.setattr(children, "_MISSING_REPORTS", 2)
    store = make_store(tmp_path)
    pid = await started(store.start())
    os.kill(pid, signal.SIGSTOP)
    await until(changed, lambda: not store.live)
    assert is_gone(pid)
    await until(changed, lambda: store.live)


async def test_one_whose_parent_stood_still_does_not_hang(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_MISSING_REPORTS", 3)
    store = make_store(tmp_path)
    pid = await started(store.start())
    reported = asyncio.Event()
    monkeypatch.setattr(store, "_take", lambda *_: reported.set())
    time.sleep(3 * REPORT_SECONDS + 1)  # noqa: ASYNC251 - as if it were stopped: nothing moves the loop's clock
    async with asyncio.timeout(30):
        await reported.wait()
    assert not is_gone(pid)
    assert store.live


def test_one_that_reports_to_nobody_who_listens_goes_on_and_ends_when_told(tmp_path: Path) -> None:
    ours, its = os.pipe()
    os.set_blocking(its, False)
    with suppress(BlockingIOError):
        while True:
            os.write(its, b"x" * 4096)
    os.set_blocking(its, True)
    command = [sys.executable, "-P", "-m", "keepstate_server.worker"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=its) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(sent(ServeStore(settings=Settings(data=tmp_path), grpc_port=port, api_token="t")))
            process.stdin.flush()
            eventually(lambda: listens_on(process.pid, port))
            process.send_signal(END_STORE)
            assert process.wait(20) == 0
        finally:
            process.kill()
    os.close(ours)
    os.close(its)


async def test_when_there_can_be_no_process_the_start_fails(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    async with asyncio.timeout(20):
        with pytest.raises(AlreadyTold):
            await make_store(tmp_path).start()


async def test_when_there_can_be_no_other_process_for_a_while_there_is_one_later(
    make_store: MakeStore, changed: asyncio.Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)
    pid = await started(store.start())
    refused = 0

    async def refuse(*_: object, **__: object) -> Process:
        nonlocal refused
        refused += 1
        if refused == 2:
            monkeypatch.undo()
        raise BlockingIOError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    os.kill(pid, signal.SIGKILL)
    await until(changed, lambda: not store.live)
    await until(changed, lambda: store.live)
    assert refused == 2


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
