"""A record that dies, and what is noted of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from keepstate_server.domain.times import Instant
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.envelope import Envelope, encode
from keepstate_server.engine.journal import Journal, Note, ReadJournal, list_journals, read_journal
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.sighting import NOTHING, Sighting
from tests.unit.server.drafts import envelope
from tests.unit.server.hand import SECOND, SETTINGS, HandClock, HandDeadline, chance
from tests.unit.server.model_store import ModelStore


def limit() -> Deadline:
    return Deadline(60.0)


@dataclass
class Desk:
    """One process that notes, on a store that counts or not."""

    counts: bool = True
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock, counts=self.counts)
        self.noting = self.process()

    def process(self, seed: int = 0) -> Noting:
        return Noting(self.store, settings=SETTINGS, clock=self.clock, source=chance(seed))

    def dying(self) -> Envelope:
        """A record that is written now, and lives for a second."""
        return self.written(envelope(expire=Instant(self.clock.now() + SECOND)))

    def written(self, one: Envelope) -> Envelope:
        return replace(one, write_time=self.clock.now())

    def put(self, key: str, one: Envelope) -> Sighting:
        """Stores what is to stand under ``key``."""
        self.store.put_raw(key, encode(one))
        return Sighting(etag=self.store.items[key].etag, content=one)

    async def ready(self, after: Envelope, *, upon: Sighting = NOTHING, key: str = "k") -> Envelope | None:
        ready = await self.noting.ready({key: (upon, after)}, HandDeadline(self.clock))
        return ready.get(key)

    async def journals(self) -> list[bytes]:
        found = await list_journals(self.store, limit())
        assert isinstance(found, list)
        return found

    async def journal(self, name: bytes) -> Journal:
        found = await read_journal(self.store, name, limit())
        assert isinstance(found, ReadJournal)
        return found.journal

    async def notes(self) -> dict[str, Note]:
        """All notes of all journals that are listed."""
        journals = [await self.journal(name) for name in await self.journals()]
        return {key: note for each in journals for key, note in each.notes.items()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def sql_desk() -> Desk:
    return Desk(counts=False)
