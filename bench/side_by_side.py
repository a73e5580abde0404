"""DaprClient alone and the Keepstate client, in one run, row by row: `python -m bench.side_by_side`.

Each row is run in rounds, the two sides in turn, on the same sidecar and the same store. Its ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from dapr.aio.clients import DaprClient
from dapr.conf import settings as dapr_settings

from bench import cpu
from bench.load import Load, Measured, run
from bench.rig import Rig, rig
from bench.rows import ROWS, Bar, Row, Turn
from bench.sides import Direct, Keepstate, Side
from keepstate import Bytes, Client
from tests.support.service import ServiceProcess

SUMMARY = Path(__file__).parent / "out" / "summary.json"
STORES = ("redis", "postgresql")


@dataclass(kw_only=True)
class Outcome:
    """What the rounds of a row on a store found."""

    row: str
    store: str
    bar: Bar | None
    ratios: list[float] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    microseconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Of processor time an operation, by side and by where it was spent."""

    latency: bool = False

    @property
    def ratio(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool:
        """Whether it reached its bar. What has none has."""
        if self.bar is None:
            return True
        return self.ratio <= self.bar.least if self.latency else self.ratio >= self.bar.least

    def __str__(self) -> str:
        """One line of the table."""
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        direct, ours = (statistics.median(self.rates[side]) for side in ("direct", "keepstate"))
        bar = "" if self.bar is None else f"{self.bar.least:g} ({self.bar.aim:g})"
        verdict = "" if self.bar is None else ("reached" if self.reached else "NOT REACHED")
        spent = "  ".join(
            " / ".join(f"{statistics.median(values):.0f}" for values in self.microseconds[side].values())
            for side in ("direct", "keepstate")
        )
        return (
            f"{self.row:24} {self.store:11} {direct:9.0f} {ours:9.0f} {self.ratio:7.2f} {spread:>16} "
            f"{bar:>10} {verdict:11} {spent}"
        )


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured, and where its processor time is read."""

    on: Rig
    service: ServiceProcess
    direct: DaprClient
    client: Client[bytes]
    seconds: float
    rounds: int

    def spent(self, store: str) -> dict[str, float]:
        """Seconds of processor time so far, by where they were spent."""
        server = self.on.redis if store == "redis" else self.on.containers.postgres
        return {
            "client": cpu.of_process(os.getpid()) - cpu.of_process(self.service.process.pid),
            "service": cpu.of_process(self.service.process.pid),
            "daprd": cpu.of_container(self.on.sidecar.get_wrapped_container()),
            "store": cpu.of_container(server.get_wrapped_container()),
        }

    async def row(self, row: Row, store: str) -> Outcome:
        """Runs the rounds of a row."""
        bar = row.bars.get(store)
        outcome = Outcome(row=row.name, store=store, bar=bar, latency=row.latency)
        value = os.urandom(row.size)
        sides: dict[str, Side] = {"direct": Direct(self.direct, store), "keepstate": Keepstate(self.client, store)}
        loads = {}
        for name, side in sides.items():
            keys = [f"bench:{name}:{row.name.replace(' ', '-')}:{number:06}" for number in range(row.keys)]
            if row.filled:
                await side.fill(keys, value)
            work = _work(row, side, keys, value)
            loads[name] = Load(operation=work, callers=row.callers, seconds=self.seconds, counts=row.counts)
            await run(Load(operation=work, callers=row.callers, seconds=min(1.0, self.seconds)))  # warms up
        for number in range(self.rounds):
            found: dict[str, Measured] = {}
            for name in list(loads) if number % 2 == 0 else list(reversed(loads)):
                before = self.spent(store)
                found[name] = await run(loads[name])
                after = self.spent(store)
                outcome.rates.setdefault(name, []).append(found[name].rate)
                outcome.latencies.setdefault(name, []).append(found[name].latency)
                for place, seconds in after.items():
                    micros = 1e6 * (seconds - before[place]) / found[name].operations
                    outcome.microseconds.setdefault(name, {}).setdefault(place, []).append(micros)
            direct, ours = found["direct"], found["keepstate"]
            outcome.ratios.append(ours.latency / direct.latency if row.latency else ours.rate / direct.rate)
        return outcome


def _work(row: Row, side: Side, keys: list[str], value: bytes) -> Callable[[int, int], Awaitable[object]]:
    return lambda caller, number: row.work(Turn(side, keys, value, caller, number))


async def main(arguments: argparse.Namespace) -> int:
    """Runs the rows, prints the table, and writes the summary. 1: a bar was not reached."""
    rows = [row for row in ROWS if not arguments.rows or any(name in row.name for name in arguments.rows)]
    with rig() as on:
        async with AsyncExitStack() as open_:
            service = on.process({})
            open_.callback(service.close)
            service.start()
            # Where the SDK asks for the sidecar's health.
            setattr(dapr_settings, "DAPR_HTTP_ENDPOINT", on.sidecar.http_endpoint)  # noqa: B010 - mypy knows it not
            direct = await open_.enter_async_context(DaprClient(address=on.sidecar.grpc_target))
            client = await open_.enter_async_context(Client(service.address, codec=Bytes()))
            bench = Bench(
                on=on,
                service=service,
                direct=direct,
                client=client,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
            )
            machine = on.describe({})
            print(f"{machine}\n{arguments.rounds} rounds of {arguments.seconds:g} s a side\n")
            print(
                f"{'row':24} {'store':11} {'direct/s':>9} {'ours/s':>9} {'ratio':>7} {'rounds':>16} "
                f"{'bar (aim)':>10} {'':11} µs CPU of client / service / daprd / store, direct and ours"
            )
            outcomes = []
            for store in arguments.stores:
                for row in rows:
                    outcomes.append(await bench.row(row, store))
                    print(outcomes[-1], flush=True)
    _write(machine, outcomes)
    missed = [outcome for outcome in outcomes if not outcome.reached]
    print(f"\n{len(outcomes) - len(missed)} of {len(outcomes)} rows reached their bars or have none")
    return 1 if missed else 0


def _write(machine: str, outcomes: Sequence[Outcome]) -> None:
    SUMMARY.parent.mkdir(exist_ok=True)
    found: dict[str, Any] = {"machine": machine, "rows": [asdict(outcome) for outcome in outcomes]}
    SUMMARY.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", help="rows whose names contain one of these; all without")
    parser.add_argument("--stores", nargs="*", default=STORES, choices=STORES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a side in a round")
    sys.exit(uvloop.run(main(parser.parse_args())))
