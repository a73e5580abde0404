"""Durations as people type them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate.durations import parse_duration

UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("2d0.001s", timedelta(days=2, milliseconds=1)),
        ("0s", timedelta(0)),
    ],
)
def test_what_people_type(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 10_000), min_size=1))
def test_a_duration_is_the_sum_of_its_parts(parts: dict[str, int]) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    assert parse_duration(text) == sum((UNITS[unit] * number for unit, number in parts.items()), timedelta())


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "1h 30m", "30m1h", "1m1m", "-1s", "1e3s", "1.s", ".5s", "1w", "٣s", "0.0001ms", f"{10**30}d"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text or "''"):
        parse_duration(text)


@given(st.text("0123456789.dhms -", max_size=12))
def test_parsing_gives_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)
