"""The program of a language: a process that makes the calls that the suite tells it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
LANGUAGES = ("python", "go", "java", "node")

BUILD_SECONDS = 1800
"""How long a language's script may take: it may have to install the language first."""

_ANSWER_SECONDS = 60
_END_SECONDS = 20
_LINE_BYTES = 64 << 20  # a batch's answer, in base64


class Gone(Exception):
    """The program ended, or said what the suite does not understand."""


def command_of(language: str) -> list[str]:
    """The command that runs a language's program, which is built first.

    Raises:
        Gone: it could not be built; the text says why.
    """
    if language == "python":
        return [sys.executable, str(Path(__file__).with_name("python_program.py"))]
    script = ROOT / "scripts" / f"client-{language}.sh"
    if not script.exists():
        raise Gone(f"there is no {script.relative_to(ROOT)}")
    done = subprocess.run(
        [script, "conformance"], cwd=ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise Gone(f"{script.name} conformance: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()


class Call:
    """A command that was given to the program."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.paused = asyncio.Event()
        """Set while the function of a transaction waits."""


class Program:
    """Runs a command and speaks to it by lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self.gone = ""
        """Why no more commands can be given to it. Empty: they can."""
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: list[str]) -> Self:
        """Start it. Its standard error goes where the suite's does."""
        # A client that took a proxy for this machine's loopback would get nowhere.
        nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("KEEPSTATE_", "DAPR_")) and name.lower() not in ("no_proxy", "no_grpc_proxy")
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=kept | nowhere,
            limit=_LINE_BYTES,
        )
        return cls(process)

    async def begin(self, command: Mapping[str, Any]) -> Call:
        """Give it a command.

        Raises:
            Gone: it has ended.
        """
        if self.gone:
            raise Gone(self.gone)
        call = Call(next(self._numbers))
        self._calls[call.number] = call
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"id": call.number, **command}).encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError as error:
            raise Gone("the program has ended") from error
        return call

    async def do(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Give it a command and wait for the answer: `{"ok": …}` or `{"error": …}`."""
        return await self.answer_of(await self.begin(command))

    async def answer_of(self, call: Call) -> dict[str, Any]:
        """Wait for the answer to a command.

        Raises:
            Gone: there is none.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await call.answer
        except TimeoutError:
            raise Gone(f"no answer to command {call.number} within {_ANSWER_SECONDS} s") from None

    async def end(self) -> int:
        """End its input, and return its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                code = await self._process.wait()
                await self._reading
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise Gone(f"it did not end within {_END_SECONDS} s of the end of its input") from None
        return code

    async def _read(self) -> None:
        assert self._process.stdout is not None
        gone = "the program has ended"
        while line := await self._process.stdout.readline():
            try:
                said = json.loads(line)
                call = self._calls[said["id"]]
            except (ValueError, KeyError, TypeError):
                gone = f"the program said what is no answer: {line[:200]!r}"
                break
            if "paused" in said:
                call.paused.set()
            else:
                del self._calls[call.number]
                if not call.answer.done():
                    call.answer.set_result(said)
        self.gone = gone
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(Gone(gone))
