"""Lists of keys on their way into the envelope and out of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from keepstate_server.domain.operations import Delete, Found, Get, Put, Written
from keepstate_server.domain.records import KEEP_EXPIRY, KeepExpiry, Record
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Decision, Intent, Location, decode, encode
from keepstate_server.engine.moving import Mover
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.trail import WRITE_BYTES, Trail, TrailEntry, WriteId, version_at
from keepstate_server.moves import Direction, Moves, Report, StoreAway
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service, Shelf
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS, chance
from tests.unit.server.model_store import ReadFault, WriteFault

NEVER: timedelta | KeepExpiry | None = None
LOST = [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE, WriteFault.UNTOLD, WriteFault.NOT_SENT]


class Desk(Service):
    """A service beside which keys are moved."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.failed: dict[str, str] = {}
        self.stopping = asyncio.Event()

    async def move(
        self,
        direction: Direction,
        keys: Iterable[str],
        *,
        life: timedelta | KeepExpiry | None = KEEP_EXPIRY,
        dry: bool = False,
        patience: float = 5.0,
    ) -> Report:
        """Moves keys by an instance of its own."""
        self.failed.clear()
        shelf = Shelf({"model": self.store, "second": self.second})
        mover = Mover(self.instance(), shelf, self.store, settings=SETTINGS, clock=self.clock)
        moves = Moves(
            mover,
            direction,
            clock=self.clock,
            clock_difference=SETTINGS.clock_difference,
            life=life,
            report=Report(),
            stopping=self.stopping,
            failed=self.failed.__setitem__,
            patience=patience,
        )
        await moves.run(keys, dry=dry, progress=lambda: None)
        return moves.report

    async def adopt(self, *keys: str) -> Report:
        """Adopts, without changing an expiry where the store tells it."""
        return await self.move(Direction.INTO, keys, life=NEVER if self.counts else KEEP_EXPIRY)

    async def export(self, *keys: str) -> Report:
        return await self.move(Direction.OUT_OF, keys)

    async def record(self, key: str) -> Record:
        found = await self.one(Get(name=name(key)))
        assert isinstance(found, Found)
        return found.record


@pytest.fixture(params=["sql", "redis"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    desk = Desk(counts=request.param == "redis")
    yield desk
    await desk.engine.drain(timeout=5)


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.moved, report.already, report.absent, report.failed


async def test_adoption_keeps_value_and_etag(desk: Desk) -> None:
    for number in range(100):
        desk.store.put_raw(f"k{number}", b"value %d" % number)
    before = {key: await desk.record(key) for key in ("k0", "k99")}
    report = await desk.adopt(*(f"k{number}" for number in range(100)), "nobody")
    assert counts(report) == (100, 0, 1, 0)
    assert str(report.before) == str(report.after)
    for key, record in before.items():
        assert desk.envelope(key).value == record.value
        after = await desk.record(key)
        assert (after.value, after.version) == (record.value, record.version)


async def test_the_checksum_is_of_keys_and_values_however_they_stand(desk: Desk) -> None:
    desk.store.put_raw("a", b"1")
    await desk.one(Put(name=name("b"), value=b"22"))
    wanted = hashlib.sha256(b"1:a1:11:b2:22").hexdigest()
    for report in (await desk.adopt("a", "b"), await desk.adopt("a", "b"), await desk.export("a", "b")):
        assert (str(report.before), str(report.after)) == (wanted, wanted)


async def test_a_second_run_does_only_what_is_left(desk: Desk) -> None:
    desk.store.put_raw("a", b"1")
    assert counts(await desk.adopt("a", "b")) == (1, 0, 1, 0)
    desk.store.put_raw("b", b"2")
    writes = len(desk.store.applied)
    assert counts(await desk.adopt("a", "b")) == (1, 1, 0, 0)
    assert len(desk.store.applied) == writes + 1
    assert counts(await desk.export("a", "b", "c")) == (2, 0, 1, 0)
    assert counts(await desk.export("a", "b", "c")) == (0, 2, 1, 0)


async def test_an_expiry_that_the_store_tells_is_kept_into_the_envelope_and_out_of_it() -> None:
    desk = Desk(counts=False)
    gone = Instant(desk.clock.now() + MINUTE)
    desk.store.put_raw("a", b"1", gone_at=gone)
    assert counts(await desk.adopt("a")) == (1, 0, 0, 0)
    assert (await desk.record("a")).expire_time == gone
    desk.clock.advance(30 * SECOND)
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    assert (desk.store.stands("a"), desk.store.items["a"].gone_at) == (b"1", gone)


@pytest.mark.parametrize("life", [timedelta(minutes=1), NEVER], ids=["ttl", "never"])
async def test_an_adopted_record_expires_as_the_run_says(desk: Desk, life: timedelta | None) -> None:
    desk.store.put_raw("a", b"1", gone_at=Instant(desk.clock.now() + 10 * SECOND))
    assert counts(await desk.move(Direction.INTO, ["a"], life=life)) == (1, 0, 0, 0)
    desk.clock.advance(59 * SECOND)
    assert (await desk.record("a")).value == b"1"
    desk.clock.advance(SECOND)
    assert isinstance(await desk.one(Get(name=name("a"))), Found) is (life is NEVER)


async def test_an_export_takes_the_rest_of_the_life_with_it(desk: Desk) -> None:
    expiry = Instant(desk.clock.now() + MINUTE)
    await desk.one(Put(name=name("a"), value=b"1", expiry=expiry))
    await desk.one(Put(name=name("b"), value=b"2"))
    desk.clock.advance(20 * SECOND)
    assert counts(await desk.export("a", "b")) == (2, 0, 0, 0)
    assert [desk.store.stands(key) for key in "ab"] == [b"1", b"2"]
    assert [desk.store.items[key].gone_at for key in "ab"] == [expiry, None]


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("heard", [0, 1])
async def test_an_exported_value_has_its_ttl_although_an_answer_was_lost(
    desk: Desk, fault: WriteFault, heard: int
) -> None:
    """On Redis nobody could see that it has none."""
    expiry = Instant(desk.clock.now() + MINUTE)
    await desk.one(Put(name=name("a"), value=b"1", expiry=expiry))
    desk.store.write_faults.extend([*[WriteFault.NONE] * heard, fault])
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    desk.store.deliver()
    assert (desk.store.stands("a"), desk.store.items["a"].gone_at) == (b"1", expiry)


async def test_what_is_dead_stays_as_it_is(desk: Desk) -> None:
    await desk.one(Put(name=name("deleted"), value=b"1"))
    await desk.one(Delete(name=name("deleted")))
    await desk.one(Put(name=name("expired"), value=b"1", expiry=Instant(desk.clock.now() + SECOND)))
    desk.clock.advance(2 * SECOND)
    before = [desk.store.stands(key) for key in ("deleted", "expired")]
    assert counts(await desk.export("deleted", "expired")) == (0, 0, 2, 0)
    assert counts(await desk.adopt("deleted", "expired")) == (0, 0, 2, 0)
    assert [desk.store.stands(key) for key in ("deleted", "expired")] == before


async def test_a_dry_run_writes_nothing(desk: Desk) -> None:
    desk.store.put_raw("a", b"1")
    await desk.one(Put(name=name("b"), value=b"2"))
    writes = len(desk.store.applied)
    for direction in Direction:
        report = await desk.move(direction, ["a", "b", "c"], life=NEVER, dry=True)
        assert counts(report) == (1, 1, 1, 0)
    assert len(desk.store.applied) == writes
    assert desk.store.stands("a") == b"1"


async def test_keys_without_a_name_are_told_and_the_others_moved(desk: Desk) -> None:
    desk.store.put_raw("a", b"1")
    report = await desk.adopt("a", "line\nbreak", "%keepstate/journals", "x" * 513)
    assert counts(report) == (1, 0, 0, 3)
    assert "U+000A" in desk.failed["line\nbreak"]
    assert "service's own" in desk.failed["%keepstate/journals"]


@pytest.mark.parametrize("fault", LOST)
async def test_a_move_whose_answer_is_lost_is_looked_into(desk: Desk, fault: WriteFault) -> None:
    desk.store.put_raw("a", b"1")
    desk.store.write_faults.append(fault)
    assert counts(await desk.adopt("a")) == (1, 0, 0, 0)
    desk.store.deliver()
    assert desk.envelope("a").value == b"1"
    desk.store.write_faults.append(fault)
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    desk.store.deliver()
    assert desk.store.stands("a") == b"1"


async def test_a_key_that_is_written_while_it_is_moved_keeps_what_was_written(desk: Desk) -> None:
    async def plain_write() -> None:
        desk.store.put_raw("a", b"newer")

    desk.store.put_raw("a", b"1")
    desk.store.before_write.append(plain_write)
    assert counts(await desk.adopt("a")) == (1, 0, 0, 0)
    assert desk.envelope("a").value == b"newer"

    other = desk.instance()

    async def write() -> None:
        assert isinstance(await other.perform(Put(name=name("a"), value=b"newest"), desk.deadline()), Written)

    desk.store.before_write.append(write)
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    assert desk.store.stands("a") == b"newest"


async def test_a_key_that_is_deleted_while_it_is_exported_does_not_come_back(desk: Desk) -> None:
    await desk.one(Put(name=name("a"), value=b"1"))
    other = desk.instance()

    async def delete() -> None:
        await other.perform(Delete(name=name("a")), desk.deadline())

    desk.store.before_write.append(delete)
    assert counts(await desk.export("a")) == (0, 0, 1, 0)
    assert isinstance(await desk.one(Get(name=name("a"))), Found) is False


async def test_what_is_written_before_it_is_read_back_is_not_called_verified(desk: Desk) -> None:
    async def nothing() -> None:
        pass

    async def write() -> None:
        desk.store.put_raw("a", b"other")

    await desk.one(Put(name=name("a"), value=b"1"))
    desk.store.before_read.extend([nothing, write])
    report = await desk.export("a")
    assert counts(report) == (0, 0, 0, 1)
    assert "run again" in desk.failed["a"]
    assert str(report.before) != str(report.after)


@pytest.mark.parametrize("committed", [True, False])
async def test_what_a_transaction_left_is_settled_before_it_is_exported(desk: Desk, committed: bool) -> None:
    await desk.one(Put(name=name("a"), value=b"before"))
    envelope, transaction = desk.envelope("a"), WriteId(bytes(range(WRITE_BYTES)))
    begun = desk.clock.now()
    intent = Intent(
        transaction=transaction,
        time=begun,
        outcome_store="model",
        isolated=False,
        records=(Location("model", "a"),),
        becomes=replace(envelope, value=b"after", version=version_at(transaction, 0), trail=Trail()),
    )
    trail = envelope.trail.followed_by(TrailEntry(write=transaction, time=begun))
    desk.store.put_raw("a", encode(replace(envelope, trail=trail, intent=intent)))
    desk.clock.advance(MINUTE)
    if committed:
        resolver = Resolver(desk.store, settings=SETTINGS, clock=desk.clock, source=chance())
        await resolver.outcomes.decide("model", transaction, Decision.COMMITTED, begun, desk.deadline())
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    assert desk.store.stands("a") == (b"after" if committed else b"before")


async def test_a_value_that_looks_like_an_envelope_is_not_exported(desk: Desk) -> None:
    await desk.one(Put(name=name("inner"), value=b"1"))
    await desk.one(Put(name=name("outer"), value=desk.store.stands("inner") or b""))
    assert counts(await desk.export("outer", "inner")) == (1, 0, 0, 1)
    assert "taken for an envelope" in desk.failed["outer"]
    assert decode(desk.store.stands("outer") or b"") is not None


async def test_what_the_store_does_not_take_is_told_after_some_tries(desk: Desk) -> None:
    await desk.one(Put(name=name("a"), value=b"1"))
    desk.store.write_faults.extend([WriteFault.NOT_SENT] * 20)
    report = await desk.export("a")
    assert counts(report) == (0, 0, 0, 1)
    assert "does not take it" in desk.failed["a"]
    assert desk.envelope("a").value == b"1"


async def test_a_store_that_is_away_is_waited_for(desk: Desk) -> None:
    desk.store.put_raw("a", b"1")
    desk.store.read_faults.extend([ReadFault.FAILS] * 3)
    assert counts(await desk.adopt("a")) == (1, 0, 0, 0)


async def test_a_run_ends_where_the_store_stays_away(desk: Desk) -> None:
    desk.store.read_faults.extend([ReadFault.FAILS] * 10_000)
    with pytest.raises(StoreAway):
        await desk.move(Direction.OUT_OF, ["a"], patience=0.05)


async def test_a_run_that_is_told_to_stop_ends_between_two_batches(desk: Desk) -> None:
    def keys() -> Iterable[str]:
        for number in range(1000):
            desk.store.put_raw(f"k{number}", b"v")
            if number == 40:
                desk.stopping.set()
            yield f"k{number}"

    report = await desk.move(Direction.INTO, keys(), life=NEVER)
    assert report.keys == report.moved == 64


async def test_an_exported_record_is_not_deleted_by_what_notes_it_had() -> None:
    """On Redis its note stays in a journal: whoever looks into that finds another program's value."""
    desk = Desk(counts=True)
    await desk.one(Put(name=name("a"), value=b"1", expiry=Instant(desk.clock.now() + MINUTE)))
    assert counts(await desk.export("a")) == (1, 0, 0, 0)
    desk.store.put_raw("a", b"a plain program goes on")
    desk.clock.advance(24 * 60 * MINUTE)
    for _ in range(3):
        await desk.engine.sweep("model")
    assert desk.store.stands("a") == b"a plain program goes on"
