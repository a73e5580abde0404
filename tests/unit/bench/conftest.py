from __future__ import annotations

import pytest

from bench.outcomes import Bar, Found, Measure, Outcome, Point, Series, Summary, ceiling, floor


def outcome(row: str, measure: Measure, figure: float, bar: Bar | None) -> Outcome:
    rate = 1000.0 / figure if measure is Measure.LATENCY else 1000.0 * figure
    found = Found(
        rates={"direct": [1000.0], "keepstate": [rate]},
        latencies={"direct": [0.001], "keepstate": [0.001 * figure]},
        microseconds={side: {"client": [10.0], "service": [20.0]} for side in ("direct", "keepstate")},
    )
    return Outcome(row=row, store="redis", measure=measure, bar=bar, figures=[figure], found=found)


@pytest.fixture
def summary() -> Summary:
    """A run with a row of each kind."""
    return Summary(
        when="2026-11-23 10:00 UTC",
        machine={"processors": "2 x <fast>", "Redis": "7.0"},
        rounds=1,
        seconds=1.5,
        quick=False,
        complete=True,
        outcomes=[
            outcome("get x64", Measure.RATE, 4.0, floor(2.5, 3.5)),
            outcome("put x64", Measure.RATE, 1.5, floor(3, 4.5)),
            outcome("get x1", Measure.LATENCY, 2.0, ceiling(2.6, 2)),
            outcome("mixed", Measure.RATE, 3.0, None),
            Outcome(row="envelope", store="", measure=Measure.PROCESSOR, bar=ceiling(25, 10), figures=[9.5]),
            Outcome(row="unary get", store="redis", measure=Measure.RATE, bar=floor(0.45, 0.7), missing="no h2load"),
        ],
        series=[
            Series(
                name="get",
                store=store,
                by="callers",
                points=[Point(at=at, rates={"direct": 100.0 * at, "keepstate": 300.0 * at}) for at in (1, 64)],
            )
            for store in ("redis", "postgresql")
        ],
    )
