"""Groups of operations on their way to a store that does its worst."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from keepstate_server.domain.operations import Found, Get, Operation, Put, Written
from keepstate_server.domain.records import Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.draft import Result
from keepstate_server.engine.envelope import Envelope, decode
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.part import Part
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.writer import Writer
from tests.unit.server.cases import name
from tests.unit.server.hand import SETTINGS, HandClock, HandDeadline, Requests
from tests.unit.server.model_store import ModelStore, WriteFault
from tests.unit.server.parts import performed

LOST = [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE, WriteFault.UNTOLD]


@dataclass
class Bench:
    """A store and instances of the service before it."""

    counts: bool
    clock: HandClock = field(default_factory=HandClock)
    instances: int = 0

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock, counts=self.counts)
        self.requests = Requests(self.clock)
        self.writer = self.instance()

    def instance(self) -> Writer:
        """One more instance, which knows nothing yet."""
        hints = Hints(size=100, life_ms=SETTINGS.dead_life_ms // 2)
        self.instances += 1
        source = random.Random(self.instances)
        resolver = Resolver(self.store, settings=SETTINGS, clock=self.clock, source=source)
        noting = Noting(self.store, settings=SETTINGS, clock=self.clock, source=source)
        return Writer(self.store, hints=hints, resolver=resolver, noting=noting, clock=self.clock, source=source)

    def deadline(self, seconds: float = 30.0) -> HandDeadline:
        return HandDeadline(self.clock, seconds)

    async def all(
        self, *operations: Operation, writer: Writer | None = None, deadline: HandDeadline | None = None
    ) -> Sequence[Result]:
        """Performs operations on one key."""
        return await performed(writer or self.writer, operations, deadline or self.deadline())

    async def one(
        self, operation: Operation, *, writer: Writer | None = None, deadline: HandDeadline | None = None
    ) -> Result:
        return (await self.all(operation, writer=writer, deadline=deadline))[0]

    async def keys(self, *operations: Operation, writer: Writer | None = None) -> Sequence[Result]:
        """Performs operations on as many keys at once."""
        deadline = self.deadline()
        parts = [Part(operation.name.key, [operation], deadline) for operation in operations]
        await (writer or self.writer).run([Group(part.key, [part], SETTINGS) for part in parts], deadline)
        return [result for part in parts for result in part.results or ()]

    async def put(self, value: bytes = b"v", *, writer: Writer | None = None, key: str = "k") -> Version:
        result = await self.one(Put(name=name(key), value=value), writer=writer)
        assert isinstance(result, Written)
        return result.version

    async def known(self, value: bytes = b"first", *, expiry: Instant | None = None) -> Version:
        """Puts a record and reads it, so that its next write goes out upon a hint."""
        written = await self.one(Put(name=name(), value=value, expiry=expiry))
        assert isinstance(written, Written)
        await self.one(Get(name=name()))
        self.fresh()
        return written.version

    async def value(self, key: str = "k") -> bytes | None:
        """What stands there by a fresh instance's reading."""
        result = await self.one(Get(name=name(key)), writer=self.instance())
        return result.record.value if isinstance(result, Found) else None

    def fresh(self) -> None:
        """Forgets which calls were made."""
        self.store.calls.clear()

    def envelope(self, key: str = "k") -> Envelope:
        envelope = decode(self.store.stands(key) or b"")
        assert envelope is not None
        return envelope


@pytest.fixture(params=["sql", "redis"])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(counts=request.param == "redis")


@pytest.fixture
def redis() -> Bench:
    return Bench(counts=True)


@pytest.fixture
def sql() -> Bench:
    return Bench(counts=False)
