"""What the simulation found in the engine, each as it was found."""

from __future__ import annotations

from keepstate_server.domain.errors import RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found, Get, Put, Touch, Written
from keepstate_server.domain.records import ABSENT
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Draft
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import NOTHING
from keepstate_server.engine.trail import WRITE_BYTES, WriteId

NAME = RecordName(store="sim", namespace="", key="a")
NOW = Instant(1_790_000_000_000)


def _draft() -> Draft:
    return Draft(NOTHING, write=WriteId(bytes(WRITE_BYTES)), now=NOW, settings=EngineSettings())


def _expiring(at: int) -> Put:
    return Put(name=NAME, value=b"1", expiry=Instant(at))


def test_a_batch_does_not_read_what_expired_before_its_write_began() -> None:
    # A call that waited for longer than the ttl that it brought.
    draft = _draft()
    assert isinstance(draft.apply(_expiring(NOW - 1), 0), Written)
    assert isinstance(draft.apply(Get(name=NAME), 1), RecordMissing)
    envelope = draft.envelope()
    assert (envelope.death_time, envelope.value) == (NOW - 1, b"")


def test_a_batch_may_create_anew_what_expired_before_its_write_began() -> None:
    draft = _draft()
    draft.apply(_expiring(NOW), 0)
    assert isinstance(draft.apply(Put(name=NAME, value=b"2", precondition=ABSENT), 1), Written)
    assert draft.envelope().value == b"2"


def test_a_touch_into_the_past_ends_the_record_for_the_rest_of_the_batch() -> None:
    draft = _draft()
    draft.apply(_expiring(NOW + 1), 0)
    assert isinstance(draft.apply(Get(name=NAME), 1), Found)
    draft.apply(Touch(name=NAME, expire_at=Instant(NOW - 1)), 2)
    assert isinstance(draft.apply(Get(name=NAME), 3), RecordMissing)
