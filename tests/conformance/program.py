"""The program of a language: a process that makes the calls that the suite tells it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
LANGUAGES = ("python", "go", "java", "node")

BUILD_SECONDS = 1800
"""How long a language's script may take: it may have to install the language first."""

ANSWER_SECONDS = 60
CLOSE_SECONDS = 20
_END_SECONDS = 20
_TIMES_GONE = 3
"""How often a program may go before its language has failed: each time may cost as long as a case may take."""

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
    with subprocess.Popen(
        [script, "conformance"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that it ends with all that it started
    ) as building:
        try:
            said, complaints = building.communicate(timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise Gone(f"{script.name} conformance: not done within {BUILD_SECONDS} s") from None
        finally:
            if building.poll() is None:
                os.killpg(building.pid, signal.SIGKILL)
    if building.returncode != 0 or not said.strip():
        raise Gone(f"{script.name} conformance: exit code {building.returncode}\n{complaints[-2000:]}")
    return said.splitlines()


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
        self.told = False
        """Whether a caller has been told that it is gone."""
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
            start_new_session=True,  # so that it ends with all that it started
        )
        return cls(process)

    async def begin(self, command: Mapping[str, Any]) -> Call:
        """Give it a command.

        Raises:
            Gone: it has ended.
        """
        if self.gone:
            raise self._gone()
        call = Call(next(self._numbers))
        self._calls[call.number] = call
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"id": call.number, **command}).encode() + b"\n")
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._process.stdin.drain()
        except (ConnectionError, TimeoutError):
            await asyncio.wait({self._reading}, timeout=1)  # which tells with what it ended
            self._lose("the program takes no more commands")
            raise self._gone() from None
        return call

    async def do(self, command: Mapping[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Give it a command and wait for the answer: `{"ok": …}` or `{"error": …}`.

        Raises:
            Gone: there is none.
        """
        return await self.answer_of(await self.begin(command), seconds)

    async def answer_of(self, call: Call, seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        """Wait for the answer to a command. A program that gives none is ended: it may hang.

        Raises:
            Gone: there is none.
        """
        await asyncio.wait({call.answer}, timeout=seconds)
        if not call.answer.done():
            self._lose(f"no answer to command {call.number} within {seconds} s")
        if self.gone and call.answer.exception():
            raise self._gone()
        return call.answer.result()

    async def end(self) -> int:
        """End its input, and return its exit code.

        Raises:
            Gone: it did not end.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                code = await self._process.wait()
                await self._reading
        except TimeoutError:
            self._kill()
            await self._process.wait()
            raise Gone(f"it did not end within {_END_SECONDS} s of the end of its input") from None
        return code

    async def _read(self) -> None:
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                self._take(line)
        except ValueError as error:  # also for a line that is too long
            self._lose(f"the program said what is no answer: {error}")
            while await self._process.stdout.read(1 << 16):  # up to its end, or the pipe stays open
                pass
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        assert self._process.stdin is not None
        if self._process.returncode != 0 or self._calls or not self._process.stdin.is_closing():
            self._lose(f"the program has ended, with exit code {self._process.returncode}")

    def _take(self, line: bytes) -> None:
        """Hand an answer to who waits for it.

        Raises:
            ValueError: it is none.
        """
        said = json.loads(line)
        number = said.get("id") if isinstance(said, dict) else None
        call = self._calls.get(number) if isinstance(number, int) else None
        if call is None:
            raise ValueError(f"to no command that waits for one: {line[:200]!r}")
        match said:
            case {"paused": str()}:
                call.paused.set()
                return
            case {"ok": dict(), **rest} if "error" not in rest:
                pass
            case {"error": {"type": str()}, **rest} if "ok" not in rest:
                pass
            case _:
                raise ValueError(f"neither ok nor error: {line[:200]!r}")
        del self._calls[call.number]
        call.answer.set_result(said)

    def _lose(self, why: str) -> None:
        """Give no more commands to it, and tell all who wait."""
        self.gone = self.gone or why
        self._kill()
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(Gone(self.gone))
                call.answer.exception()  # who does not wait for it need not be told
        self._calls.clear()

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _gone(self) -> Gone:
        self.told = True
        return Gone(self.gone)


class Programs:
    """The programs of the languages, each started at its first use, and anew where a case has lost it."""

    def __init__(self, commands: Mapping[str, list[str] | Gone]) -> None:
        self._commands = dict(commands)
        self._running: dict[str, Program] = {}
        self._lost: Counter[str] = Counter()

    async def of(self, language: str) -> Program:
        """The program of a language.

        Raises:
            Gone: there is none, or it went when no case was looking, or too often.
        """
        if (running := self._running.get(language)) is not None and running.gone:
            del self._running[language]
            await running.end()
            self._lost[language] += 1
            if self._lost[language] == _TIMES_GONE:
                self._commands[language] = Gone(f"it is not started again, since it went {_TIMES_GONE} times")
            if not running.told:
                raise Gone(f"after the case before: {running.gone}")
        if language not in self._running:
            self._running[language] = await self._started(language)
        return self._running[language]

    async def _started(self, language: str) -> Program:
        why = self._commands[language]
        if not isinstance(why, Gone):
            try:
                return await _greeted(language, why)
            except (Gone, OSError) as error:
                why = Gone(str(error))
        self._commands[language] = Gone(f"as before: {str(why).splitlines()[0]}")
        raise why

    async def end(self) -> None:
        """End them all.

        Raises:
            Gone: one did not end as it should.
        """
        wrong = {}
        for language, program in self._running.items():
            if program.gone and program.told:
                continue
            try:
                await program.end()
            except Gone as error:
                wrong[language] = str(error)
            if program.gone:
                wrong[language] = program.gone
        if wrong:
            raise Gone(f"at the end of all: {wrong}")


async def _greeted(language: str, command: list[str]) -> Program:
    """A program that has said that it is of this language."""
    program = await Program.start(command)
    match answer := await program.do({"do": "hello"}):
        case {"ok": {"language": str() as said, "version": str()}} if said == language:
            return program
    await program.end()
    raise Gone(f"it answered hello with {answer}")
