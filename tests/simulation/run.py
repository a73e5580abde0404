"""Runs histories by the thousand: `make simulate SEEDS=n`. Says what they were, and ends with 1 if one was wrong."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from keepstate_server.domain.errors import StoreUnavailable
from keepstate_server.domain.names import RecordName
from tests.simulation.check import Undecided, check
from tests.simulation.collecting import Collecting
from tests.simulation.history import Call, Claim, History, claim_of
from tests.simulation.perform import SETTINGS, Run
from tests.simulation.scenario import FULL_TRAIL, GATHERED
from tests.simulation.sorts import any_scenario_of, perform_any

__all__ = ["Report", "judge", "run_seeds", "story"]

_PIECE = 50  # seeds that a process takes at a time

_ENOUGH_SECONDS = 1.0


@dataclass(kw_only=True)
class Report:
    """What came of some seeds."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.counts.update(other.counts)
        self.wrong.extend(other.wrong)
        self.undecided.extend(other.undecided)


def judge(run: Run) -> Sequence[str]:
    """Returns what is wrong with ``run``.

    Raises:
        Undecided: nobody can tell.
    """
    return [
        *run.history.applied.violations,
        *check(run.history, clock_difference=SETTINGS.clock_difference.total_seconds()),
    ]


def run_seeds(seeds: Sequence[int]) -> Report:
    """Runs the histories of ``seeds`` and checks each."""
    report = Report()
    gc.collect()
    gc.disable()  # a history is short, and what it leaves is collected after some of them
    try:
        for seed in seeds:
            run = perform_any(any_scenario_of(seed))
            report.counts.update(_counts(run))
            try:
                wrong = judge(run)
            except Undecided:
                report.undecided.append(seed)
            else:
                report.wrong.extend((seed, each) for each in wrong[:1])
    finally:
        gc.enable()
    return report


def _counts(run: Run) -> Counter[str]:
    counts = Counter(run.world.counts)
    counts["histories"] = 1
    gathered = run.scenario.clients == GATHERED
    collecting = isinstance(run.scenario, Collecting)
    counts["histories with collection"] = collecting
    counts["intents left over"] = run.intents_left
    counts["crowded"] += run.scenario.seed.startswith("crowd")
    counts["without gathering"] += not run.scenario.gathering
    counts["over two stores"] = len(run.scenario.stores) > 1
    for store in run.world.stores.values():
        counts[f"on {store.kind}"] += 1
        counts["conflicts"] += store.refusals
    counts["plain writes"] += run.scenario.plain_writes
    # Where trails are cut short, more is forgotten than ever would be, and so it is by another program's writes.
    whole = run.scenario.trail_writes == FULL_TRAIL and not run.scenario.plain_writes
    # Who has too little time for a store call or two, or goes away, learns nothing where there is no fault either.
    habits = run.scenario.habits
    patient = min(habits.deadlines) >= _ENOUGH_SECONDS and habits.patience == 1
    faultless = run.scenario.network.faultless and whole and patient
    for call in run.history.calls:
        shape = _shape(call)
        counts[shape] += 1
        counts["repeats"] += len(call.attempts) - 1
        counts["operations"] += len(call.specs)
        counts.update(f"op {spec.kind.value}" for spec in call.specs)
        unknown = _is_unknown(call)
        counts["unknown calls"] += unknown
        counts["calls without faults"] += faultless
        counts["unknown calls without faults"] += faultless and unknown
        counts["gathered calls"] += gathered
        counts["unknown gathered calls"] += gathered and unknown
        if collecting and faultless:
            counts["calls beside collection"] += 1
            counts["unavailable calls beside collection"] += _is_unavailable(call)
    return counts


def _shape(call: Call) -> str:
    if call.snapshot:
        return "snapshots"
    if call.transaction:
        return "transactions"
    return "batches" if len(call.specs) > 1 else "single operations"


def _is_unknown(call: Call) -> bool:
    """Whether no attempt told what became of the call."""
    return not any(
        attempt.results is not None and all(claim_of(each) is not Claim.UNKNOWN for each in attempt.results)
        for attempt in call.attempts
    )


def _is_unavailable(call: Call) -> bool:
    """Whether an attempt was told that the store is not available."""
    return any(isinstance(each, StoreUnavailable) for attempt in call.attempts for each in attempt.results or ())


def story(seed: int) -> Iterator[str]:
    """Tells the shortest run of ``seed`` that goes wrong: each client's first calls, as few as will do."""
    full = any_scenario_of(seed)
    shorter = (replace(full, habits=replace(full.habits, calls=calls)) for calls in range(1, full.habits.calls))
    run = next((run for run in map(perform_any, shorter) if _wrong(run)), None)
    scenario = run.scenario if run else full
    yield str(scenario)
    told = perform_any(scenario, trace=True)
    wrong = _wrong(told)
    named = [name for name in scenario.habits.names if any(f"{name.store}/{name.key}" in each for each in wrong)]
    yield from _calls(told.history, named or scenario.habits.names)
    yield from told.world.trace or ()
    yield from wrong


def _wrong(run: Run) -> Sequence[str]:
    try:
        return judge(run)
    except Undecided:
        return ["undecided"]


def _calls(history: History, names: Sequence[RecordName]) -> Iterator[str]:
    for call in history.calls:
        if any(spec.name in names for spec in call.specs):
            kind = "transaction " if call.transaction else ""
            yield f"call {call.number} of client {call.client}: {kind}{', '.join(map(str, call.specs))}"
            for each in call.attempts:
                end = "never" if each.end is None else f"{each.end:.4f}"
                repeated = " repeated" if each.repeated else ""
                yield f"    {each.start:.4f} to {end} at i{each.instance}{repeated}: {each.results}"


def _pieces(first: int, count: int) -> Iterator[range]:
    for begin in range(first, first + count, _PIECE):
        yield range(begin, min(begin + _PIECE, first + count))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--story", type=int, metavar="SEED", help="tell what happens in one seed, and no more")
    options = parser.parse_args()
    if options.story is not None:
        _say(*story(options.story))
        return 0
    began = time.monotonic()
    report = Report()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for piece in pool.imap_unordered(run_seeds, _pieces(options.first, options.seeds)):
            report.add(piece)
    _tell(report, time.monotonic() - began)
    return 1 if report.wrong or report.undecided else 0


def _say(*lines: str) -> None:
    print(*lines, sep="\n")  # noqa: T201


def _tell(report: Report, seconds: float) -> None:
    counts = report.counts
    _say(f"{counts['histories']} histories in {seconds:.1f} s: {counts['histories'] / seconds:.0f} a second")
    for name in sorted(counts):
        _say(f"  {counts[name]:9} {name}")
    for which in ("calls without faults", "gathered calls"):
        share = counts[f"unknown {which}"] / max(counts[which], 1)
        _say(f"  unknown: {share:.4%} of {counts[which]} {which}")
    share = counts["unavailable calls beside collection"] / max(counts["calls beside collection"], 1)
    _say(f"  unavailable: {share:.4%} of {counts['calls beside collection']} calls beside collection without faults")
    for seed in report.undecided:
        _say(f"undecided: seed {seed}")
    for seed, what in sorted(report.wrong):
        _say(f"WRONG: seed {seed}: {what}")
    if report.wrong:
        _say(*story(min(report.wrong)[0]))


if __name__ == "__main__":
    sys.exit(main())
