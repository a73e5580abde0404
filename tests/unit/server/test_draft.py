"""Every operation upon every state of a record: what it is answered, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepstate_server.domain.errors import (
    KeepstateError,
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
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, Expiry, Precondition, Record, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import NeedsRead
from keepstate_server.engine.sighting import NOTHING, Sighting, seen
from keepstate_server.engine.trail import TrailEntry, version_at
from keepstate_server.stores.base import Absence, StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.drafts import (
    ALL,
    CREATED,
    LATER,
    NOW_WRITE,
    OTHER,
    STATES,
    THERE,
    VERSION,
    applied,
    draft,
    raw,
    reached,
)
from tests.unit.server.hand import START, HandClock, Requests, again

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


# Expiry to the millisecond


@pytest.mark.parametrize(("now", "there"), [(LATER - 1, True), (LATER, False), (LATER + 1, False)])
@pytest.mark.parametrize("state", ["expiring", "raw expiring"])
def test_a_record_is_gone_from_its_expiry_on(state: str, now: int, there: bool) -> None:
    record: Record | None = STATES[state].record(Instant(now))
    assert (record is not None) is there
