"""Updates in drafts: what they read and leave, and what their repeats are answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepstate_server.domain.errors import (
    InvalidFields,
    Overloaded,
    RecordChanged,
    RecordMissing,
    UnsupportedByStore,
    UpdateNotApplicable,
)
from keepstate_server.domain.operations import (
    Append,
    Change,
    Delete,
    Deleted,
    Increment,
    MergePatch,
    Put,
    Touch,
    Update,
    Updated,
    Written,
)
from keepstate_server.domain.records import EXISTS, KEEP_EXPIRY, Expiry, Record, Request, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft, NeedsRead, Result
from keepstate_server.engine.envelope import Envelope
from keepstate_server.engine.room import Room
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import NOTHING, Raw, Sighting
from keepstate_server.engine.trail import FirstAnswer, WriteId, version_at
from keepstate_server.stores.base import StoreEtag
from tests.unit.server.cases import name
from tests.unit.server.drafts import CREATED, LATER, NOW_WRITE, OTHER, STATES, VERSION, draft, envelope, raw
from tests.unit.server.hand import SETTINGS, START, HandClock, Requests, again

ADD = Update(name=name(), change=Increment(delta=2))
CHANGES: dict[str, tuple[Change, bytes, bytes]] = {
    "increment": (Increment(delta=2), b"40", b"42"),
    "append": (Append(items=[b"2"]), b"[1]", b"[1,2]"),
    "merge patch": (MergePatch(patch=b'{"b":2}'), b'{"a":1}', b'{"a":1,"b":2}'),
}


def standing(value: bytes, state: str = "live") -> Sighting:
    """A record as `STATES` has it, with this value."""
    sighting = STATES[state]
    assert isinstance(sighting.content, Envelope | Raw)
    return replace(sighting, content=replace(sighting.content, value=value))


def upon(envelope: Envelope, *, write: bytes = b"a later write.", room: Room | None = None) -> Draft:
    sighting = Sighting(etag=StoreEtag("2"), content=envelope)
    return Draft(sighting, write=WriteId(write), now=START, settings=SETTINGS, room=room)


def record_of(result: Result) -> Record:
    assert isinstance(result, Updated)
    assert result.record is not None
    return result.record


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("state", ["live", "expiring", "raw", "raw expiring"])
def test_an_update_leaves_and_returns_the_changed_record(kind: str, state: str) -> None:
    change, before, after = CHANGES[kind]
    one = draft(standing(before, state))
    result = one.apply(Update(name=name(), change=change), 0)
    assert result == Updated(
        record=Record(
            value=after,
            content_type="application/json",
            version=version_at(NOW_WRITE, 0),
            create_time=None if "raw" in state else CREATED,
            update_time=START,
            expire_time=None,
        )
    )
    left = one.envelope()
    assert Sighting(etag=StoreEtag("2"), content=left).record(START) == record_of(result)


@pytest.mark.parametrize("state", ["absent", "dead", "expired", "raw expired"])
def test_an_update_of_nothing_begins_a_life(state: str) -> None:
    one = draft(STATES[state])
    record = record_of(one.apply(Update(name=name(), change=Increment(delta=1, initial=6)), 0))
    assert (record.value, record.create_time) == (b"7", START)
    assert one.envelope().lives(START)


@pytest.mark.parametrize(("asked", "left"), [(None, None), (LATER, LATER), (KEEP_EXPIRY, Instant(LATER - 1))])
def test_an_update_sets_the_expiry_like_any_write(asked: Expiry, left: Instant | None) -> None:
    sighting = Sighting(etag=StoreEtag("1"), content=replace(envelope(expire=Instant(LATER - 1)), value=b"1"))
    one = draft(sighting)
    assert record_of(one.apply(replace(ADD, expiry=asked), 0)).expire_time == left
    assert one.envelope().expire_time == left


def test_an_update_cannot_keep_an_expiry_that_is_not_seen() -> None:
    one = draft(replace(raw(), content=Raw(value=b"1", version=VERSION, expire_time=None)), tells_expiry=False)
    assert isinstance(one.apply(replace(ADD, expiry=KEEP_EXPIRY), 0), UnsupportedByStore)
    assert not one.changed
    assert record_of(one.apply(ADD, 0)).value == b"3"


def test_a_precondition_is_judged_before_the_value() -> None:
    for precondition, error in ((OTHER, RecordChanged), (VERSION, None)):
        result = draft(standing(b"1")).apply(replace(ADD, precondition=precondition), 0)
        assert isinstance(result, Updated if error is None else error)
    assert isinstance(draft(standing(b"no number")).apply(replace(ADD, precondition=OTHER), 0), RecordChanged)
    assert isinstance(draft(NOTHING).apply(replace(ADD, precondition=EXISTS), 0), RecordMissing)


def test_an_update_that_does_not_fit_changes_nothing_and_names_the_record() -> None:
    one = draft(standing(b"not a secret"))
    result = one.apply(ADD, 0)
    assert isinstance(result, UpdateNotApplicable)
    assert (result.name, result.etag) == (name(), etag_of(VERSION))
    assert result.message == "the value is not a whole number of 64 bits"
    assert not one.changed
    assert isinstance(one.apply(Put(name=name(), value=b"1"), 1), Written)
    assert record_of(one.apply(ADD, 2)).value == b"3"


def test_a_value_that_would_be_over_the_limit_is_refused() -> None:
    settings = EngineSettings(value_bytes=5)
    one = Draft(standing(b"[1,2]"), write=NOW_WRITE, now=START, settings=settings)
    result = one.apply(Update(name=name(), change=Append(items=[b"3"])), 0)
    assert isinstance(result, UpdateNotApplicable)
    assert "5 bytes" in result.message
    assert not one.changed
    kept = one.apply(Update(name=name(), change=Append(items=[b"3"], max_length=2)), 0)
    assert record_of(kept).value == b"[2,3]"


def test_updates_in_one_write_build_upon_each_other() -> None:
    one = draft(standing(b"0"))
    results = [one.apply(ADD, position) for position in range(50)]
    assert [record_of(result).value for result in results] == [str(2 * number).encode() for number in range(1, 51)]
    assert len({record_of(result).version for result in results}) == 50
    assert one.envelope().value == b"100"
    assert one.envelope().version == version_at(NOW_WRITE, 49)


# Hints


def test_a_hint_has_no_value_to_change() -> None:
    for update in (ADD, replace(ADD, precondition=VERSION), replace(ADD, precondition=OTHER)):
        with pytest.raises(NeedsRead):
            draft(standing(b"1").as_hint()).apply(update, 0)


def test_an_absence_upon_a_hint_may_be_updated_but_not_refused() -> None:
    hint = STATES["dead"].as_hint()
    assert record_of(draft(hint).apply(ADD, 0)).value == b"2"
    with pytest.raises(NeedsRead):
        draft(hint).apply(Update(name=name(), change=Increment(delta=2, maximum=1)), 0)


def test_a_value_that_was_just_put_upon_a_hint_may_be_updated() -> None:
    one = draft(standing(b"no number").as_hint())
    one.apply(Put(name=name(), value=b"1"), 0)
    assert record_of(one.apply(ADD, 1)).value == b"3"


@pytest.mark.parametrize("died", [False, True])
def test_a_repeat_is_not_told_of_the_record_now_by_a_hint(died: bool) -> None:
    left, request = updated_once(died=died)
    hint = Sighting(etag=StoreEtag("2"), content=left).as_hint()
    with pytest.raises(NeedsRead):
        draft(hint).apply(replace(ADD, request=request), 0)


# Requests


def updated_once(*, died: bool = False) -> tuple[Envelope, Request]:
    """What an update with a request left, and what others did since."""
    request = Requests(HandClock()).new()
    one = draft(standing(b"1"))
    assert record_of(one.apply(replace(ADD, request=request), 0)).value == b"3"
    others = upon(one.envelope(), write=b"others' write.")
    others.apply(Delete(name=name()) if died else Put(name=name(), value=b"no number"), 0)
    return others.envelope(), request


@pytest.mark.parametrize("repeated", [False, True])
def test_a_repeat_is_told_the_record_as_it_is_now_and_changes_nothing(repeated: bool) -> None:
    left, request = updated_once()
    one = upon(left)
    result = one.apply(replace(ADD, request=again(request) if repeated else request), 0)
    assert result == Updated(record=Sighting(content=left).record(START), repeated=True)
    assert record_of(result).value == b"no number"
    assert not one.changed


def test_a_repeat_of_an_update_whose_record_is_gone_is_told_that_there_is_none() -> None:
    left, request = updated_once(died=True)
    assert upon(left).apply(replace(ADD, request=again(request)), 0) == Updated(record=None, repeated=True)


def test_one_request_twice_in_one_write_is_applied_once() -> None:
    request = Requests(HandClock()).new()
    one = draft(standing(b"1"))
    first = one.apply(replace(ADD, request=request), 0)
    assert one.apply(replace(ADD, request=request), 1) == Updated(record=record_of(first), repeated=True)
    assert one.envelope().value == b"3"


def test_the_refusal_of_a_repeat_is_noted_and_given_again_though_the_update_would_fit_now() -> None:
    request = again(Requests(HandClock()).new())
    one = draft(standing(b"no number"))
    assert isinstance(one.apply(replace(ADD, request=request), 0), UpdateNotApplicable)
    assert one.changed
    left = one.envelope()
    assert left.value == b"no number"
    assert left.trail.find(request) == (version_at(NOW_WRITE, 0), FirstAnswer.NOT_APPLICABLE)
    others = upon(left, write=b"others' write.")
    others.apply(Put(name=name(), value=b"1"), 0)
    first_attempt = replace(request, repeated=False)
    late = upon(others.envelope())
    refused = late.apply(replace(ADD, request=first_attempt), 0)
    assert isinstance(refused, UpdateNotApplicable)
    assert (refused.etag, refused.message != "") == (etag_of(version_at(WriteId(b"others' write."), 0)), True)
    assert not late.changed


def test_a_first_attempt_that_does_not_fit_is_not_noted() -> None:
    one = draft(standing(b"no number"))
    assert isinstance(one.apply(replace(ADD, request=Requests(HandClock()).new()), 0), UpdateNotApplicable)
    assert not one.changed


@pytest.mark.parametrize("other", [Put(name=name(), value=b""), Delete(name=name()), Touch(name=name())])
def test_a_request_that_was_an_updates_is_no_other_writes(other: Put | Delete | Touch) -> None:
    request = again(Requests(HandClock()).new())
    one = draft(standing(b"no number"))
    one.apply(replace(ADD, request=request), 0)
    result = upon(one.envelope()).apply(replace(other, request=request), 0)
    assert isinstance(result, InvalidFields)
    assert [violation.field for violation in result.violations] == ["request"]


def test_a_request_that_was_a_deletes_is_no_updates() -> None:
    request = again(Requests(HandClock()).new())
    one = draft(NOTHING)
    assert one.apply(Delete(name=name(), request=request), 0) == Deleted(existed=False)
    assert isinstance(upon(one.envelope()).apply(replace(ADD, request=request), 0), InvalidFields)


# Room in the answer


def test_an_update_for_whose_answer_there_is_no_room_is_not_performed() -> None:
    room = Room(11)
    one = Draft(standing(b"[1]"), write=NOW_WRITE, now=START, settings=SETTINGS, room=room)
    append = Update(name=name(), change=Append(items=[b"2"]))
    assert record_of(one.apply(append, 0)).value == b"[1,2]"
    assert isinstance(one.apply(append, 1), Overloaded), "six bytes are left, and seven would be needed"
    assert one.envelope().value == b"[1,2]"
    assert isinstance(one.apply(ADD, 2), Overloaded), "what comes after does not overtake it"
    assert isinstance(one.apply(Put(name=name(), value=bytes(100)), 3), Written)


def test_drafts_that_are_answered_together_share_the_room() -> None:
    room = Room(6)
    results = [
        Draft(standing(b"100"), write=NOW_WRITE, now=START, settings=SETTINGS, room=room).apply(ADD, 0)
        for _ in range(3)
    ]
    assert [type(result) for result in results] == [Updated, Updated, Overloaded]


def test_a_repeat_for_whose_answer_there_is_no_room_is_told_so() -> None:
    left, request = updated_once()
    for size, expected in ((len(left.value), Updated), (len(left.value) - 1, Overloaded)):
        assert isinstance(upon(left, room=Room(size)).apply(replace(ADD, request=request), 0), expected)


def test_updates_that_fit_no_value_have_their_share_of_the_room_too() -> None:
    """Each takes as long as its value is large: a batch shall not hold up all others."""
    one = Draft(standing(b"no number"), write=NOW_WRITE, now=START, settings=SETTINGS, room=Room(20))
    results = [one.apply(ADD, position) for position in range(4)]
    assert [type(each) for each in results] == [UpdateNotApplicable, UpdateNotApplicable, Overloaded, Overloaded]
