"""What each operation makes of a record a millisecond before its expiry, and from that moment on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keepstate_server.domain.errors import RecordChanged, RecordExists, RecordMissing
from keepstate_server.domain.operations import (
    Delete,
    Deleted,
    Found,
    Get,
    Increment,
    Operation,
    Put,
    Touch,
    Touched,
    Update,
    Updated,
    Written,
)
from keepstate_server.domain.records import ABSENT, EXISTS, KEEP_EXPIRY, Version
from keepstate_server.domain.times import Instant
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service
from tests.unit.server.hand import SECOND

Asked = Callable[[Version, Instant], Operation]
"""Makes the operation, of the version that stands and a later expiry."""

# The operation, what it is answered before the moment, and from then on.
CASES: dict[str, tuple[Asked, type, type]] = {
    "get": (lambda version, later: Get(name=name()), Found, RecordMissing),
    "slide": (lambda version, later: Get(name=name(), slide_to=later), Found, RecordMissing),
    "touch": (lambda version, later: Touch(name=name(), expire_at=later), Touched, RecordMissing),
    "touch for ever": (lambda version, later: Touch(name=name()), Touched, RecordMissing),
    "put if etag": (lambda version, later: Put(name=name(), value=b"8", precondition=version), Written, RecordChanged),
    "put if exists": (lambda version, later: Put(name=name(), value=b"8", precondition=EXISTS), Written, RecordMissing),
    "create": (lambda version, later: Put(name=name(), value=b"8", precondition=ABSENT), RecordExists, Written),
}


@pytest.fixture(params=[True, False], ids=["redis", "sql"])
def service(request: pytest.FixtureRequest) -> Service:
    return Service(counts=request.param)


@pytest.fixture(params=[True, False], ids=["with a hint", "after a read"])
async def stands(request: pytest.FixtureRequest, service: Service) -> Version:
    """A record that expires in a second, written by this instance or by another one."""
    writer = service.engine if request.param else service.instance()
    put = Put(name=name(), value=b"7", expiry=Instant(service.clock.now() + SECOND))
    answer = await writer.perform(put, service.deadline())
    assert isinstance(answer, Written)
    return answer.version


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("past", [-1, 0, 1])
async def test_a_record_is_there_before_its_expiry_and_gone_from_that_moment_on(
    service: Service, stands: Version, case: str, past: int
) -> None:
    asked, before, after = CASES[case]
    service.clock.advance(SECOND + past)
    answer = await service.one(asked(stands, Instant(service.clock.now() + SECOND)))
    assert type(answer) is (before if past < 0 else after)


@pytest.mark.parametrize(("past", "existed"), [(-1, True), (0, False)])
async def test_a_delete_says_whether_the_record_had_expired(
    service: Service, stands: Version, past: int, existed: bool
) -> None:
    service.clock.advance(SECOND + past)
    assert await service.one(Delete(name=name())) == Deleted(existed=existed)


@pytest.mark.parametrize(("past", "value"), [(-1, b"8"), (0, b"1")])
async def test_an_update_counts_on_a_record_until_it_expires_and_keeps_its_expiry_no_longer(
    service: Service, stands: Version, past: int, value: bytes
) -> None:
    expiry = Instant(service.clock.now() + SECOND)
    service.clock.advance(SECOND + past)
    answer = await service.one(Update(name=name(), change=Increment(delta=1), expiry=KEEP_EXPIRY))
    assert isinstance(answer, Updated)
    assert answer.record
    assert (answer.record.value, answer.record.expire_time) == (value, expiry if past < 0 else None)


@pytest.mark.parametrize("past", [-1, 0])
async def test_an_expiry_is_kept_until_it_is_reached(service: Service, stands: Version, past: int) -> None:
    expiry = Instant(service.clock.now() + SECOND)
    service.clock.advance(SECOND + past)
    await service.one(Put(name=name(), value=b"8", expiry=KEEP_EXPIRY))
    answer = await service.one(Get(name=name()))
    assert isinstance(answer, Found)
    assert answer.record.expire_time == (expiry if past < 0 else None)
