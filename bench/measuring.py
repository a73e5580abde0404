"""What rows are measured with, and how one is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Literal, TypeAlias

import grpc
from dapr.aio.clients import DaprClient
from dapr.clients.exceptions import DaprGrpcError, DaprInternalError
from dapr.conf import settings as dapr_settings

from bench import cpu
from bench.load import Load, Measured, run
from bench.outcomes import Found, Outcome
from bench.rig import Rig
from bench.rounds import take_turns
from bench.rows import Row, Turn
from bench.sides import Direct, Keepstate, Side
from keepstate import Bytes, Client, KeepstateError
from tests.support.service import ServiceProcess

__all__ = ["FAILED", "WORKERS", "Bench", "Scale", "gathering", "opened", "work"]

Gathering: TypeAlias = Literal["both", "client", "service", "none"]

FAILED = (
    ExceptionGroup,
    KeepstateError,
    DaprGrpcError,
    DaprInternalError,
    grpc.RpcError,
    subprocess.SubprocessError,
    OSError,
    RuntimeError,
)
"""What keeps a row from being measured. The others go on."""

WORKERS = str(len(os.sched_getaffinity(0)))
"""As many as the service has by default."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How long is measured."""

    rounds: int = 5
    seconds: float = 1.5
    """Of one side in a round."""

    most_keys: int = 1_000_000
    """No row has more."""

    quick: bool = False

    gathering: Gathering = "both"
    """Who may gather calls that run at the same time. By default both do."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Both sides, and where their processor time is read."""

    on: Rig
    service: ServiceProcess
    direct: DaprClient
    client: Client[bytes]
    scale: Scale
    filled: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """How many records there are already, by store, side and label."""

    def spent(self, store: str) -> dict[str, float]:
        """Seconds of processor time so far, by where they were spent."""
        service = cpu.of_process(self.service.process.pid)
        return {
            "client": cpu.of_process(os.getpid()) - service,
            "service": service,
            "daprd": cpu.of_container(self.on.sidecar.get_wrapped_container()),
            "store": cpu.of_container(self.on.server(store).get_wrapped_container()),
        }

    async def row(self, row: Row, store: str) -> Outcome:
        """Measures a row."""
        outcome = partial(Outcome, row=row.name, store=store, measure=row.measure, bar=row.bars.get(store))
        try:
            found = await self.found(row, store, rounds=self.scale.rounds, seconds=self.scale.seconds)
        except FAILED as error:
            return outcome(missing=repr(error))
        return outcome(figures=found.ratios(row.measure, "keepstate", "direct"), found=found)

    async def found(self, row: Row, store: str, *, rounds: int, seconds: float) -> Found:
        """Writes the records that a row begins with, warms up, and runs the rounds."""
        value = os.urandom(row.size)
        sides: Mapping[str, Side] = {"direct": Direct(self.direct, store), "keepstate": Keepstate(self.client, store)}
        rounds_of: dict[str, Callable[[], Awaitable[Measured]]] = {}
        for name, side in sides.items():
            label = (row.label or row.name).replace(" ", "-")
            keys = [f"bench:{name}:{label}:{number:07}" for number in range(min(row.keys, self.scale.most_keys))]
            if row.filled:
                known = self.filled.get((store, name, label), 0)
                await side.fill(keys[known:], value)
                self.filled[store, name, label] = max(known, len(keys))
            load = Load(operation=work(row, side, keys, value), callers=row.callers, seconds=seconds, counts=row.counts)
            await run(Load(operation=load.operation, callers=row.callers, seconds=min(1.0, seconds)))  # warms up
            rounds_of[name] = partial(run, load)
        return await take_turns(rounds_of, rounds=rounds, spent=partial(self.spent, store))


def work(row: Row, side: Side, keys: list[str], value: bytes) -> Callable[[int, int], Awaitable[object]]:
    """What the callers of a row do, each round going on where the one before ended.

    If each began anew the keys of a round would be those of the last one, and what the service remembers of these
    would make cold ones warm.
    """
    numbers = [count() for _ in range(row.callers)]
    return lambda caller, _: row.work(Turn(side, keys, value, caller, next(numbers[caller])))


def gathering(scale: Scale) -> dict[str, str]:
    """The service's setting for it."""
    return {"KEEPSTATE_GATHERING": str(scale.gathering in {"both", "service"}).lower()}


@asynccontextmanager
async def opened(on: Rig, scale: Scale) -> AsyncIterator[Bench]:
    """Starts a service beside the containers, and one client of each side: its own channel, all of its callers."""
    service = on.process({"KEEPSTATE_WORKERS": WORKERS, **gathering(scale)})
    try:
        service.start()
        if not scale.quick:
            await on.settled(service)
        # Where the SDK asks for the sidecar's health.
        setattr(dapr_settings, "DAPR_HTTP_ENDPOINT", on.sidecar.http_endpoint)  # noqa: B010 - mypy knows it not
        async with (
            DaprClient(address=on.sidecar.grpc_target) as direct,
            Client(service.address, codec=Bytes(), gather=scale.gathering in {"both", "client"}) as client,
        ):
            yield Bench(on=on, service=service, direct=direct, client=client, scale=scale)
    finally:
        service.close()
