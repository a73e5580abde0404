from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.times import Instant
from keepstate_server.engine.trail import (
    KEPT_BYTES,
    SHORT_BYTES,
    Answered,
    FirstAnswer,
    Trail,
    TrailEntry,
    WriteId,
    answered,
    folded,
    version_at,
)
from tests.unit.server.hand import MINUTE, SECOND, START, HandClock, Requests, again


def write_id(number: int) -> WriteId:
    # Distinct in its first 8 bytes, as random ones are.
    return WriteId(number.to_bytes(8, "big") + bytes(6))


def entry(number: int, time: int, *requests: Answered) -> TrailEntry:
    return TrailEntry(write=write_id(number), time=Instant(time), requests=requests)


def note(number: int, *, client: int = 9, position: int = 0, keep_until: int = 0) -> Answered:
    return Answered(client=client, first=number, position=position, keep_until=Instant(keep_until))


def walked(entries: Sequence[TrailEntry], trail: Trail | None = None) -> Trail:
    trail = trail or Trail()
    for each in entries:
        trail = trail.followed_by(each)
    return trail


def in_a_row(count: int, *, step: int = 100) -> list[TrailEntry]:
    return [entry(number, START + number * step, note(number)) for number in range(count)]


# Limits


def test_a_trail_keeps_16_writes_and_names_no_more() -> None:
    trail = walked(in_a_row(40))
    assert [each.write for each in trail.entries] == [write_id(number) for number in range(39, 23, -1)]
    assert trail.earlier == b""


def test_a_write_of_more_than_ten_minutes_ago_is_only_named() -> None:
    trail = walked([entry(0, START, note(0)), entry(1, START + 10 * MINUTE + 1, note(1))])
    assert [each.write for each in trail.entries] == [write_id(1)]
    assert trail.earlier == write_id(0)[:SHORT_BYTES]
    assert trail.names(write_id(0))
    assert trail.forgotten == START


def test_a_write_of_just_ten_minutes_ago_is_remembered() -> None:
    trail = walked([entry(0, START), entry(1, START + 10 * MINUTE)])
    assert len(trail.entries) == 2
    assert trail.forgotten == 0


def test_entries_go_when_they_take_more_than_a_kibibyte() -> None:
    def large(number: int) -> TrailEntry:
        # Requests of many clients do not fold.
        return entry(number, START + number, *(note(1, client=client) for client in range(20)))

    trail = walked([large(number) for number in range(10)])
    assert sum(each.size for each in trail.entries) <= 1024
    assert len(trail.entries) == 2
    assert len(trail.earlier) == 8 * SHORT_BYTES


def test_the_newest_write_stays_however_large_it_is() -> None:
    giant = entry(1, START, *(note(1, client=client) for client in range(500)))
    trail = walked([entry(0, START - 1), giant])
    assert trail.entries == (giant,)
    assert trail.names(write_id(0))


def test_once_an_entry_goes_all_older_ones_go() -> None:
    """A small old entry behind a large one must not survive it: that would be a gap."""
    small, large = entry(0, START), entry(1, START + 1, *(note(1, client=client) for client in range(60)))
    trail = walked([small, large, entry(2, START + 2)])
    assert [each.write for each in trail.entries] == [write_id(2)]
    assert trail.earlier == write_id(1)[:SHORT_BYTES] + write_id(0)[:SHORT_BYTES]


steps = st.lists(st.tuples(st.integers(0, 4 * MINUTE), st.integers(0, 30), st.booleans()), min_size=1, max_size=60)


@given(steps)
def test_the_names_of_the_last_16_writes_stay_without_a_gap(walk: list[tuple[int, int, bool]]) -> None:
    trail, now = Trail(), int(START)
    for number, (step, clients, _) in enumerate(walk):
        now += step
        trail = trail.followed_by(entry(number, now, *(note(1, client=client) for client in range(clients))))
        named = [each.write[:SHORT_BYTES] for each in trail.entries] + [
            trail.earlier[at : at + SHORT_BYTES] for at in range(0, len(trail.earlier), SHORT_BYTES)
        ]
        expected = [write_id(each)[:SHORT_BYTES] for each in range(number, -1, -1)][:16]
        assert named == expected
        assert all(trail.reaches(write_id(each)) for each in range(max(0, number - 15), number + 1))
        assert number < 16 or not trail.reaches(write_id(number - 16))


@given(steps)
def test_what_a_trail_claims_to_remember_it_does(walk: list[tuple[int, int, bool]]) -> None:
    """Of a write at or after an instant that is remembered, every request is found."""
    trail, now = Trail(), int(START)
    history: list[tuple[int, TrailEntry]] = []
    for number, (step, clients, repeat) in enumerate(walk):
        now += step
        keep = now + MINUTE if repeat else 0
        requests = [note(number + 1, client=client, keep_until=keep) for client in range(clients)]
        each = entry(number, now, *requests)
        trail = trail.followed_by(each)
        history.append((now, each))
        for time, old in history:
            remembered = all(trail_finds(trail, request) for request in old.requests)
            if trail.remembers_since(Instant(time)):
                assert remembered
                assert trail.names(old.write)
            if now < time + MINUTE and old.requests and old.requests[0].keep_until:
                assert remembered  # a repeat's, whatever comes


def trail_finds(trail: Trail, request: Answered) -> bool:
    entries = (*trail.entries, *trail.kept)
    return any(each.find(request.client, request.first) is not None for each in entries)


@given(steps)
def test_what_is_forgotten_never_grows_less(walk: list[tuple[int, int, bool]]) -> None:
    trail, now = Trail(forgotten=Instant(START - MINUTE)), int(START)
    for number, (step, clients, _) in enumerate(walk):
        now += step
        after = trail.followed_by(entry(number, now, *(note(1, client=client) for client in range(clients))))
        assert after.forgotten >= trail.forgotten
        trail = after


def test_clocks_that_disagree_leave_the_newest_forgotten_time() -> None:
    """A write by a clock that runs ahead, dropped together with later ones by slower clocks."""
    ahead = entry(0, START + 5 * SECOND)
    rest = [entry(number, START + number) for number in range(1, 20)]
    assert walked([ahead, *rest]).forgotten == START + 5 * SECOND


# Repeats


def test_a_repeats_entry_outlives_an_overflow_until_its_time() -> None:
    clock = HandClock()
    request = Requests(clock).new()
    repeat = answered(again(request), 0, FirstAnswer.EXISTS, Instant(START + 60 * SECOND))
    trail = walked([entry(0, START, repeat)])
    trail = walked([entry(number, START + 59 * SECOND) for number in range(1, 40)], trail)
    assert trail.find(request) == (version_at(write_id(0), 0), FirstAnswer.EXISTS)
    assert trail.names(write_id(0))
    assert not trail.reaches(write_id(0))
    trail = trail.followed_by(entry(40, START + 60 * SECOND))
    assert trail.find(request) is None
    assert trail.kept == ()


def test_only_the_repeats_own_request_is_kept_beyond_the_limits() -> None:
    mixed = entry(0, START, note(1), note(2, client=5, keep_until=START + MINUTE))
    trail = walked([mixed, *(entry(number, START + number) for number in range(1, 20))])
    assert [each.requests for each in trail.kept] == [(note(2, client=5, keep_until=START + MINUTE),)]


def test_a_first_attempts_entry_goes_with_the_overflow() -> None:
    clock = HandClock()
    request = Requests(clock).new()
    trail = walked([entry(0, START, answered(request, 0, FirstAnswer.APPLIED, clock.now()))])
    trail = walked([entry(number, START + number) for number in range(1, 17)], trail)
    assert trail.find(request) is None
    assert not trail.remembers_since(request.first_sent)


def test_repeats_have_room_for_4_kib_a_minute_and_no_more() -> None:
    trail, taken = Trail(), 0
    while trail.room_for_repeat(START):
        trail = trail.followed_by(entry(taken, START, note(taken, keep_until=START + MINUTE)))
        taken += 1
    assert 90 <= taken <= KEPT_BYTES // 40
    assert trail.room_for_repeat(Instant(START + MINUTE))


# Folding


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.sampled_from(FirstAnswer)), max_size=30))
def test_folding_loses_nothing(asked: list[tuple[int, int, FirstAnswer]]) -> None:
    apart = [
        Answered(client=client, first=number, position=position, answer=answer)
        for position, (client, number, answer) in enumerate(asked)
    ]
    one = TrailEntry(write=write_id(0), time=START, requests=tuple(apart))
    fold = TrailEntry(write=write_id(0), time=START, requests=folded(apart))
    for client in range(1, 4):
        for number in range(1, 8):
            assert fold.find(client, number) == one.find(client, number)


def test_neighbours_of_one_client_fold_into_one() -> None:
    assert folded([note(number, position=number - 7) for number in range(7, 107)]) == (
        Answered(client=9, first=7, more=99),
    )


@pytest.mark.parametrize(
    "second",
    [
        note(2, client=8, position=1),
        note(3, position=1),
        note(2, position=2),
        note(2, position=1, keep_until=1),
        Answered(client=9, first=2, position=1, answer=FirstAnswer.EXISTS),
    ],
)
def test_what_is_no_neighbour_does_not_fold(second: Answered) -> None:
    assert folded([note(1), second]) == (note(1), second)


def test_each_folded_request_has_a_version_of_its_own() -> None:
    one = TrailEntry(
        write=write_id(3), time=START, requests=folded([note(5), note(6, position=1), note(7, position=2)])
    )
    assert [one.find(9, number) for number in range(4, 9)] == [
        None,
        (version_at(write_id(3), 0), FirstAnswer.APPLIED),
        (version_at(write_id(3), 1), FirstAnswer.APPLIED),
        (version_at(write_id(3), 2), FirstAnswer.APPLIED),
        None,
    ]
