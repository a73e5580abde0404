"""A run as a picture: how many times direct use each row does, and how both go as something grows. SVG, by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from bench.outcomes import Measure, Outcome, Series, Summary

__all__ = ["plotted"]

WIDTH = 960
COLOURS = {"redis": "#c6302b", "postgresql": "#336791"}
TITLES = {"redis": "Redis", "postgresql": "PostgreSQL"}
LEFT, RIGHT = 240, 60
BAR, GAP = 11, 8
PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 300, 220, 3


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + part * (self.end - self.begin)

    def ticks(self, steps: Sequence[int] = (1, 2, 5)) -> list[float]:
        """Round values along it."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = (step * 10.0**decade for decade in decades for step in steps)
        return [value for value in values if self.low <= value <= self.high]


def plotted(summary: Summary) -> str:
    """Returns the picture, as SVG."""
    rows = [outcome for outcome in summary.outcomes if outcome.found.rates]
    shown, height = list(_rows(rows)), _height(rows)
    panels, panels_height = _panels([series for series in summary.series if series.points], height)
    whole = height + panels_height
    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}"'
        ' font-family="sans-serif" font-size="11">'
    )
    return "\n".join([begin, f'<rect width="{WIDTH}" height="{whole}" fill="white"/>', *shown, *panels, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "start", **more: str) -> str:
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, **more: str) -> str:
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{attributes}/>'


def _times(outcome: Outcome) -> float:
    """Operations a second, as a multiple of direct use; the bar of a latency is about the same, the other way round."""
    return outcome.found.rate("keepstate") / outcome.found.rate("direct")


def _limits(outcome: Outcome) -> tuple[float, float] | None:
    """The bar and the aim on the axis of `_times`."""
    if outcome.bar is None:
        return None
    limits = outcome.bar.limit, outcome.bar.aim
    return (1 / limits[0], 1 / limits[1]) if outcome.measure is Measure.LATENCY else limits


def _by_name(rows: Sequence[Outcome]) -> list[tuple[str, list[Outcome]]]:
    names = list(dict.fromkeys(outcome.row for outcome in rows))
    return [(name, [outcome for outcome in rows if outcome.row == name]) for name in names]


def _height(rows: Sequence[Outcome]) -> int:
    return 70 + sum(BAR * len(group) + GAP for _, group in _by_name(rows)) + 20 if rows else 0


def _rows(rows: Sequence[Outcome]) -> Iterator[str]:
    if not rows:
        return
    values = [value for row in rows for value in (_times(row), *(_limits(row) or ()))]
    scale = Scale(0.8 * min(*values, 1), 1.3 * max(*values, 1), LEFT, WIDTH - RIGHT)
    bottom = _height(rows) - 20
    yield _text(12, 22, "Operations a second by Keepstate, as a multiple of direct use of Dapr", font_size="15")
    x = 12.0
    for store in dict.fromkeys(row.store for row in rows):
        yield f'<rect x="{x}" y="34" width="10" height="10" fill="{COLOURS[store]}"/>' + _text(
            x + 14, 43, TITLES[store]
        )
        x += 100
    yield _line(x, 33, x, 45, "black", stroke_width="2") + _text(x + 6, 43, "bar")
    yield _line(x + 50, 33, x + 50, 45, "black", stroke_dasharray="2 2") + _text(x + 56, 43, "aim")
    for tick in scale.ticks():
        yield _line(scale.at(tick), 56, scale.at(tick), bottom, "#999" if tick == 1 else "#e4e4e4")
        yield _text(scale.at(tick), bottom + 14, f"{tick:g}", "middle", fill="#555")
    y = 62.0
    for name, group in _by_name(rows):
        yield _text(LEFT - 8, y + BAR * len(group) / 2 + 4, name, "end")
        for outcome in group:
            yield from _bar(outcome, scale, y)
            y += BAR
        y += GAP


def _bar(outcome: Outcome, scale: Scale, y: float) -> Iterator[str]:
    begin, end = sorted((scale.at(1), scale.at(_times(outcome))))
    yield (
        f'<rect x="{begin:.1f}" y="{y}" width="{end - begin:.1f}" height="{BAR - 1}" fill="{COLOURS[outcome.store]}"/>'
    )
    yield _text(max(end, scale.at(1)) + 4, y + BAR - 2, f"{_times(outcome):.2f}", font_size="9", fill="#333")
    if limits := _limits(outcome):
        bar, aim = (scale.at(limit) for limit in limits)
        yield _line(bar, y - 1, bar, y + BAR, "black", stroke_width="2")
        yield _line(aim, y - 1, aim, y + BAR, "black", stroke_dasharray="2 2")


def _panels(series: Sequence[Series], top: float) -> tuple[list[str], int]:
    """One for each thing that grows, with both stores; and how high all are together."""
    if not series:
        return [], 0
    shown = [
        _text(12, top + 22, "Operations a second as something grows", font_size="15"),
        _line(420, top + 18, 450, top + 18, "#555") + _text(455, top + 22, "Keepstate"),
        _line(530, top + 18, 560, top + 18, "#555", stroke_dasharray="4 3") + _text(565, top + 22, "direct"),
    ]
    ordered = sorted(series, key=lambda each: (each.by, each.name))
    groups = [list(group) for _, group in groupby(ordered, key=lambda each: (each.by, each.name))]
    for number, group in enumerate(groups):
        x, y = (number % COLUMNS) * (PANEL_WIDTH + 15) + 10, top + 40 + (number // COLUMNS) * PANEL_HEIGHT
        shown += _panel(group, x, y)
    return shown, 50 + math.ceil(len(groups) / COLUMNS) * PANEL_HEIGHT


def _panel(group: Sequence[Series], x: float, y: float) -> Iterator[str]:
    sizes = sorted({point.at for series in group for point in series.points})
    rates = [rate for series in group for point in series.points for rate in point.rates.values()]
    across = Scale(sizes[0], max(sizes[-1], 10 * sizes[0]), x + 50, x + PANEL_WIDTH - 15)
    up = Scale(0.8 * min(rates), 1.25 * max(rates), y + PANEL_HEIGHT - 45, y + 22)
    yield _text(x + 50, y + 12, f"{group[0].name}, by {group[0].by}", font_size="12")
    for tick in up.ticks((1, 3)):
        yield _line(across.begin, up.at(tick), across.end, up.at(tick), "#e4e4e4")
        yield _text(x + 45, up.at(tick) + 4, f"{tick:,.0f}", "end", fill="#555")
    for size in sizes:
        yield _text(across.at(size), up.begin + 15, f"{size:,}", "middle", fill="#555")
    for series in group:
        for side, dashes in (("direct", "4 3"), ("keepstate", "none")):
            points = " ".join(f"{across.at(each.at):.1f},{up.at(each.rates[side]):.1f}" for each in series.points)
            yield (
                f'<polyline points="{points}" fill="none" stroke="{COLOURS[series.store]}" stroke-width="1.6"'
                f' stroke-dasharray="{dashes}"/>'
            )
