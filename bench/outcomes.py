"""What was measured, and whether it reached its bar. Nothing is measured here."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Bar", "Found", "Measure", "Outcome", "Point", "Series", "Summary", "ceiling", "floor"]


class Measure(StrEnum):
    """What a row's figures are."""

    RATE = "rate"
    """Operations a second, as a multiple of those of the other side."""

    LATENCY = "latency"
    """The median time of a call, as a multiple of the other side's."""

    PROCESSOR = "processor"
    """Microseconds of processor time an operation, of the service alone."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a row has to reach, and what it aims at."""

    limit: float
    aim: float
    ceiling: bool = False
    """Whether the figure is to be at most so much, rather than at least."""

    def reached(self, figure: float) -> bool:
        """Whether a figure is good enough."""
        return figure <= self.limit if self.ceiling else figure >= self.limit


def floor(limit: float, aim: float) -> Bar:
    """A bar that wants at least so much."""
    return Bar(limit=limit, aim=aim)


def ceiling(limit: float, aim: float) -> Bar:
    """A bar that wants at most so much."""
    return Bar(limit=limit, aim=aim, ceiling=True)


@dataclass(kw_only=True)
class Found:
    """What the rounds of each side found, by the side's name."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    """Operations a second."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    """Median times of a call; seconds."""

    microseconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Of processor time an operation, by side and then by where it was spent."""

    def rate(self, side: str) -> float:
        """A side's median rate."""
        return statistics.median(self.rates[side])

    def ratios(self, measure: Measure, side: str, other: str) -> list[float]:
        """How a side compares with the other, round by round."""
        lists = self.latencies if measure is Measure.LATENCY else self.rates
        return [one / two for one, two in zip(lists[side], lists[other], strict=True)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was found for one row on one store."""

    row: str
    store: str
    """Empty where none takes part."""

    measure: Measure
    bar: Bar | None = None
    figures: list[float] = field(default_factory=list)
    """What is held against the bar: one of each round."""

    found: Found = field(default_factory=Found)
    """Behind it: the sides are `direct` and `keepstate`. Empty where there are no sides."""

    missing: str = ""
    """Why there are no figures."""

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.figures)

    @property
    def reached(self) -> bool:
        """Whether it reached its bar. What has none has; what could not be measured has not."""
        return self.bar is None or (bool(self.figures) and self.bar.reached(self.figure))


@dataclass(frozen=True, kw_only=True)
class Point:
    """Both sides' rates at one size."""

    at: int
    rates: dict[str, float]
    """Operations a second, the median of the rounds, by side."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """How the rates go as something grows."""

    name: str
    store: str
    by: str
    """What grows: callers, keys, records."""

    points: list[Point]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole run."""

    when: str
    machine: dict[str, str]
    """What it ran on, and the versions of all that took part."""

    rounds: int
    seconds: float
    """Of one side in a round."""

    quick: bool
    """Whether it was only to see that all works: no measurement."""

    complete: bool
    """Whether all rows were measured, on all stores."""

    outcomes: list[Outcome]
    series: list[Series]

    @property
    def missed(self) -> list[Outcome]:
        """What did not reach its bar."""
        return [outcome for outcome in self.outcomes if not outcome.reached]

    def to_json(self) -> str:
        """As text, which `from_json` reads."""
        return json.dumps(_shortened(asdict(self)), indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Summary:
        """Reads what `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        fields = json.loads(text)
        fields["outcomes"] = [_outcome(each) for each in fields["outcomes"]]
        fields["series"] = [
            Series(**each | {"points": [Point(**point) for point in each["points"]]}) for each in fields["series"]
        ]
        return Summary(**fields)


def _outcome(fields: dict[str, Any]) -> Outcome:
    bar = None if fields["bar"] is None else Bar(**fields["bar"])
    return Outcome(**fields | {"measure": Measure(fields["measure"]), "bar": bar, "found": Found(**fields["found"])})


def _shortened(value: Any) -> Any:
    """With figures of five digits: the others are noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _shortened(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(each) for each in value]
    return value
