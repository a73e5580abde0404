"""Dead records are deleted when they are due, each by one delete at a time, and their notes go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from keepstate_server.domain.errors import RecordExists, StoreUnavailable
from keepstate_server.domain.names import internal_key
from keepstate_server.domain.operations import Delete, Deleted, Put, Written
from keepstate_server.domain.records import ABSENT
from keepstate_server.domain.times import Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.death import STALE
from keepstate_server.engine.envelope import encode
from keepstate_server.engine.journal import ReadJournal, list_journals, read_journal
from keepstate_server.engine.sighting import Sighting
from keepstate_server.stores.base import CompareAndSet, Outcome, ReadResult
from tests.unit.server.cases import name
from tests.unit.server.collection.test_death import staged
from tests.unit.server.drafts import envelope
from tests.unit.server.engine_service import Service
from tests.unit.server.hand import MINUTE, SECOND, SETTINGS
from tests.unit.server.model_store import Step, WriteFault

DEAD_LIFE = SETTINGS.dead_life_ms
DUE = DEAD_LIFE + 2 * SETTINGS.clock_difference_ms


@dataclass
class House(Service):
    """An engine that sweeps, and what there is to collect."""

    async def dies(self, key: str = "k") -> None:
        await self.one(Put(name=name(key), value=b"v", expiry=Instant(self.clock.now() + SECOND)))
        self.clock.advance(SECOND)

    async def sweep(self) -> None:
        await self.engine.sweep("model")

    async def notes(self) -> dict[str, Instant | None]:
        """What is noted, and when it was marked."""
        limit = Deadline(60.0)
        journals = await list_journals(self.store, limit)
        assert isinstance(journals, list)
        found = [await read_journal(self.store, each, limit) for each in journals]
        notes: dict[str, Instant | None] = {}
        for each in found:
            assert isinstance(each, ReadJournal)
            notes |= {key: note.deleting for key, note in each.journal.notes.items()}
        return notes

    async def arrives(self) -> None:
        """The delete that was sent."""
        self.store.delete_raw("k")

    @property
    def deletes(self) -> int:
        return self.store.count("delete")


@pytest.fixture
def house() -> House:
    return House()


async def test_a_dead_record_is_collected_when_it_is_due_and_not_before(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE - 1)
    await house.sweep()
    assert house.store.stands("k") is not None
    house.clock.advance(1)
    await house.sweep()
    assert house.store.stands("k") is None
    assert await house.notes() == {}


async def test_a_deleted_record_is_collected_too(house: House) -> None:
    await house.one(Put(name=name(), value=b"v"))
    assert await house.one(Delete(name=name())) == Deleted(existed=True)
    house.clock.advance(DUE)
    await house.sweep()
    assert house.store.stands("k") is None


async def test_a_record_that_lives_longer_than_was_noted_is_looked_at_again(house: House) -> None:
    await house.dies()
    later = Instant(house.clock.now() + 60 * MINUTE)
    await house.one(Put(name=name(), value=b"v", expiry=later))
    house.clock.advance(DUE)
    await house.sweep()
    assert house.store.stands("k") is not None
    house.clock.advance(60 * MINUTE)
    await house.sweep()
    assert house.store.stands("k") is None


async def test_a_record_that_lives_for_ever_by_now_loses_its_note(house: House) -> None:
    await house.dies()
    await house.one(Put(name=name(), value=b"v"))
    house.clock.advance(DUE)
    await house.sweep()
    assert house.deletes == 0
    assert await house.notes() == {}


async def test_a_record_that_was_never_written_loses_its_note(house: House) -> None:
    await house.dies()
    house.store.delete_raw("k")
    house.clock.advance(DUE)
    await house.sweep()
    assert await house.notes() == {}


async def test_a_record_that_names_another_journal_is_not_collected_by_this_one(house: House) -> None:
    await house.dies()
    other = replace(house.envelope(), journal=b"another.")
    house.store.put_raw("k", encode(other))
    house.clock.advance(DUE)
    await house.sweep()
    assert house.deletes == 0
    assert await house.notes() == {}


async def test_records_of_one_journal_are_deleted_in_one_call(house: House) -> None:
    for number in range(20):
        await house.dies(f"k{number}")
    house.clock.advance(DUE)
    await house.sweep()
    assert house.deletes == 1
    assert not any(house.store.stands(f"k{number}") for number in range(20))
    assert await house.notes() == {}


async def test_one_delete_that_is_refused_leaves_the_others_to_be_looked_for_again(house: House) -> None:
    """Another program wrote there; nothing says whose delete it was that failed."""
    for number in range(3):
        await house.dies(f"k{number}")
    house.clock.advance(DUE)

    async def rewritten() -> None:
        house.store.put_raw("k1", b"another program's")

    house.store.before_write.append(rewritten)
    await house.sweep()
    marked = house.clock.now()
    assert await house.notes() == {f"k{number}": marked for number in range(3)}
    house.clock.advance(45 * SECOND)
    await house.sweep()
    assert house.deletes == 1
    assert await house.notes() == {}
    assert house.store.stands("k1") == b"another program's"


async def test_large_values_are_read_in_smaller_portions(house: House) -> None:
    for number in range(40):
        put = Put(name=name(f"k{number}"), value=b"v" * 1024 * 1024, expiry=Instant(house.clock.now() + SECOND))
        await house.one(put)
    house.clock.advance(SECOND + DUE)
    house.store.calls.clear()
    await house.sweep()
    assert [len(call.keys) for call in house.store.calls] == [16, 4, 4, 4, 4, 4, 4, 40]
    assert house.store.calls[-1].kind == "delete"


# Two at a time


async def test_of_two_that_look_at_the_same_time_one_deletes(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    other = house.instance()
    house.store.before_read.append(partial(other.sweep, "model"))
    await house.sweep()
    assert house.deletes == 1
    assert house.store.stands("k") is None


async def test_a_delete_that_was_not_confirmed_is_not_sent_again_before_it_has_arrived_or_never_will(
    house: House,
) -> None:
    await house.dies()
    house.clock.advance(DUE)
    house.store.write_faults.append(WriteFault.REQUEST_LOST)
    await house.sweep()
    assert (house.deletes, await house.notes()) == (1, {"k": house.clock.now()})
    house.clock.advance(45 * SECOND - 1)
    other = house.instance()
    await other.sweep("model")
    assert house.deletes == 1
    house.clock.advance(1)
    await other.sweep("model")
    assert house.deletes == 2
    assert house.store.stands("k") is None


async def test_a_record_that_is_being_deleted_is_not_written_and_that_is_said(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    house.store.write_faults.append(WriteFault.REQUEST_LOST)
    await house.sweep()
    refused = await house.one(Put(name=name(), value=b"new"))
    assert isinstance(refused, StoreUnavailable)
    assert refused.nothing_sent
    house.clock.advance(MINUTE)
    await house.sweep()
    assert isinstance(await house.one(Put(name=name(), value=b"new", precondition=ABSENT)), Written)


async def test_a_write_waits_for_a_collection_that_ends_at_once(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    house.store.write_faults.append(WriteFault.REQUEST_LOST)
    await house.sweep()
    house.store.before_read.extend([_nothing, _nothing, _awaiting(house.arrives)])
    assert isinstance(await house.one(Put(name=name(), value=b"new", precondition=ABSENT)), Written)
    assert house.envelope().trail.entries[1:] == ()


async def test_a_write_upon_what_another_wrote_in_the_last_moments_is_planned_anew(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    other = house.instance()
    put = Put(name=name(), value=b"other")
    # Between the reading of the record and the looking after its note.
    house.store.before_read.extend([_nothing, _awaiting(partial(other.perform_all, [put], house.deadline()))])
    refused = await house.one(Put(name=name(), value=b"new", precondition=ABSENT))
    assert isinstance(refused, RecordExists)


async def test_a_record_that_comes_to_life_in_its_last_moments_is_not_collected(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    other = house.instance()
    put = Put(name=name(), value=b"new")
    writes = partial(other.perform_all, [put], house.deadline())
    house.store.before_read.append(_awaiting(writes))
    await house.sweep()
    assert house.deletes == 0
    assert house.envelope().value == b"new"


async def test_records_are_marked_when_all_are_read_not_when_each_is(house: House) -> None:
    """Reading may take long; who comes next waits from the mark on, and the delete is sent after it."""
    for number in range(20):
        await house.dies(f"k{number}")
    house.clock.advance(DUE)
    house.store.before_read.extend([_nothing, _advancing(house, 29 * SECOND)])
    house.store.write_faults.append(WriteFault.REQUEST_LOST)
    await house.sweep()
    assert set((await house.notes()).values()) == {house.clock.now()}


async def test_what_was_marked_too_long_ago_is_not_deleted_any_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.dies()
    house.clock.advance(DUE)
    write = house.store.write

    async def slow(writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        house.clock.advance(STALE + 1)
        return await write(writes, timeout=timeout)

    monkeypatch.setattr(house.store, "write", slow)
    await house.sweep()
    assert house.deletes == 0
    assert (await house.notes()).keys() == {"k"}


# Journals


async def test_a_journal_is_looked_into_in_time_for_notes_that_were_made_later(house: House) -> None:
    await house.one(Put(name=name("long"), value=b"v", expiry=Instant(house.clock.now() + 30 * 24 * 60 * MINUTE)))
    house.clock.advance(MINUTE)
    await house.sweep()
    await house.dies()
    for _ in range(3):
        house.clock.advance(DUE)
        await house.sweep()
    assert house.store.stands("k") is None
    assert (await house.notes()).keys() == {"long"}


async def test_a_journal_is_not_read_while_nothing_in_it_can_be_due(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.dies()
    await house.sweep()
    reads: list[str] = []
    read = house.store.read

    async def counted(keys: Sequence[str], **others: Any) -> Mapping[str, ReadResult]:
        reads.extend(keys)
        return await read(keys, **others)

    monkeypatch.setattr(house.store, "read", counted)
    house.clock.advance(DEAD_LIFE // 2)
    await house.sweep()
    assert reads == [internal_key("journals")]


async def test_an_empty_journal_is_closed_and_removed_from_the_list(house: House) -> None:
    await house.dies()
    house.clock.advance(DUE)
    await house.sweep()
    house.clock.advance(DUE)
    await house.sweep()
    assert await list_journals(house.store, Deadline(60.0)) == []


# Intents


@pytest.mark.parametrize("counts", [True, False], ids=["redis", "sql"])
async def test_an_intent_that_nobody_met_is_resolved_and_never_collected(counts: bool) -> None:
    house = House(counts=counts)
    await house.dies()
    seen = Sighting(etag=house.store.items["k"].etag, content=house.envelope())
    lives = replace(envelope(), write_time=house.clock.now())
    noting = house.engine._lanes["model"].noting
    intent = staged(house.envelope(), lives, time=house.clock.now())
    ready = await noting.ready({"k": (seen, intent)}, house.deadline())
    house.store.put_raw("k", encode(ready["k"]))
    house.clock.advance(DUE)
    await house.sweep()
    assert house.envelope().intent is None
    assert house.envelope().value == b"old"
    house.clock.advance(DUE)
    await house.sweep()
    assert house.deletes == 0
    assert await house.notes() == {}


def _awaiting(what: Callable[[], Awaitable[object]]) -> Step:
    async def step() -> None:
        await what()

    return step


async def _nothing() -> None:
    pass


def _advancing(house: House, milliseconds: int) -> Step:
    async def advance() -> None:
        house.clock.advance(milliseconds)

    return advance
