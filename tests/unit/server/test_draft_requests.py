"""Requests in drafts: what is remembered of them, and what their repeats are answered."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from keepstate_server.domain.errors import (
    InvalidFields,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    RecordChanged,
    RecordExists,
    RecordMissing,
)
from keepstate_server.domain.operations import Delete, Deleted, Put, Touch, Touched, Written
from keepstate_server.domain.records import ABSENT, EXISTS, Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft, Result, first_answer
from keepstate_server.engine.sighting import NOTHING, Sighting
from keepstate_server.engine.trail import (
    Answered,
    FirstAnswer,
    Trail,
    TrailEntry,
    WriteId,
    answered,
    version_at,
    write_of,
)
from keepstate_server.stores.base import StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.drafts import (
    CREATED,
    FIRST,
    LATER,
    NOW_WRITE,
    OTHER,
    STATES,
    VERSION,
    applied,
    draft,
    envelope,
    raw,
)
from tests.unit.server.hand import MINUTE, SETTINGS, START, HandClock, Requests, again


@dataclass(frozen=True)
class Past:
    """A record whose trail remembers one request, and what came of it."""

    request: Request
    sighting: Sighting


def after_request(answer: FirstAnswer, *, position: int = 0, died: bool = False, others: int = 0) -> Past:
    clock = HandClock(CREATED)
    request = Requests(clock).new()
    trail = Trail().followed_by(
        TrailEntry(write=FIRST, time=CREATED, requests=(answered(request, position, answer, CREATED),))
    )
    for number in range(others):
        trail = trail.followed_by(TrailEntry(write=WriteId(b"other" + number.to_bytes(9, "big")), time=CREATED))
    content = replace(envelope(died=CREATED if died else None, trail=trail), version=version_at(FIRST, position))
    if others:
        content = replace(content, version=version_at(content.last_write, 0))
    return Past(request, Sighting(etag=StoreEtag("1"), content=content))


WRITES: dict[str, Put | Delete | Touch] = {
    "put": Put(name=name(), value=b"new"),
    "delete": Delete(name=name()),
    "touch": Touch(name=name(), expire_at=LATER),
}


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(
    ("write", "answer", "died", "expected"),
    [
        ("put", FirstAnswer.APPLIED, False, Written(version=version_at(FIRST, 3))),
        ("put", FirstAnswer.APPLIED, True, Written(version=version_at(FIRST, 3))),
        ("delete", FirstAnswer.APPLIED, True, Deleted(existed=True)),
        ("delete", FirstAnswer.APPLIED, False, Deleted(existed=True)),
        ("delete", FirstAnswer.NOTHING_THERE, False, Deleted(existed=False)),
        ("touch", FirstAnswer.APPLIED, False, Touched(version=version_at(FIRST, 3), expire_at=LATER)),
    ],
)
def test_a_request_that_was_answered_gets_the_first_answer(
    write: str, answer: FirstAnswer, died: bool, expected: Result, repeated: bool
) -> None:
    past = after_request(answer, position=3, died=died)
    request = again(past.request) if repeated else past.request
    one = draft(past.sighting)
    assert one.apply(replace(WRITES[write], request=request), 0) == expected
    assert not one.changed


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (FirstAnswer.ETAG_MISMATCH, RecordChanged),
        (FirstAnswer.EXISTS, RecordExists),
        (FirstAnswer.NOT_FOUND, RecordMissing),
    ],
)
def test_a_request_that_was_refused_is_refused_again_though_it_would_hold_now(
    answer: FirstAnswer, error: type[KeepstateError]
) -> None:
    past = after_request(answer)
    one = draft(past.sighting)
    assert isinstance(one.apply(replace(WRITES["put"], request=past.request), 0), error)
    assert not one.changed


def test_a_request_that_was_used_for_another_kind_of_write_is_invalid() -> None:
    past = after_request(FirstAnswer.NOTHING_THERE, died=True)
    for write in ("put", "touch"):
        result = draft(past.sighting).apply(replace(WRITES[write], request=past.request), 0)
        assert isinstance(result, InvalidFields)
        assert [violation.field for violation in result.violations] == ["request"]


@pytest.mark.parametrize("others", [0, 3])
def test_a_repeated_touch_never_gives_out_the_etag_of_a_version_that_it_did_not_touch(others: int) -> None:
    """Its caller never read that version, and would overwrite it by that etag unseen."""
    past = after_request(FirstAnswer.APPLIED, others=others)
    result = draft(past.sighting).apply(replace(WRITES["touch"], request=again(past.request)), 0)
    assert isinstance(result, Touched)
    record = past.sighting.record(START)
    assert record is not None
    assert (result.version == record.version) is (others == 0)


def touched(*, then: str) -> tuple[Touched, Version]:
    """A touch in the middle of a write, and what a repeat is told after that write ended so."""
    requests = Requests(HandClock())
    request = requests.new()
    one = draft(STATES["live"])
    one.apply(Touch(name=name(), expire_at=LATER, request=request), 0)
    if then == "put":
        one.apply(Put(name=name(), value=b"of another"), 1)
    elif then == "delete":
        one.apply(Delete(name=name()), 1)
    left = one.envelope()
    if then == "touched by others":
        trail = left.trail.followed_by(TrailEntry(write=WriteId(b"another touch "), time=START))
        left = replace(left, trail=trail)
    repeat = Draft(Sighting(etag=StoreEtag("2"), content=left), write=WriteId(b"x" * 14), now=START, settings=SETTINGS)
    result = repeat.apply(Touch(name=name(), expire_at=LATER, request=again(request)), 0)
    assert isinstance(result, Touched)
    return result, left.version


@pytest.mark.parametrize(
    ("then", "stands"), [("", True), ("touched by others", True), ("put", False), ("delete", False)]
)
def test_a_repeated_touch_gives_the_etag_that_stood_as_long_as_it_stands(then: str, stands: bool) -> None:
    result, version = touched(then=then)
    assert (result.version == version) is stands
    assert result.expire_at == LATER


def test_one_request_twice_in_one_write_is_applied_once() -> None:
    request = Requests(HandClock()).new()
    one = draft(NOTHING)
    put = Put(name=name(), value=b"new", request=request)
    assert one.apply(put, 0) == one.apply(put, 1) == Written(version=version_at(NOW_WRITE, 0))
    assert one.envelope().version == version_at(NOW_WRITE, 0)
    assert len(one.envelope().trail.entries[0].requests) == 1


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_remembered_with_its_request(write: str) -> None:
    request = Requests(HandClock()).new()
    one = draft(STATES["live"])
    one.apply(replace(WRITES[write], request=request), 5)
    found = one.envelope().trail.find(request)
    assert found == (version_at(NOW_WRITE, 5), FirstAnswer.APPLIED)


REFUSED = [
    (Put(name=name(), value=b"", precondition=OTHER), "live", FirstAnswer.ETAG_MISMATCH),
    (Put(name=name(), value=b"", precondition=VERSION), "absent", FirstAnswer.ETAG_MISMATCH),
    (Put(name=name(), value=b"", precondition=ABSENT), "live", FirstAnswer.EXISTS),
    (Put(name=name(), value=b"", precondition=EXISTS), "dead", FirstAnswer.NOT_FOUND),
    (Touch(name=name()), "absent", FirstAnswer.NOT_FOUND),
    (Touch(name=name()), "expired", FirstAnswer.NOT_FOUND),
    (Delete(name=name()), "absent", FirstAnswer.NOTHING_THERE),
    (Delete(name=name()), "dead", FirstAnswer.NOTHING_THERE),
    (Delete(name=name(), precondition=OTHER), "raw", FirstAnswer.ETAG_MISMATCH),
]


@pytest.mark.parametrize(("write", "state", "answer"), REFUSED)
def test_a_repeats_refusal_is_written_down_and_leaves_the_record_as_it_is(
    write: Put | Delete | Touch, state: str, answer: FirstAnswer
) -> None:
    request = again(Requests(HandClock()).new())
    result, after = applied(replace(write, request=request), state)
    assert first_answer(result) is answer
    assert after.changed
    left = after.envelope()
    found = left.trail.find(request)
    assert found is not None
    assert found[1] is answer
    assert left.trail.entries[0].requests[0].keep_until == START + SETTINGS.repeat_life_ms
    before = STATES[state].record(START)
    assert Sighting(etag=StoreEtag("2"), content=left).record(START) == before


@pytest.mark.parametrize(("write", "state", "answer"), REFUSED)
def test_a_first_attempts_refusal_is_not_written_down(
    write: Put | Delete | Touch, state: str, answer: FirstAnswer
) -> None:
    result, after = applied(replace(write, request=Requests(HandClock()).new()), state)
    assert first_answer(result) is answer
    assert not after.changed


@pytest.mark.parametrize("write", WRITES)
def test_a_repeat_after_the_trail_forgot_is_answered_unknown(write: str) -> None:
    clock = HandClock()
    request = again(Requests(clock).new())
    margin = 2 * SETTINGS.clock_difference_ms
    for forgotten, known in ((START - margin - 1, True), (START - margin, False), (START, False)):
        trail = replace(envelope().trail, forgotten=Instant(forgotten))
        one = draft(Sighting(etag=StoreEtag("1"), content=envelope(trail=trail)))
        result = one.apply(replace(WRITES[write], request=request), 0)
        assert isinstance(result, OutcomeUnknown) is not known
        assert known or (isinstance(result, OutcomeUnknown) and result.for_good)
        assert one.changed is known


@pytest.mark.parametrize("write", WRITES)
def test_a_first_attempt_does_not_mind_what_the_trail_forgot(write: str) -> None:
    trail = replace(envelope().trail, forgotten=START)
    one = draft(Sighting(etag=StoreEtag("1"), content=envelope(trail=trail)))
    assert not isinstance(one.apply(replace(WRITES[write], request=Requests(HandClock()).new()), 0), KeepstateError)


def test_a_repeat_on_nothing_is_applied_only_within_half_a_dead_life() -> None:
    half, margin = SETTINGS.dead_life_ms // 2, 2 * SETTINGS.clock_difference_ms
    for age, known in ((half - margin - 1, True), (half - margin, False), (half, False), (24 * 60 * MINUTE, False)):
        request = again(Requests(HandClock(START - age)).new())
        result = draft(NOTHING).apply(replace(WRITES["put"], request=request), 0)
        assert isinstance(result, OutcomeUnknown) is not known


def test_a_repeat_on_another_programs_value_is_applied() -> None:
    request = again(Requests(HandClock()).new())
    assert isinstance(draft(raw()).apply(replace(WRITES["put"], request=request), 0), Written)


def repeats_taken(*, clients: int) -> list[Result]:
    """So many repeats at once, in one write, of one client or of many."""
    one = draft(STATES["live"])
    sources = [Requests(HandClock(), client=client + 1) for client in range(clients)]
    return [
        one.apply(replace(WRITES["put"], request=again(sources[number % clients].new())), number)
        for number in range(400)
    ]


def test_more_repeats_than_can_be_kept_are_turned_away() -> None:
    results = repeats_taken(clients=400)
    assert 50 < sum(isinstance(each, Written) for each in results) < 300
    assert all(isinstance(each, Written | Overloaded) for each in results)


def test_repeats_of_one_client_in_a_row_take_the_room_of_one() -> None:
    assert all(isinstance(each, Written) for each in repeats_taken(clients=1))


def test_repeats_that_are_kept_count_until_their_60_seconds_are_over() -> None:
    trail = Trail(
        entries=envelope().trail.entries,
        kept=tuple(
            TrailEntry(
                write=WriteId(b"kept" + number.to_bytes(10, "big")),
                time=CREATED,
                requests=(Answered(client=1, first=number + 1000, keep_until=Instant(START + 1)),),
            )
            for number in range(110)
        ),
    )
    for now, turned_away in ((START, True), (START + 1, False)):
        request = again(Requests(HandClock(now)).new())
        one = Draft(
            Sighting(etag=StoreEtag("1"), content=envelope(trail=trail)),
            write=NOW_WRITE,
            now=Instant(now),
            settings=SETTINGS,
        )
        assert isinstance(one.apply(replace(WRITES["put"], request=request), 0), Overloaded) is turned_away
        assert one.changed is not turned_away


def test_a_request_of_more_than_the_past_is_found_in_the_tombstone() -> None:
    """Dead records remember: the repeat of a put that was applied and deleted since applies nothing."""
    request = Requests(HandClock()).new()
    one = draft(NOTHING)
    one.apply(Put(name=name(), value=b"v", request=request), 0)
    deleted = Draft(Sighting(etag=StoreEtag("1"), content=one.envelope()), write=FIRST, now=LATER, settings=SETTINGS)
    deleted.apply(Delete(name=name()), 0)
    repeat = Draft(
        Sighting(etag=StoreEtag("2"), content=deleted.envelope()),
        write=WriteId(b"z" * 14),
        now=LATER,
        settings=SETTINGS,
    )
    assert repeat.apply(Put(name=name(), value=b"v", request=again(request)), 0) == Written(
        version=version_at(NOW_WRITE, 0)
    )
    assert not repeat.changed


def test_a_record_created_where_there_was_none_has_forgotten_what_is_older_than_half_a_dead_life() -> None:
    _, after = applied(WRITES["put"], "absent")
    assert after.envelope().trail.forgotten == START - SETTINGS.dead_life_ms // 2


def test_another_programs_value_stays_named_in_the_trail_that_follows_it() -> None:
    _, after = applied(WRITES["put"], "raw")
    assert after.envelope().trail.reaches(write_of(VERSION))
