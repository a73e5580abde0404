"""All or nothing on a store that rolls back and does its worst otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.operations import Answer, Found, Get, Put, TransactionOperation, Written
from keepstate_server.domain.records import Request, Version
from keepstate_server.domain.times import Instant
from keepstate_server.engine.envelope import Location
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.noting import Noting
from keepstate_server.engine.resolver import Resolver
from keepstate_server.engine.transactions import Transaction
from keepstate_server.engine.writer import Writer
from tests.unit.server.cases import name
from tests.unit.server.hand import SETTINGS, HandClock, HandDeadline, Requests
from tests.unit.server.model_store import ModelStore, WriteFault
from tests.unit.server.parts import performed

OTHER = Version(b"an old version..")
LOST = [WriteFault.REPLY_LOST, WriteFault.REQUEST_LOST, WriteFault.LATE]


@dataclass
class Bench:
    counts: bool = False
    clock: HandClock = field(default_factory=HandClock)
    instances: int = 0

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock, counts=self.counts)
        self.requests = Requests(self.clock)
        self.hints = Hints(size=100, life_ms=SETTINGS.dead_life_ms // 2)

    def deadline(self, seconds: float = 30.0) -> HandDeadline:
        return HandDeadline(self.clock, seconds)

    def source(self) -> random.Random:
        self.instances += 1
        return random.Random(self.instances)

    async def run(
        self,
        *operations: TransactionOperation,
        request: Request | None = None,
        deadline: HandDeadline | None = None,
    ) -> Sequence[Answer] | KeepstateError:
        """Runs a transaction through an instance of its own."""
        try:
            return await self.transaction(*operations, request=request, deadline=deadline).run()
        except KeepstateError as error:
            return error

    def transaction(
        self,
        *operations: TransactionOperation,
        request: Request | None = None,
        deadline: HandDeadline | None = None,
    ) -> Transaction:
        source = self.source()
        return Transaction(
            [(Location(self.store.name, operation.name.key), operation) for operation in operations],
            request,
            deadline or self.deadline(),
            stores={self.store.name: self.store},
            notings={self.store.name: self.noting(source)},
            hints=self.hints,
            resolver=self.resolver(source),
            settings=SETTINGS,
            clock=self.clock,
            source=source,
        )

    def writer(self) -> Writer:
        hints, source = Hints(size=0, life_ms=1), self.source()
        return Writer(
            self.store,
            hints=hints,
            resolver=self.resolver(source),
            noting=self.noting(source),
            clock=self.clock,
            source=source,
        )

    def noting(self, source: random.Random) -> Noting:
        return Noting(self.store, settings=SETTINGS, clock=self.clock, source=source)

    def resolver(self, source: random.Random) -> Resolver:
        return Resolver(self.store, settings=SETTINGS, clock=self.clock, source=source)

    async def put(self, key: str, value: bytes = b"v", **more: Instant) -> Version:
        operation = Put(name=name(key), value=value, expiry=more.get("expiry"))
        (result,) = await performed(self.writer(), [operation], self.deadline())
        assert isinstance(result, Written)
        return result.version

    async def value(self, key: str) -> bytes | None:
        (result,) = await performed(self.writer(), [Get(name=name(key))], self.deadline())
        return result.record.value if isinstance(result, Found) else None

    async def values(self, keys: str) -> list[bytes | None]:
        return [await self.value(key) for key in keys]

    def transactions(self) -> int:
        return self.store.count("transact")


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def staged() -> Bench:
    """A store that does not roll back."""
    return Bench(counts=True)


def put(key: str, value: bytes = b"new") -> Put:
    return Put(name=name(key), value=value)
