"""The synchronous client in processes: forks, Ctrl-C, and an end without a close."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from tests.unit.client.fake_service import FakeService


async def start(program: str, address: str) -> asyncio.subprocess.Process:
    code = f"from keepstate import sync\nstate = sync.Client({address!r})\n{program}"
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-c", code, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def run(program: str, address: str) -> tuple[int | None, str, str]:
    process = await start(program, address)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_a_program_that_closes_nothing_ends_at_once_and_quietly(address: str) -> None:
    assert await run("state.put('a', 1)\nprint(state.get('a'))", address) == (0, "1\n", "")


async def test_what_a_program_does_at_its_end_may_still_call_and_close(address: str) -> None:
    program = """
import atexit
atexit.register(state.close)
atexit.register(lambda: print(state.get('a')))
state.put('a', 1)
"""
    assert await run(program, address) == (0, "1\n", "")


async def test_a_call_after_the_programs_end_says_so(address: str) -> None:
    program = """
class Last:
    def __del__(self):
        try:
            state.close()
        except RuntimeError as error:
            print(error)
last = Last()
state.put('a', 1)
"""
    told = "the interpreter is ending, and has ended the work of synchronous clients\n"
    assert await run(program, address) == (0, told, "")


async def test_a_thread_that_still_waits_keeps_no_program_alive(address: str, hanging: asyncio.Event) -> None:
    program = """
import threading
threading.Thread(target=state.get, args=['a'], daemon=True).start()
input()
"""
    process = await start(program, address)
    async with asyncio.timeout(30):
        await hanging.wait()
        await process.communicate(b"\n")
    assert process.returncode == 0


async def test_ctrl_c_ends_a_call_that_waits_and_the_service_learns_of_it(address: str, service: FakeService) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    service.script.append(hang)
    program = """
try:
    state.put('a', 1)
except KeyboardInterrupt:
    print('interrupted')
print(state.get('a', default='nothing'))
"""
    process = await start(program, address)
    async with asyncio.timeout(30):
        await arrived.wait()
        process.send_signal(signal.SIGINT)
        await gone.wait()
        out, err = await process.communicate()
    assert (process.returncode, out.decode(), err.decode()) == (0, "interrupted\nnothing\n", "")


async def test_ctrl_c_ends_a_transaction_that_waits(address: str, hanging: asyncio.Event) -> None:
    program = """
try:
    state.transaction(lambda tx: tx.get('a'))
except KeyboardInterrupt:
    print('interrupted')
"""
    process = await start(program, address)
    async with asyncio.timeout(30):
        await hanging.wait()
        process.send_signal(signal.SIGINT)
        out, _ = await process.communicate()
    assert (process.returncode, out.decode()) == (0, "interrupted\n")


FORK = """
import os, sys
def forked(work):
    child = os.fork()
    if child == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


async def test_a_client_made_before_forks_writes_as_another_client_in_each_process(
    address: str, service: FakeService
) -> None:
    program = FORK + "for name in 'ab':\n    forked(lambda: state.put(name, 1))\nstate.put('c', 1)"
    assert await run(program, address) == (0, "", "")
    clients = {request.request.client for request in service.requests("Put")}
    assert len(clients) == 3
    assert {at[-1] for at in service.records} == {"a", "b", "c"}


async def test_a_client_used_before_a_fork_is_refused_after_it_and_goes_on_in_the_parent(address: str) -> None:
    program = """
state.put('a', 1)
def use():
    for each in (state, sync.Client()):
        try:
            each.get('a')
        except RuntimeError as error:
            print(error)
forked(use)
print(state.get('a'))
"""
    returned, out, _ = await run(FORK + program, address)
    first, second, last = out.splitlines()
    assert first == second
    assert "used before this process was forked" in first
    assert (returned, last) == (0, "1")
