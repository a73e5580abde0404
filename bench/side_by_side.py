"""DaprClient alone and the Keepstate client, in one run: `make bench`.

Each row is run in rounds, the two sides in turn, on the same sidecar and the same store. Its figure is the median of
the rounds' ratios. The exit status is 0 if all rows that were measured reached their bars, else 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import get_args

import uvloop

from bench import fairness, growth, operation, report, threads, unary
from bench.machine import describe
from bench.measuring import Bench, Gathering, Scale, opened
from bench.outcomes import Measure, Outcome, Series, Summary, ceiling
from bench.plot import plotted
from bench.rig import Rig, rig
from bench.rows import ROWS

__all__ = ["STORES", "Wanted", "measure"]

STORES = ("redis", "postgresql")
OPERATION = "envelope, checks, trail"
QUICK = Scale(rounds=2, seconds=0.2, most_keys=2_000, quick=True)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be measured."""

    rows: tuple[str, ...] = ()
    """Parts of names; empty: all, and growth."""

    stores: tuple[str, ...] = STORES
    many_keys: bool = False

    @property
    def all(self) -> bool:
        """Whether it is everything."""
        return not self.rows and set(self.stores) == set(STORES)

    def row(self, name: str) -> bool:
        """Whether a row is."""
        return not self.rows or any(part in name for part in self.rows)


@dataclass(kw_only=True)
class _Run:
    """What was found so far, printed as it comes."""

    machine: dict[str, str]
    scale: Scale
    wanted: Wanted
    when: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    outcomes: list[Outcome] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)

    def add(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            print(report.line(outcome), flush=True)
        self.outcomes += outcomes

    def summary(self, *, complete: bool = False) -> Summary:
        return Summary(
            when=self.when,
            machine=self.machine,
            rounds=self.scale.rounds,
            seconds=self.scale.seconds,
            quick=self.scale.quick,
            complete=complete,
            outcomes=self.outcomes,
            series=self.series,
        )


async def measure(on: Rig, scale: Scale, wanted: Wanted, begin: Sequence[Outcome] = ()) -> Summary:
    """Measures what is wanted, and prints a line for each row: first for what was measured before."""
    run = _Run(machine=describe(on), scale=scale, wanted=wanted)
    print(report.machine(run.summary()))
    print(f"{scale.rounds} rounds of {scale.seconds:g} s a side; who gathers: {scale.gathering}")
    print(f"\n{report.HEADING}")
    run.add(*begin)
    async with opened(on, scale) as bench:
        await _side_by_side(bench, wanted, run)
        if not wanted.rows:
            for store in wanted.stores:
                run.series += await growth.grown(bench, store, many_keys=wanted.many_keys)
    run.add(*await fairness.measured(on, wanted.stores, scale, wanted.row))
    run.add(*await unary.measured(on, wanted.stores, scale, wanted.row))
    return run.summary(complete=wanted.all and scale.gathering == "both")


async def _side_by_side(bench: Bench, wanted: Wanted, run: _Run) -> None:
    for store in wanted.stores:
        for row in ROWS:
            if wanted.row(row.name):
                run.add(await bench.row(row, store))
        for name in threads.NAMES:
            if wanted.row(name):
                run.add(await threads.measured(bench, name, store))


def _operations(scale: Scale) -> list[Outcome]:
    """What an operation costs the service besides all that it waits for."""
    rounds = [operation.measure() for _ in range(min(3, scale.rounds))]
    return [
        Outcome(
            row=f"{OPERATION}: {kind}",
            store="",
            measure=Measure.PROCESSOR,
            bar=ceiling(operation.BAR, operation.AIM),
            figures=[found[kind] for found in rounds],
        )
        for kind in rounds[0]
    ]


def main() -> int:
    """Measures in containers of its own, and writes the summary and the plot. Returns the exit status."""
    arguments = _arguments()
    scale = QUICK if arguments.quick else Scale(rounds=arguments.rounds, seconds=arguments.seconds)
    scale = replace(scale, gathering=arguments.gathering)
    wanted = Wanted(
        rows=tuple(arguments.rows), stores=tuple(arguments.stores), many_keys=arguments.many_keys and not scale.quick
    )
    # First, while no other thread of this process takes time.
    alone = _operations(scale) if wanted.row(OPERATION) else []
    with rig() as on:
        summary = uvloop.run(measure(on, scale, wanted, alone))
    report.SUMMARY.parent.mkdir(exist_ok=True)
    report.SUMMARY.write_text(summary.to_json())
    report.SUMMARY.with_name("plot.svg").write_text(plotted(summary))
    print(f"\n{report.closing(summary)}")
    return 1 if summary.missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", default=(), help="rows whose names contain one of these; all without")
    parser.add_argument("--stores", nargs="*", default=STORES, choices=STORES)
    parser.add_argument("--rounds", type=int, default=Scale.rounds)
    parser.add_argument("--seconds", type=float, default=Scale.seconds, help="of a side in a round")
    parser.add_argument(
        "--gathering",
        choices=get_args(Gathering),
        default="both",
        help="who may gather calls that run at the same time",
    )
    parser.add_argument("--quick", action="store_true", help="only see that all works: short rounds, few keys")
    parser.add_argument(
        "--many-keys", action="store_true", help="growth up to 1,000,000 keys, whose writing takes some minutes more"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
