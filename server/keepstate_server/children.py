"""A process that the supervisor starts, and starts again whenever it ends."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from keepstate_server.orders import REPORT_SECONDS, Report, ServeCalls, ServeStore, sent
from keepstate_server.running import AlreadyTold

__all__ = ["Child"]

_log = structlog.get_logger(__name__)

_Order = Callable[[], Awaitable[ServeCalls | ServeStore]]

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_LIVED_SECONDS = 10.0
"""Whoever lived so long is replaced at once, others after a pause that doubles each time."""
_MISSING_REPORTS = 15
"""Whoever reported and then lets so many reports in a row be missing hangs, and is killed."""


class Child:
    """One process at a time, under one name."""

    def __init__(
        self, name: str, order: _Order, changed: Callable[[], None], *, end: signal.Signals = signal.SIGTERM
    ) -> None:
        """Each process is told what ``order`` returns then; ``changed`` is called when ``live`` or ``ready`` changes.

        Its lines of the log have the same ``name``. The signal ``end`` has it end.
        """
        self._name = name
        self._order = order
        self._changed = changed
        self._end = end
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._first: asyncio.Future[int] | None = None
        self._stopping = asyncio.Event()
        self.live = False
        """Whether it listens."""
        self.ready = False
        """Whether it says that it is ready."""

    async def start(self) -> int:
        """Starts it, and returns the port that it listens on.

        Raises:
            AlreadyTold: it ended instead. It is not started again.
        """
        self._first = asyncio.get_running_loop().create_future()
        self.begin()
        return await self._first

    def begin(self) -> None:
        """Starts it, and goes on to start it however it ends."""
        self._keeping = asyncio.create_task(self._keep())

    def terminate(self) -> None:
        """Tells it to end; it is not started again."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(self._end)
        elif self._keeping is not None:
            self._keeping.cancel()  # it is between two processes

    async def ended(self, *, seconds: float) -> None:
        """Waits until it has ended, which it must be told first; after ``seconds`` it is killed."""
        if self._keeping is None:
            return
        await asyncio.wait([self._keeping], timeout=seconds)
        self._kill()
        await asyncio.gather(self._keeping, return_exceptions=True)

    async def _keep(self) -> None:
        pause = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            try:
                code = await self._run_once()
            except Exception:  # noqa: BLE001 - such as that there may be no more processes just then
                _log.exception("cannot run a process", worker=self._name)
                code = 1
            self._say(live=False, ready=False)
            if self._stopping.is_set():
                return
            if self._first is not None and not self._first.done():
                self._first.set_exception(AlreadyTold(self._name, code))
                return
            lived = loop.time() - began >= _LIVED_SECONDS
            pause = 0.0 if lived else min(max(2 * pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            _log.warning("a process ended: starting another", worker=self._name, exit_code=code, after_seconds=pause)
            await asyncio.sleep(pause)

    async def _run_once(self) -> int:
        """Runs one process to its end; returns its exit code."""
        # A session of its own: Ctrl-C at the terminal is the parent's to hear, who lets all end in their turn. Nothing
        # is imported from the folder that it happens to be started in.
        command = [sys.executable, "-P", "-m", "keepstate_server.worker"]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        self._process = process
        try:
            if self._stopping.is_set():  # was told while it was being started
                process.send_signal(self._end)
            assert process.stdin is not None
            with suppress(ConnectionError):  # it has ended: so does what follows
                process.stdin.write(sent(await self._order()))
                await process.stdin.drain()
            await self._listen(process)
            return await process.wait()
        finally:
            self._kill()

    async def _listen(self, process: Process) -> None:
        """Takes its reports until there are no more, or it hangs."""
        assert process.stdout is not None
        patience = None  # a start takes as long as it takes
        missing = 0
        while missing < _MISSING_REPORTS:
            try:
                async with asyncio.timeout(patience):
                    line = await process.stdout.readline()
            except TimeoutError:
                # Counted one by one: where the parent stood still itself, it is one, and what came meanwhile is read.
                missing += 1
                continue
            if not line:
                return
            patience, missing = REPORT_SECONDS, 0
            self._take(*line.decode().split())
        _log.error("a process hangs: killed", worker=self._name, silent_seconds=missing * REPORT_SECONDS)
        self._kill()

    def _take(self, report: str, port: str = "0") -> None:
        match report:
            case Report.LISTENS:
                if self._first is not None and not self._first.done():
                    self._first.set_result(int(port))
                self._say(live=True, ready=self.ready)
            case Report.READY | Report.NOT_READY:
                self._say(live=self.live, ready=report == Report.READY)

    def _say(self, *, live: bool, ready: bool) -> None:
        if (live, ready) != (self.live, self.ready):
            self.live, self.ready = live, ready
            self._changed()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
