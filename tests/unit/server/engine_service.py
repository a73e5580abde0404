"""An engine over two stores, and a gate that holds their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from keepstate_server.domain.errors import KeepstateError, StoreNotFound
from keepstate_server.domain.operations import Operation
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.envelope import Envelope, decode
from keepstate_server.stores.base import StateStore
from tests.unit.server.hand import SETTINGS, HandClock, HandDeadline, Requests
from tests.unit.server.model_store import ModelStore


@dataclass
class Shelf:
    """Stores by name."""

    stores: dict[str, ModelStore]

    async def find(self, name: str, *, timeout: float) -> StateStore:
        await asyncio.sleep(0)
        if name not in self.stores:
            raise StoreNotFound(name)
        return self.stores[name]


@dataclass
class Service:
    counts: bool = True
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.store = ModelStore(clock=self.clock, counts=self.counts)
        self.second = ModelStore(clock=self.clock, name="second", counts=self.counts)
        self.engine = self.instance()
        self.requests = Requests(self.clock)

    def instance(self) -> Engine:
        shelf = Shelf({"model": self.store, "second": self.second})
        return Engine(shelf, settings=SETTINGS, clock=self.clock)

    def deadline(self, seconds: float = 30.0) -> HandDeadline:
        return HandDeadline(self.clock, seconds)

    def envelope(self, key: str = "k", store: str = "model") -> Envelope:
        envelope = decode((self.store if store == "model" else self.second).stands(key) or b"")
        assert envelope is not None
        return envelope

    async def one(self, operation: Operation) -> object:
        try:
            return await self.engine.perform(operation, self.deadline())
        except KeepstateError as error:
            return error

    async def all(self, operations: Sequence[Operation]) -> Sequence[object]:
        return await self.engine.perform_all(operations, self.deadline())


class Gate:
    """Holds a call of the store until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()
