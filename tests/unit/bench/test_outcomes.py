from __future__ import annotations

import pytest

from bench.outcomes import Bar, Found, Measure, Outcome, Summary, ceiling, floor


@pytest.mark.parametrize(
    ("bar", "figure", "reached"),
    [
        (floor(2.5, 4), 2.5, True),
        (floor(2.5, 4), 2.49, False),
        (ceiling(2.6, 2), 2.6, True),
        (ceiling(2.6, 2), 2.61, False),
    ],
)
def test_a_bar_is_reached_at_its_limit(bar: Bar, figure: float, reached: bool) -> None:
    assert bar.reached(figure) is reached


def outcome(*figures: float, bar: Bar | None = None) -> Outcome:
    return Outcome(row="get x64", store="redis", measure=Measure.RATE, bar=bar, figures=list(figures))


def test_the_median_of_the_rounds_is_held_against_the_bar() -> None:
    assert outcome(0.1, 2.6, 9.0, bar=floor(2.5, 4)).reached
    assert not outcome(2.4, 9.0, 0.1, bar=floor(2.5, 4)).reached


def test_what_could_not_be_measured_has_not_reached_its_bar() -> None:
    assert not outcome(bar=floor(2.5, 4)).reached
    assert outcome().reached


def test_a_ratio_is_of_one_round_and_of_what_the_row_measures() -> None:
    found = Found(
        rates={"direct": [100.0, 200.0], "keepstate": [300.0, 400.0]},
        latencies={"direct": [0.001, 0.002], "keepstate": [0.004, 0.002]},
    )
    assert found.ratios(Measure.RATE, "keepstate", "direct") == [3.0, 2.0]
    assert found.ratios(Measure.LATENCY, "keepstate", "direct") == [4.0, 1.0]


def test_a_summary_is_read_as_it_was_written(summary: Summary) -> None:
    assert Summary.from_json(summary.to_json()) == summary


def test_a_summary_names_what_missed_its_bar(summary: Summary) -> None:
    assert [(missed.row, missed.store) for missed in summary.missed] == [("put x64", "redis"), ("unary get", "redis")]
