"""The service's clock as the client tells it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate._clock import ServiceClock, forget_times


class Clocks:
    """A monotonic clock, and a service whose clock is ``offset`` ahead of it."""

    def __init__(self, offset: float = 1_700_000_000.0, *, stands_still: bool = False) -> None:
        self.monotonic = 100.0
        self.offset = offset
        self.wall = 1.0
        self.clock = ServiceClock(wall=lambda: self.wall, monotonic=lambda: self.monotonic, stands_still=stands_still)

    def pass_by(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds

    def call(self, there: float, back: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        sent = self.clock.sending()
        stamp = datetime.fromtimestamp(sent.at + there + self.offset, UTC).isoformat(timespec="milliseconds")
        self.pass_by(there + back)
        meanwhile()
        self.clock.observe(stamp.replace("+00:00", "Z"), sent)

    @property
    def error(self) -> float:
        return abs(self.clock.now() - (self.monotonic + self.offset))


def test_before_the_first_answer_the_local_clock_serves() -> None:
    assert Clocks().clock.now() == 1.0


@given(st.floats(-1e8, 1e9), st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=20))
def test_the_estimate_is_wrong_by_no_more_than_half_a_round_trip(
    offset: float, calls: list[tuple[float, float]]
) -> None:
    clocks = Clocks(offset + 1.7e9)
    for there, back in calls:
        clocks.call(there, back)
        assert clocks.error <= (there + back) / 2 + 0.0021


def test_a_slow_answer_does_not_spoil_what_a_quick_one_told() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001)
    clocks.call(0.0, 4.0)
    assert clocks.error < 0.003


def test_an_old_sample_makes_room_for_a_new_one() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001)
    clocks.pass_by(3600)
    clocks.offset += 0.5  # the clocks drift apart
    clocks.call(0.05, 0.05)
    assert clocks.error < 0.06


def test_a_service_clock_that_was_set_is_followed_at_once() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001)
    clocks.offset -= 60
    clocks.call(0.02, 0.02)
    assert clocks.error < 0.03


@pytest.mark.parametrize("stamp", ["", "yesterday", "2026-11-22T10:00:00", "1700000000"])
def test_what_is_no_time_is_passed_over(stamp: str) -> None:
    clocks = Clocks()
    clocks.clock.observe(stamp, clocks.clock.sending())
    assert clocks.clock.now() == 1.0


def test_times_that_were_forgotten_are_asked_for_again_and_the_next_answer_counts() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001)
    known = [clocks.clock.known]
    forget_times()
    known.append(clocks.clock.known)
    clocks.offset += 0.01  # too little to contradict what was known
    clocks.call(0.5, 0.5)
    known.append(clocks.clock.known)
    assert known == [True, False, True]


def test_an_answer_from_before_times_were_forgotten_tells_none() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001, meanwhile=forget_times)
    assert not clocks.clock.known


def test_where_times_were_forgotten_or_nobody_told_one_the_local_clock_serves() -> None:
    clocks = Clocks()
    clocks.call(0.001, 0.001)
    assert clocks.clock.now() != clocks.wall
    forget_times()
    assert clocks.clock.now() == clocks.wall


@pytest.mark.parametrize(("suspended", "known"), [(0.9, True), (1.1, False), (-1.1, False)])
def test_a_clock_that_stood_still_for_more_than_a_second_is_carried_on_no_more(suspended: float, known: bool) -> None:
    clocks = Clocks(stands_still=True)
    clocks.call(0.001, 0.001)
    clocks.pass_by(3600)
    clocks.wall += suspended
    clocks.offset += suspended
    assert clocks.clock.known is known
    clocks.call(2.0, 2.0)
    assert clocks.clock.known
    assert clocks.error <= (2.0 if not known else suspended) + 0.0021


def test_a_clock_that_never_stands_still_is_not_moved_by_setting_the_local_one() -> None:
    clocks = Clocks(stands_still=False)
    clocks.call(0.001, 0.001)
    clocks.wall += 3600
    assert clocks.clock.known
    assert clocks.error < 0.003
