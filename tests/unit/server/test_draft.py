"""Every operation upon every state of a record: what it is answered, and what it leaves behind."""

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
    UnsupportedByStore,
)
from keepstate_server.domain.operations import (
    Check,
    Delete,
    Deleted,
    Found,
    Get,
    Operation,
    Put,
    Touch,
    Touched,
    Written,
)
from keepstate_server.domain.records import (
    ABSENT,
    EXISTS,
    KEEP_EXPIRY,
    Expiry,
    Precondition,
    Record,
    Request,
    Version,
    etag_of,
)
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft, NeedsRead, Result, first_answer
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.sighting import NOTHING, Raw, Sighting, seen
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
from keepstate_server.stores.base import Absence, StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.hand import MINUTE, SETTINGS, START, HandClock, Requests, again

FIRST = WriteId(b"first write...")
NOW_WRITE = WriteId(b"the new write.")
CREATED = Instant(START - MINUTE)
VERSION = version_at(FIRST, 0)
OTHER = version_at(WriteId(b"someone else's"), 0)
LATER = Instant(START + 5 * MINUTE)


def envelope(*, expire: Instant | None = None, died: Instant | None = None, trail: Trail | None = None) -> Envelope:
    return Envelope(
        version=VERSION,
        value=b"" if died else b"old",
        content_type="text/plain",
        create_time=CREATED,
        update_time=CREATED,
        expire_time=expire,
        death_time=died,
        write_time=CREATED,
        trail=trail or Trail(entries=(TrailEntry(write=FIRST, time=CREATED),)),
    )


def raw(expire: Instant | None = None) -> Sighting:
    return Sighting(etag=StoreEtag("1"), content=Raw(value=b"old", version=VERSION, expire_time=expire))


STATES = {
    "absent": NOTHING,
    "live": Sighting(etag=StoreEtag("1"), content=envelope()),
    "expiring": Sighting(etag=StoreEtag("1"), content=envelope(expire=LATER)),
    "expired": Sighting(etag=StoreEtag("1"), content=envelope(expire=START)),
    "dead": Sighting(etag=StoreEtag("1"), content=envelope(died=CREATED)),
    "raw": raw(),
    "raw expiring": raw(LATER),
    "raw expired": raw(START),
}
THERE = {"live", "expiring", "raw", "raw expiring"}
ALL = sorted(STATES)
GONE = sorted(STATES.keys() - THERE)


def draft(sighting: Sighting, *, tells_expiry: bool = True) -> Draft:
    return Draft(sighting, write=NOW_WRITE, now=START, settings=SETTINGS, tells_expiry=tells_expiry)


def applied(operation: Operation | Check, state: str) -> tuple[Result, Draft]:
    one = draft(STATES[state])
    return one.apply(operation, 0), one


def reached(result: Result) -> tuple[type, str]:
    etag = result.etag if isinstance(result, RecordChanged | RecordExists | RecordMissing) else ""
    return type(result), etag


CONDITIONS: dict[str, Precondition] = {
    "none": None,
    "absent": ABSENT,
    "exists": EXISTS,
    "its etag": VERSION,
    "another etag": OTHER,
}

# What a precondition comes to where a record is, and where none is. None: it holds.
VERDICTS: dict[str, tuple[tuple[type, str] | None, tuple[type, str] | None]] = {
    "none": (None, None),
    "absent": ((RecordExists, etag_of(VERSION)), None),
    "exists": (None, (RecordMissing, "")),
    "its etag": (None, (RecordChanged, "")),
    "another etag": ((RecordChanged, etag_of(VERSION)), (RecordChanged, "")),
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("state", ALL)
@pytest.mark.parametrize("kind", [Put, Delete, Touch, Check])
def test_a_precondition_is_judged_alike_for_every_operation_and_state(
    kind: type[Put | Delete | Touch | Check], state: str, condition: str
) -> None:
    precondition = CONDITIONS[condition]
    operation: Operation | Check
    if kind is Put:
        operation = Put(name=name(), value=b"new", precondition=precondition)
    elif kind is Delete:
        operation = Delete(name=name(), precondition=precondition)
    elif kind is Touch:
        operation = Touch(name=name(), precondition=precondition)
    else:
        operation = Check(name=name(), precondition=precondition)
    result, after = applied(operation, state)
    expected = VERDICTS[condition][0 if state in THERE else 1]
    if expected is None and kind is Touch and state not in THERE:
        expected = (RecordMissing, "")  # there is nothing to move
    if expected is None:
        assert not isinstance(result, KeepstateError)
    else:
        assert reached(result) == expected
        assert not after.changed


# What each leaves behind


@pytest.mark.parametrize("state", ALL)
def test_a_put_leaves_a_live_record_with_a_version_of_its_own(state: str) -> None:
    result, after = applied(Put(name=name(), value=b"new", content_type="a/b"), state)
    left = after.envelope()
    assert result == Written(version=version_at(NOW_WRITE, 0))
    assert (left.version, left.value, left.content_type) == (version_at(NOW_WRITE, 0), b"new", "a/b")
    assert left.lives(START)
    assert (left.death_time, left.expire_time, left.update_time, left.write_time) == (None, None, START, START)
    assert left.trail.entries[0] == TrailEntry(write=NOW_WRITE, time=START)


@pytest.mark.parametrize(
    ("state", "created"),
    [("absent", START), ("live", CREATED), ("expired", START), ("dead", START), ("raw", None), ("raw expired", START)],
)
def test_a_life_begins_when_there_was_none(state: str, created: Instant | None) -> None:
    assert applied(Put(name=name(), value=b"new"), state)[1].envelope().create_time == created


@pytest.mark.parametrize("state", ALL)
def test_a_delete_leaves_a_tombstone_only_where_a_record_was(state: str) -> None:
    result, after = applied(Delete(name=name()), state)
    assert result == Deleted(existed=state in THERE)
    assert after.changed is (state in THERE)
    if state in THERE:
        left = after.envelope()
        assert not left.lives(Instant(0))
        assert (left.death_time, left.value, left.version) == (START, b"", version_at(NOW_WRITE, 0))


@pytest.mark.parametrize("state", sorted(THERE))
def test_a_touch_changes_the_expiry_and_nothing_else(state: str) -> None:
    result, after = applied(Touch(name=name(), expire_at=LATER), state)
    before = STATES[state].record(START)
    left = Sighting(etag=StoreEtag("2"), content=after.envelope()).record(START)
    assert before is not None
    assert result == Touched(version=VERSION, expire_at=LATER)
    assert left == replace(before, expire_time=LATER)
    assert after.envelope().last_write == NOW_WRITE


@pytest.mark.parametrize("state", sorted(THERE))
def test_a_touch_to_never_clears_the_expiry(state: str) -> None:
    result, after = applied(Touch(name=name(), expire_at=None), state)
    assert result == Touched(version=VERSION, expire_at=None)
    assert after.envelope().expire_time is None


@pytest.mark.parametrize("state", ALL)
def test_a_get_writes_nothing(state: str) -> None:
    result, after = applied(Get(name=name()), state)
    assert not after.changed
    if state in THERE:
        assert isinstance(result, Found)
        assert result.record.value == b"old"
    else:
        assert isinstance(result, RecordMissing)


@pytest.mark.parametrize("state", ALL)
def test_a_sliding_get_moves_the_expiry_of_a_record_that_is_there(state: str) -> None:
    result, after = applied(Get(name=name(), slide_to=LATER), state)
    assert after.changed is (state in THERE)
    if state in THERE:
        assert isinstance(result, Found)
        assert (result.record.expire_time, result.record.version) == (LATER, VERSION)
        left = after.envelope()
        assert (left.expire_time, left.version, left.value) == (LATER, VERSION, b"old")


@pytest.mark.parametrize(
    ("state", "asked", "left"),
    [
        ("expiring", None, None),
        ("expiring", KEEP_EXPIRY, LATER),
        ("expiring", START + 1, START + 1),
        ("live", KEEP_EXPIRY, None),
        ("expired", KEEP_EXPIRY, None),
        ("dead", KEEP_EXPIRY, None),
        ("absent", KEEP_EXPIRY, None),
        ("raw expiring", KEEP_EXPIRY, LATER),
        ("raw expiring", None, None),
    ],
)
def test_a_put_clears_the_expiry_unless_told_otherwise(state: str, asked: Expiry, left: int | None) -> None:
    _, after = applied(Put(name=name(), value=b"new", expiry=asked), state)
    assert after.envelope().expire_time == left


def test_an_expiry_that_is_not_seen_cannot_be_kept() -> None:
    one = draft(raw(), tells_expiry=False)
    result = one.apply(Put(name=name(), value=b"new", expiry=KEEP_EXPIRY), 0)
    assert isinstance(result, UnsupportedByStore)
    assert not one.changed


@pytest.mark.parametrize(
    "before",
    [
        Put(name=name(), value=b"mine", expiry=LATER),
        Touch(name=name(), expire_at=LATER),
        Get(name=name(), slide_to=LATER),
    ],
)
def test_an_expiry_that_was_just_given_can_be_kept(before: Operation) -> None:
    one = draft(raw(), tells_expiry=False)
    one.apply(before, 0)
    assert isinstance(one.apply(Put(name=name(), value=b"new", expiry=KEEP_EXPIRY), 1), Written)
    assert one.envelope().expire_time == LATER


def test_an_unseen_expiry_is_cleared_by_a_put_without_one() -> None:
    one = draft(raw(), tells_expiry=False)
    assert isinstance(one.apply(Put(name=name(), value=b"new"), 0), Written)
    assert one.envelope().expire_time is None


@pytest.mark.parametrize(
    ("state", "died"), [("expired", START), ("dead", CREATED), ("absent", START), ("raw expired", START)]
)
def test_a_death_keeps_its_time(state: str, died: Instant) -> None:
    clock = HandClock()
    _, after = applied(Delete(name=name(), request=again(Requests(clock).new())), state)
    assert after.envelope().death_time == died


def test_an_etag_never_matches_a_later_life() -> None:
    """Also where a key is deleted and created within one write."""
    one = draft(STATES["live"])
    one.apply(Delete(name=name(), precondition=VERSION), 0)
    assert isinstance(one.apply(Put(name=name(), value=b"new", precondition=VERSION), 1), RecordChanged)
    one.apply(Put(name=name(), value=b"new"), 2)
    assert isinstance(one.apply(Put(name=name(), value=b"b", precondition=VERSION), 3), RecordChanged)
    assert one.envelope().create_time == START


# Several operations in one write


def test_operations_of_one_write_see_each_other_in_order() -> None:
    one = draft(NOTHING)
    operations: list[Operation] = [
        Put(name=name(), value=b"1", precondition=ABSENT),
        Put(name=name(), value=b"2", precondition=ABSENT),
        Get(name=name()),
        Put(name=name(), value=b"3", precondition=version_at(NOW_WRITE, 0), expiry=LATER),
        Touch(name=name(), expire_at=None),
        Delete(name=name(), precondition=version_at(NOW_WRITE, 3)),
        Delete(name=name()),
        Get(name=name()),
        Put(name=name(), value=b"4"),
    ]
    results = [one.apply(operation, position) for position, operation in enumerate(operations)]
    assert results[0] == Written(version=version_at(NOW_WRITE, 0))
    assert reached(results[1]) == (RecordExists, etag_of(version_at(NOW_WRITE, 0)))
    assert isinstance(results[2], Found)
    assert results[2].record.value == b"1"
    assert results[3] == Written(version=version_at(NOW_WRITE, 3))
    assert results[4] == Touched(version=version_at(NOW_WRITE, 3), expire_at=None)
    assert results[5] == Deleted(existed=True)
    assert results[6] == Deleted(existed=False)
    assert isinstance(results[7], RecordMissing)
    assert one.envelope().value == b"4"
    assert one.envelope().version == version_at(NOW_WRITE, 8)


def test_a_failed_operation_neither_hides_nor_undoes_another() -> None:
    one = draft(STATES["live"])
    assert isinstance(one.apply(Put(name=name(), value=b"a"), 0), Written)
    assert isinstance(one.apply(Put(name=name(), value=b"b", precondition=OTHER), 1), RecordChanged)
    assert one.envelope().value == b"a"


# Hints


def hinted(state: str) -> Sighting:
    return STATES[state].as_hint()


@pytest.mark.parametrize("state", ["live", "expiring", "expired", "dead"])
@pytest.mark.parametrize(
    "operation",
    [
        Get(name=name()),
        Get(name=name(), slide_to=LATER),
        Put(name=name(), value=b"", precondition=OTHER),
        Delete(name=name(), precondition=OTHER),
        Touch(name=name(), expire_at=LATER),
        Check(name=name(), precondition=OTHER),
    ],
)
def test_a_hint_answers_no_no_and_gives_no_value(state: str, operation: Operation | Check) -> None:
    with pytest.raises(NeedsRead):
        draft(hinted(state)).apply(operation, 0)


@pytest.mark.parametrize("state", ["expired", "dead"])
def test_nothing_to_delete_is_never_answered_from_a_hint(state: str) -> None:
    with pytest.raises(NeedsRead):
        draft(hinted(state)).apply(Delete(name=name()), 0)


@pytest.mark.parametrize("operation", [Put(name=name(), value=b"", precondition=EXISTS), Delete(name=name())])
def test_an_absence_that_is_only_likely_answers_no_no(operation: Operation) -> None:
    with pytest.raises(NeedsRead):
        draft(seen(Absence.LIKELY)).apply(operation, 0)


@pytest.mark.parametrize("precondition", [None, EXISTS, VERSION])
def test_a_write_may_rest_on_a_hint(precondition: Precondition) -> None:
    put, delete = draft(hinted("live")), draft(hinted("live"))
    assert isinstance(put.apply(Put(name=name(), value=b"new", precondition=precondition), 0), Written)
    assert delete.apply(Delete(name=name(), precondition=precondition), 0) == Deleted(existed=True)
    assert put.changed
    assert delete.changed


@pytest.mark.parametrize("state", ["dead", "expired"])
def test_a_record_may_be_revived_upon_a_hint(state: str) -> None:
    assert isinstance(draft(hinted(state)).apply(Put(name=name(), value=b"new", precondition=ABSENT), 0), Written)


def test_a_value_that_was_just_put_is_known_also_upon_a_hint() -> None:
    one = draft(hinted("live"))
    one.apply(Put(name=name(), value=b"new"), 0)
    found = one.apply(Get(name=name()), 1)
    assert isinstance(found, Found)
    assert found.record.value == b"new"
    assert isinstance(one.apply(Touch(name=name(), expire_at=LATER), 2), Touched)


def test_a_refusal_upon_a_hint_is_not_noted_without_the_value() -> None:
    request = again(Requests(HandClock()).new())
    with pytest.raises(NeedsRead):
        draft(hinted("live")).apply(Put(name=name(), value=b"", precondition=OTHER, request=request), 0)


# Requests


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


# Expiry to the millisecond


@pytest.mark.parametrize(("now", "there"), [(LATER - 1, True), (LATER, False), (LATER + 1, False)])
@pytest.mark.parametrize("state", ["expiring", "raw expiring"])
def test_a_record_is_gone_from_its_expiry_on(state: str, now: int, there: bool) -> None:
    record: Record | None = STATES[state].record(Instant(now))
    assert (record is not None) is there
