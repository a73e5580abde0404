"""Histories in which expiry takes too much, too little or too late: the judge finds what is wrong with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from keepstate_server.domain.errors import RecordExists, RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Deleted, Found, Increment, Touched, Updated, Written
from keepstate_server.domain.records import ABSENT, Record, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from tests.expiry.judging import Sent, faults
from tests.expiry.wire import Era
from tests.simulation.history import Kind, Spec

ERA = Era(began=1_800_000_000_000)
NAME = RecordName(store="redis", namespace="", key="k")
FIRST, SECOND = Version(b"the first write."), Version(b"the second write")

PUT = Spec(name=NAME, kind=Kind.PUT, value=b"1000")
BRIEF = replace(PUT, ttl=1000)
AGAIN = replace(PUT, value=b"2000")
KEEPING = replace(AGAIN, keep=True)
CREATE = replace(AGAIN, precondition=ABSENT, ttl=1000)
GET = Spec(name=NAME, kind=Kind.GET)
SLIDE = Spec(name=NAME, kind=Kind.SLIDE, ttl=3000)
TOUCH = Spec(name=NAME, kind=Kind.TOUCH, ttl=3000)
FOR_EVER = Spec(name=NAME, kind=Kind.TOUCH)
DELETE = Spec(name=NAME, kind=Kind.DELETE)
INCREMENT = Spec(name=NAME, kind=Kind.INCREMENT, change=Increment(delta=1))

MISSING = RecordMissing(NAME)

Step = tuple[int, Spec, Result | None]
"""When it was sent, in milliseconds since the beginning, what, and the answer 10 ms later."""


def at(milliseconds: int) -> Instant:
    return ERA.moment(ERA.began + milliseconds)


def holding(value: bytes, version: Version, expires: int | None = None) -> Record:
    expiry = None if expires is None else at(expires)
    return Record(
        value=value, content_type="", version=version, create_time=at(0), update_time=at(0), expire_time=expiry
    )


def found(value: bytes, version: Version, expires: int | None = None) -> Found:
    return Found(record=holding(value, version, expires))


def touched(expires: int | None, version: Version = FIRST) -> Touched:
    return Touched(version=version, expire_at=None if expires is None else at(expires))


def judged(steps: Sequence[Step]) -> list[str]:
    sent = [
        Sent(
            specs=[spec],
            start=ERA.began + start,
            end=ERA.began + start + 10,
            results=None if result is None else [result],
        )
        for start, spec, result in steps
    ]
    return list(faults(sent, ERA))


WROTE, REWROTE = Written(version=FIRST), Written(version=SECOND)

RIGHT: dict[str, Sequence[Step]] = {
    "lives": [(0, BRIEF, WROTE), (500, GET, found(b"1000", FIRST, 1005))],
    "expires": [(0, BRIEF, WROTE), (1500, GET, MISSING)],
    "expires while it is read": [(0, BRIEF, WROTE), (1000, GET, found(b"1000", FIRST, 1005))],
    "is cleared": [(0, BRIEF, WROTE), (500, AGAIN, REWROTE), (9000, GET, found(b"2000", SECOND))],
    "is kept": [(0, BRIEF, WROTE), (500, KEEPING, REWROTE), (1500, GET, MISSING)],
    "has none to keep": [(0, BRIEF, WROTE), (2000, KEEPING, REWROTE), (9000, GET, found(b"2000", SECOND))],
    "is touched": [(0, BRIEF, WROTE), (500, TOUCH, touched(3505)), (3000, GET, found(b"1000", FIRST, 3505))],
    "is touched for ever": [(0, BRIEF, WROTE), (500, FOR_EVER, touched(None)), (9000, GET, found(b"1000", FIRST))],
    "slides": [(0, BRIEF, WROTE), (500, SLIDE, found(b"1000", FIRST, 3505)), (4000, GET, MISSING)],
    "perhaps slides": [(0, BRIEF, WROTE), (500, SLIDE, None), (3000, GET, found(b"1000", FIRST, 3505))],
    "perhaps does not": [(0, BRIEF, WROTE), (500, SLIDE, None), (3000, GET, MISSING)],
    "is updated": [
        (0, BRIEF, WROTE),
        (500, INCREMENT, Updated(record=holding(b"1001", SECOND))),
        (9000, GET, found(b"1001", SECOND)),
    ],
    "is there": [(0, PUT, WROTE), (500, CREATE, RecordExists(NAME, "")), (9000, GET, found(b"1000", FIRST))],
}

WRONG: dict[str, Sequence[Step]] = {
    "a record without an expiry is lost": [(0, PUT, WROTE), (9000, GET, MISSING)],
    "a record is lost before its expiry": [(0, BRIEF, WROTE), (500, GET, MISSING)],
    "a refused write's ttl takes the record that was there": [
        (0, PUT, WROTE),
        (500, CREATE, RecordExists(NAME, "")),
        (2000, GET, MISSING),
    ],
    "an expired record is returned": [(0, BRIEF, WROTE), (1500, GET, found(b"1000", FIRST, 1005))],
    "an expired record is touched": [(0, BRIEF, WROTE), (1500, TOUCH, touched(4505))],
    "an expired record is slid": [(0, BRIEF, WROTE), (1500, SLIDE, found(b"1000", FIRST, 4505))],
    "an expired record was there to be deleted": [(0, BRIEF, WROTE), (1500, DELETE, Deleted(existed=True))],
    "an expired record stands in the way of a create": [(0, BRIEF, WROTE), (1500, CREATE, RecordExists(NAME, ""))],
    "an expired record is counted on": [(0, BRIEF, WROTE), (1500, INCREMENT, Updated(record=holding(b"1001", SECOND)))],
    "a write without an expiry does not clear it": [(0, BRIEF, WROTE), (500, AGAIN, REWROTE), (1500, GET, MISSING)],
    "a write without an expiry shows the old one": [
        (0, BRIEF, WROTE),
        (500, AGAIN, REWROTE),
        (600, GET, found(b"2000", SECOND, 1005)),
    ],
    "an expiry that was to be kept is not": [
        (0, BRIEF, WROTE),
        (500, KEEPING, REWROTE),
        (1500, GET, found(b"2000", SECOND)),
    ],
    "an expiry outlives its record": [(0, BRIEF, WROTE), (2000, KEEPING, REWROTE), (2500, GET, MISSING)],
    "a touch is ignored": [(0, BRIEF, WROTE), (500, TOUCH, touched(3505)), (2000, GET, MISSING)],
    "a touch for ever is ignored": [(0, BRIEF, WROTE), (500, FOR_EVER, touched(None)), (2000, GET, MISSING)],
    "a touch changes the etag": [
        (0, BRIEF, WROTE),
        (500, TOUCH, touched(3505)),
        (600, GET, found(b"1000", SECOND, 3505)),
    ],
    "a touch tells another etag": [
        (0, BRIEF, WROTE),
        (300, AGAIN, REWROTE),
        (500, TOUCH, touched(3505, FIRST)),
    ],
    "a touch gives another expiry than was asked for": [(0, BRIEF, WROTE), (500, TOUCH, touched(3600))],
    "a slide is ignored": [(0, BRIEF, WROTE), (500, SLIDE, found(b"1000", FIRST, 3505)), (2000, GET, MISSING)],
    "a slide does not show the new expiry": [(0, BRIEF, WROTE), (500, SLIDE, found(b"1000", FIRST, 1005))],
    "an update shows an expiry that nobody gave": [
        (0, BRIEF, WROTE),
        (500, INCREMENT, Updated(record=holding(b"1001", SECOND, 1005))),
    ],
}


@pytest.mark.parametrize("steps", RIGHT.values(), ids=RIGHT.keys())
def test_what_may_happen_is_right(steps: Sequence[Step]) -> None:
    assert judged(steps) == []


@pytest.mark.parametrize("steps", WRONG.values(), ids=WRONG.keys())
def test_what_must_not_happen_is_found(steps: Sequence[Step]) -> None:
    assert judged(steps) != []


def test_what_a_batch_asks_of_one_record_counts_in_its_order() -> None:
    both = (BRIEF, GET)

    def batch(*results: Result) -> Sent:
        return Sent(specs=both, start=ERA.began, end=ERA.began + 10, results=results)

    assert list(faults([batch(WROTE, found(b"1000", FIRST, 1005))], ERA)) == []
    assert list(faults([batch(WROTE, MISSING)], ERA)) != []
