"""Tables of what was measured: on the terminal, and in docs/performance.md by `python -m bench.report`.

That puts the last run of `make bench` into the documents: its summary and plot go to docs/performance/, its tables
between two marks of the page.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.outcomes import Bar, Measure, Outcome, Series, Summary
from bench.plot import plotted

__all__ = ["HEADING", "NONE", "SUMMARY", "closing", "inserted", "line", "machine", "main", "markdown"]

ROOT = Path(__file__).parents[1]
SUMMARY = ROOT / "bench" / "out" / "summary.json"
PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "performance"
MARKS = ("<!-- measured: python -m bench.report -->", "<!-- end of what was measured -->")
NONE = "No whole run is kept yet."
STORES = {"redis": "Redis", "postgresql": "PostgreSQL", "": ""}
SIDES = ("direct", "keepstate")

HEADING = (
    f"{'row':37} {'store':10} {'direct/s':>9} {'ours/s':>9} {'figure':>7} {'rounds':>14} {'bar':>6} {'aim':>5}"
    f" {'':11} µs CPU of client / service / daprd / store, direct and ours"
)


def line(outcome: Outcome) -> str:
    """A row of the terminal's table."""
    begin = f"{outcome.row:37} {outcome.store:10}"
    if not outcome.figures:
        return f"{begin} not measured{'' if outcome.bar is None else ', so NOT REACHED'}: {outcome.missing}"
    rates = " ".join(f"{outcome.found.rate(side):9.0f}" if outcome.found.rates else " " * 9 for side in SIDES)
    spent = "   ".join(_spent(outcome, side) for side in SIDES)
    bar, aim = ("", "") if outcome.bar is None else (_limit(outcome.bar), f"{outcome.bar.aim:g}")
    verdict = "" if outcome.bar is None else "reached" if outcome.reached else "NOT REACHED"
    return (
        f"{begin} {rates} {outcome.figure:7.2f} {_spread(outcome):>14} {bar:>6} {aim:>5} {verdict:11} {spent}"
    ).rstrip()


def machine(summary: Summary) -> str:
    """What a run ran on, in one line."""
    return ", ".join(f"{name} {value}" for name, value in summary.machine.items())


def closing(summary: Summary) -> str:
    """What a run came to."""
    barred = [outcome for outcome in summary.outcomes if outcome.bar is not None]
    said = f"{len(barred) - len(summary.missed)} of {len(barred)} bars reached"
    if not summary.complete:
        said += " (not all rows were measured)"
    if summary.quick:
        said += ". This was a quick run: it shows that all works, and measures nothing"
    return said


def markdown(summary: Summary) -> str:
    """The tables of docs/performance.md."""
    return "\n".join(_page(summary))


def inserted(page: str, text: str) -> str:
    """The page with this text between its marks.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = page.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (begin and end):
        raise ValueError(f"the page lacks the marks {MARKS}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _page(summary: Summary) -> Iterator[str]:
    yield f"{summary.when}, {summary.rounds} rounds of {summary.seconds:g} s a side. {closing(summary)}."
    yield ""
    yield "![operations a second as multiples of direct use](performance/plot.svg)"
    yield ""
    yield "| what | which |\n|---|---|"
    for name, value in summary.machine.items():
        yield f"| {name} | {value} |"
    yield ""
    yield "| row | store | direct/s | Keepstate/s | figure (rounds) | bar | aim | | µs direct | µs Keepstate |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for outcome in summary.outcomes:
        yield _markdown_row(outcome)
    for series in summary.series:
        if series.points:
            yield ""
            yield from _markdown_series(series)


def _markdown_row(outcome: Outcome) -> str:
    store = STORES[outcome.store]
    bar, aim = ("", "") if outcome.bar is None else (_limit(outcome.bar), f"{outcome.bar.aim:g}")
    verdict = "" if outcome.bar is None else "reached" if outcome.reached else "**not reached**"
    if not outcome.figures:
        return f"| {outcome.row} | {store} | | | not measured | {bar} | {aim} | {verdict} | | |"
    rates = [f"{outcome.found.rate(side):,.0f}" if outcome.found.rates else "" for side in SIDES]
    figure = f"{outcome.figure:.2f} ({_spread(outcome)})"
    figure += {Measure.RATE: "", Measure.LATENCY: " of the latency", Measure.PROCESSOR: " µs"}[outcome.measure]
    cells = [outcome.row, store, *rates, figure, bar, aim, verdict, *(_spent(outcome, side) for side in SIDES)]
    return f"| {' | '.join(cells)} |"


def _markdown_series(series: Series) -> Iterator[str]:
    yield f"| {series.name}, {STORES[series.store]}, by {series.by} | direct/s | Keepstate/s | ratio |"
    yield "|---|---|---|---|"
    for point in series.points:
        direct, ours = (point.rates[side] for side in SIDES)
        yield f"| {point.at:,} | {direct:,.0f} | {ours:,.0f} | {ours / direct:.2f} |"


def _limit(bar: Bar) -> str:
    return f"{'≤' if bar.ceiling else '≥'} {bar.limit:g}"


def _spread(outcome: Outcome) -> str:
    return f"{min(outcome.figures):.2f} to {max(outcome.figures):.2f}"


def _spent(outcome: Outcome, side: str) -> str:
    places = outcome.found.microseconds.get(side, {})
    return " / ".join(f"{statistics.median(values):.0f}" for values in places.values())


def main() -> int:
    """Puts the last run into the documents. 1: there is none that may be put there."""
    try:
        summary = Summary.from_json(SUMMARY.read_text())
    except FileNotFoundError:
        print("there is no run: make bench", file=sys.stderr)
        return 1
    if summary.quick or not summary.complete:
        print("the last run was quick, or of some rows only: make bench", file=sys.stderr)
        return 1
    KEPT.mkdir(exist_ok=True)
    (KEPT / SUMMARY.name).write_text(summary.to_json())
    (KEPT / "plot.svg").write_text(plotted(summary))
    PAGE.write_text(inserted(PAGE.read_text(), markdown(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
