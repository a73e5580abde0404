"""Runs a case: gives the program its commands, and compares what it answers and what the network has seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from keepstate.testing import MovableClock
from keepstate_server.domain.times import Instant
from tests.conformance.cases import Case, Command, Step, Waiting
from tests.conformance.faults import Fault
from tests.conformance.network import Network, Seen, Wire, network
from tests.conformance.notation import Scene, differences, resolved, shortened
from tests.conformance.program import CLOSE_SECONDS, Call, Program
from tests.support.service import ServiceProcess

CASE_SECONDS = 45
"""How long a case may take."""

_WAIT_SECONDS = 15


class StageClock(MovableClock):
    """A clock that can also be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self._stopped: Instant | None = None

    def now(self) -> Instant:
        """The time, in milliseconds since 1970."""
        return super().now() if self._stopped is None else self._stopped

    def stop(self) -> None:
        """Let no time pass but by `advance`."""
        self._stopped = self.now()

    def go(self) -> None:
        """Go on, from the time that it would be by now: never back."""
        if self._stopped is not None:
            behind, self._stopped = self._stopped - super().now(), None
            super().advance(timedelta(milliseconds=max(0, behind)))

    def advance(self, duration: timedelta) -> None:
        """Let so much time pass at once."""
        if self._stopped is None:
            super().advance(duration)
        else:
            self._stopped = Instant(self._stopped + duration // timedelta(milliseconds=1))


@dataclass(frozen=True, kw_only=True)
class Site:
    """Two instances of the service beside one sidecar."""

    channels: Sequence[grpc.aio.Channel]
    clock: MovableClock

    def now(self) -> datetime:
        """The service's time."""
        return datetime.fromtimestamp(self.clock.now() / 1000, UTC)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all cases share: the service, certificates, and the service as a process."""

    still: Site
    """Its time is the machine's."""
    moved: Site
    """For cases that move its time, which nobody else's may be."""
    clock: StageClock
    """Of what is moved."""
    credentials: Mapping[str, grpc.ServerCredentials]
    """Of the networks that speak TLS, by name."""
    files: Mapping[str, Path]
    """The certificates that clients may have, by name."""
    process: ServiceProcess
    """With the machine's time."""


class Failed(AssertionError):
    """A case does not hold."""


async def run(case: Case, program: Program, stage: Stage, namespace: str) -> None:
    """Run a case in a namespace of its own.

    Raises:
        Failed: it does not hold; the text says at which step and why.
        Gone: the program is gone.
    """
    moves = any(step.advance_ms is not None or step.clock is not None for step in case.steps)
    site = stage.moved if moves else stage.still
    async with _running(program, stage, site, namespace) as running:
        number = 0
        try:
            async with asyncio.timeout(CASE_SECONDS):
                for name in case.clients:
                    await running.connect(name, case)
                for number, step in enumerate(case.steps, 1):  # noqa: B007 - told below
                    await running.do(step)
            running.check_faults()
        except TimeoutError:
            raise Failed(f"step {number} of {case.law!r}: the case took longer than {CASE_SECONDS} s") from None
        except _Differs as error:
            raise Failed(f"step {number} of {case.law!r}: {error}") from None


class _Differs(Exception):
    """What was found is not what is expected."""


@asynccontextmanager
async def _running(program: Program, stage: Stage, site: Site, namespace: str) -> AsyncIterator[_Running]:
    async with AsyncExitStack() as stack:
        wire = Wire(now=site.now)
        running = _Running(program=program, stage=stage, site=site, namespace=namespace, stack=stack, wire=wire)
        try:
            yield running
        finally:
            running.wire.released.set()
            stage.clock.go()
            for client in () if program.gone else running.connected:
                await program.do({"do": "close", "client": client}, CLOSE_SECONDS)


@dataclass(kw_only=True)
class _Running:
    program: Program
    stage: Stage
    site: Site
    namespace: str
    stack: AsyncExitStack
    wire: Wire
    networks: dict[tuple[str, tuple[int, ...]], Network] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)
    background: dict[str, Call] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scene = Scene(now=self.wire.told, saved={"namespace": self.namespace})

    async def connect(self, name: str, case: Case) -> None:
        """Make a client of the case."""
        client = case.clients[name]
        if client.via == "process":
            address = self.stage.process.address
        else:
            address = (await self._way(client.via, tuple(client.instances))).relay.address
        options = dict(client.options)
        await self._perform(Command(do="connect", fields={"client": name, "address": address, **options}))

    async def do(self, step: Step) -> None:
        """Do one step."""
        match step:
            case Step(command=Command() as command):
                await self._perform(command)
            case Step(at_once=list() as commands):
                await self._at_once(commands, step.outcomes)
            case Step(answer=Command() as command):
                call = self.background.pop(command.background or "")
                self._compare(command, await self.program.answer_of(call))
            case Step(cancel=str() as name):
                await self.program.do({"do": "cancel", "call": self.background[name].number})
            case Step(paused=str() as name):
                await self._wait_for_pause(name)
            case Step(resume=str() as name):
                await self.program.do({"do": "resume", "call": self.background[name].number})
            case Step(process=str() as what):
                await self._process(what)
            case Step(wait_for=Waiting() as waiting):
                await self._wait_for(waiting)
            case Step(seen=str() as method):
                self._compare_seen(method, step.calls)
            case _:
                await self._change(step)

    async def _change(self, step: Step) -> None:
        """Change what is around the client."""
        match step:
            case Step(fault=Fault() as fault):
                self.wire.faults.append(fault.model_copy())
            case Step(network=str() as what):
                await self._change_network(what)
            case Step(advance_ms=int() as number):
                self.stage.clock.advance(timedelta(milliseconds=number))
            case Step(clock="stop"):
                self.stage.clock.stop()
            case Step(shift_ms=int() as number):
                self.wire.shift = timedelta(milliseconds=number)
            case Step(connections=int() as number):
                found = sum(each.relay.connections for each in self.networks.values())
                if found != number:
                    raise _Differs(f"{found} connections, expected {number}")
            case Step(forget=True):
                self.wire.seen.clear()

    async def _change_network(self, what: str) -> None:
        for way in self.networks.values():
            match what:
                case "cut":
                    way.relay.cut()
                case "down":
                    await way.relay.close()
                case "up":
                    await way.relay.open()
        if what == "release":
            self.wire.released.set()

    async def _way(self, via: str, instances: tuple[int, ...]) -> Network:
        if (via, instances) not in self.networks:
            channels = [self.site.channels[number - 1] for number in instances]
            way = network(self.wire, channels, self.stage.credentials.get(via))
            self.networks[via, instances] = await self.stack.enter_async_context(way)
        return self.networks[via, instances]

    async def _perform(self, command: Command) -> None:
        call = await self.program.begin(self._line(command))
        if command.background is not None:
            self.background[command.background] = call
            return
        answer = await self.program.answer_of(call)
        if command.do == "connect" and "ok" in answer:
            self.connected.append(command.client)
        if command.do == "close" and "ok" in answer:
            self.connected.remove(command.client)
        self._compare(command, answer)

    def _line(self, command: Command) -> dict[str, Any]:
        try:
            line: dict[str, Any] = resolved({"do": command.do, "client": command.client, **command.fields}, self.scene)
        except KeyError as error:
            raise _Differs(f"nothing was saved as {error}") from None
        if command.do == "connect":
            line.setdefault("namespace", self.namespace)
            if "tls" in line:
                files = self.stage.files
                line["tls"] = {
                    name: value if name == "server_name" else str(files[value]) for name, value in line["tls"].items()
                }
        return line

    async def _at_once(self, commands: Sequence[Command], outcomes: Mapping[str, int] | None) -> None:
        calls = [await self.program.begin(self._line(command)) for command in commands]
        answers = [await self.program.answer_of(call) for call in calls]
        if outcomes is not None:
            found = Counter("ok" if "ok" in each else each["error"]["type"] for each in answers)
            if found != Counter(outcomes):
                raise _Differs(f"outcomes: {dict(found)}, expected {dict(outcomes)}")
            return
        for command, answer in zip(commands, answers, strict=True):
            self._compare(command, answer)

    def _compare(self, command: Command, answer: Mapping[str, Any]) -> None:
        """Compare an answer with what is expected of it."""
        error = answer.get("error")
        if command.fails is not None:
            if error is None:
                raise _Differs(f"{command.do} gave {shortened(answer.get('ok'))}, expected the error {command.fails}")
            problems = list(differences(command.fails, error, self.scene, "error"))
        elif error is not None:
            raise _Differs(f"{command.do} failed: {error}")
        elif command.gives is None:
            problems = []
        else:
            problems = list(differences(command.gives, answer.get("ok"), self.scene))
        if problems:
            raise _Differs("; ".join([*problems, f"the whole answer: {shortened(dict(answer))}"]))

    def _compare_seen(self, method: str, expected: Any) -> None:
        found = [_told(seen) for seen in self.wire.seen if seen.method == method]
        if problems := list(differences(expected, found, self.scene, method)):
            raise _Differs("; ".join(problems))

    def check_faults(self) -> None:
        """What was to happen to calls has happened, to one at least."""
        if unmet := [fault for fault in self.wire.faults if not fault.met]:
            raise _Differs(f"there was no call for the fault {unmet[0].model_dump(exclude_defaults=True)}")

    async def _wait_for_pause(self, name: str) -> None:
        call = self.background[name]
        pause = asyncio.create_task(call.paused.wait())
        either: set[asyncio.Future[Any]] = {pause, call.answer}
        await asyncio.wait(either, timeout=_WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not pause.done():
            pause.cancel()
            said = shortened(call.answer.result()) if call.answer.done() else f"nothing within {_WAIT_SECONDS} s"
            raise _Differs(f"the function of {name} has not paused; its call answered {said}")

    async def _wait_for(self, waiting: Waiting) -> None:
        def holds() -> bool:
            calls = [seen for seen in self.wire.seen if seen.method == waiting.of]
            return (
                len(calls) >= waiting.calls
                and sum(seen.ended is not None for seen in calls) >= waiting.ended
                and sum(seen.cancelled for seen in calls) >= waiting.cancelled
            )

        try:
            async with asyncio.timeout(_WAIT_SECONDS), self.wire.changed:
                await self.wire.changed.wait_for(holds)
        except TimeoutError:
            raise _Differs(f"the network has not seen {waiting!r} within {_WAIT_SECONDS} s") from None

    async def _process(self, what: str) -> None:
        process = self.stage.process
        match what:
            case "kill":
                await asyncio.to_thread(process.close)
            case "stop":
                await asyncio.to_thread(process.end)
            case "start":
                try:
                    await asyncio.to_thread(_start, process)
                except TimeoutError as error:  # not the case's
                    raise _Differs(str(error)) from None
            case "begin":
                process.begin()


def _start(process: ServiceProcess) -> None:
    """Start the process unless it runs, and wait until it is ready."""
    if not process.runs:
        process.begin()
    process.wait_until("ready")


def _told(seen: Seen) -> dict[str, Any]:
    """What was seen of a call, as cases speak of it."""
    requests = [
        {
            "client": str(request.client),
            "number": str(request.number),
            "first_sent": request.first_sent.ToJsonString(),
            "attempt": request.attempt,
            "age_ms": seen.told_ms - request.first_sent.ToNanoseconds() / 1e6,
        }
        for request in seen.requests
    ]
    return {
        "message": json_format.MessageToDict(seen.message, preserving_proto_field_name=True),
        "request": requests[0] if len(requests) == 1 else None,
        "requests": requests,
        "metadata": dict(seen.metadata),
        "deadline_ms": seen.deadline_ms,
        "pause_ms": seen.pause_ms,
        "cancelled": seen.cancelled,
    }
