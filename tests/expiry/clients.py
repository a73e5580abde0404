"""Clients that write records with and without expiry, all of them in all orders, and keep what they were answered."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from grpc_status import rpc_status

from keepstate.v1 import state_service_pb2 as pb
from keepstate.v1 import state_service_pb2_grpc
from keepstate_server.domain.errors import RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Found, Increment, Updated, Written
from keepstate_server.domain.records import ABSENT, Record, Version
from keepstate_server.engine.draft import Result
from tests.expiry.judging import Sent
from tests.expiry.wire import Era, error_of, operation_of
from tests.simulation.history import Kind, Spec

__all__ = ["STEPS", "Clients", "name_of"]

BATCH = 48

# How many operations a batch may have.
_MOST = 1000

TTLS = (1000, 3001)
"""From and below, in milliseconds."""

SPREAD = 2000
"""How far behind the newest record a client writes on average: a record is written for as long as its expiry takes."""


def name_of(number: int) -> RecordName:
    return RecordName(store="redis", namespace="", key=f"expiry:record:{number:05}")


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What a step may use."""

    name: RecordName
    value: bytes
    ttl: int
    seen: Version | None
    """The version that was last heard of, by any client."""


_ONE = Increment(delta=1)

STEPS: Mapping[str, Callable[[_Ask], Spec]] = {
    "put": lambda ask: Spec(name=ask.name, kind=Kind.PUT, value=ask.value),
    "put with ttl": lambda ask: Spec(name=ask.name, kind=Kind.PUT, value=ask.value, ttl=ask.ttl),
    "put, keeping the expiry": lambda ask: Spec(name=ask.name, kind=Kind.PUT, value=ask.value, keep=True),
    "put if etag": lambda ask: Spec(name=ask.name, kind=Kind.PUT, value=ask.value, precondition=ask.seen or ABSENT),
    "put if etag with ttl": lambda ask: Spec(
        name=ask.name, kind=Kind.PUT, value=ask.value, precondition=ask.seen or ABSENT, ttl=ask.ttl
    ),
    "create": lambda ask: Spec(name=ask.name, kind=Kind.PUT, value=ask.value, precondition=ABSENT),
    "create with ttl": lambda ask: Spec(
        name=ask.name, kind=Kind.PUT, value=ask.value, precondition=ABSENT, ttl=ask.ttl
    ),
    "touch": lambda ask: Spec(name=ask.name, kind=Kind.TOUCH),
    "touch with ttl": lambda ask: Spec(name=ask.name, kind=Kind.TOUCH, ttl=ask.ttl),
    "increment": lambda ask: Spec(name=ask.name, kind=Kind.INCREMENT, change=_ONE),
    "increment with ttl": lambda ask: Spec(name=ask.name, kind=Kind.INCREMENT, change=_ONE, ttl=ask.ttl),
    "increment, keeping the expiry": lambda ask: Spec(name=ask.name, kind=Kind.INCREMENT, change=_ONE, keep=True),
    "sliding read": lambda ask: Spec(name=ask.name, kind=Kind.SLIDE, ttl=ask.ttl),
    "read": lambda ask: Spec(name=ask.name, kind=Kind.GET),
    "delete": lambda ask: Spec(name=ask.name, kind=Kind.DELETE),
}


@dataclass(kw_only=True)
class Clients:
    """Clients of several instances, and what they did and heard."""

    instances: Sequence[state_service_pb2_grpc.StateServiceAsyncStub]
    """Those that do not answer any more are left out from then on."""
    records: int
    era: Era = field(default_factory=lambda: Era(began=int(time.time() * 1000)))
    sent: list[Sent] = field(default_factory=list)
    orders: set[tuple[str, str]] = field(default_factory=set)
    """The pairs of steps that came one after the other on a record."""
    happened: Counter[str] = field(default_factory=Counter)
    """How often what was answered."""
    written: set[str] = field(default_factory=set)
    """The keys that a record was written under."""
    half_done: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: float = 0.0
    slowest: float = 0.0
    """The longest that a batch took, in seconds."""

    def __post_init__(self) -> None:
        self._chance = random.Random(0)
        self._numbers = itertools.count(1)
        self._seen: dict[RecordName, Version] = {}
        self._last: dict[RecordName, str] = {}

    def summary(self) -> str:
        """Returns what happened, in a line."""
        return f"{dict(self.happened)} in {self.seconds:.1f} s, the slowest batch took {self.slowest:.2f} s"

    async def work(self, *, clients: int, operations: int) -> None:
        """Has so many clients send so many operations, together."""
        began = time.monotonic()
        batches = operations // BATCH
        left = iter(range(batches))
        await asyncio.gather(*(self._client(left, batches) for _ in range(clients)))
        self.seconds = time.monotonic() - began

    async def _client(self, left: Iterator[int], batches: int) -> None:
        for batch in left:
            newest = batch * self.records // batches
            back = (int(self._chance.expovariate(1 / SPREAD)) for _ in range(BATCH))
            await self._send([self._spec(name_of((newest - each) % self.records)) for each in back])
            if batch == batches // 2:
                self.half_done.set()

    def _spec(self, name: RecordName) -> Spec:
        step = self._chance.choice(tuple(STEPS))
        if before := self._last.get(name):
            self.orders.add((before, step))
        self._last[name] = step
        ask = _Ask(
            name=name,
            value=b"%d000" % next(self._numbers),
            ttl=self._chance.randrange(*TTLS),
            seen=self._seen.get(name),
        )
        return STEPS[step](ask)

    async def read_all(self) -> set[str]:
        """Reads all records; returns the keys of those that exist."""
        found: set[str] = set()
        for begin in range(0, self.records, _MOST):
            names = [name_of(number) for number in range(begin, min(begin + _MOST, self.records))]
            results = await self._send([Spec(name=name, kind=Kind.GET) for name in names])
            assert results is not None, "a read was not answered"
            for name, result in zip(names, results, strict=True):
                assert isinstance(result, Found | RecordMissing), result
                if isinstance(result, Found):
                    found.add(name.key)
        return found

    async def _send(self, specs: Sequence[Spec]) -> Sequence[Result] | None:
        instance = self._chance.choice(self.instances)
        batch = pb.BatchRequest(operations=[operation_of(spec) for spec in specs])
        start = time.time() * 1000
        results: Sequence[Result] | None = None
        try:
            answer = await instance.Batch(batch, timeout=20)
        except grpc.aio.AioRpcError as error:
            if status := rpc_status.from_call(error):
                results = [error_of(status, spec.name) for spec in specs]
            elif error.code() is grpc.StatusCode.UNAVAILABLE:
                self.instances = [each for each in self.instances if each is not instance]
        else:
            results = [self.era.result(each, spec.name) for each, spec in zip(answer.results, specs, strict=True)]
        end = time.time() * 1000
        self.slowest = max(self.slowest, (end - start) / 1000)
        self.sent.append(Sent(specs=specs, start=start, end=end, results=results))
        self.happened["unanswered"] += results is None
        for spec, result in zip(specs, results or (), strict=False):
            self._hear(spec.name, result)
        return results

    def _hear(self, name: RecordName, result: Result) -> None:
        self.happened[type(result).__name__] += 1
        if isinstance(result, Written | Updated):
            self.written.add(name.key)
        match result:
            case (
                Written(version=version)
                | Found(record=Record(version=version))
                | Updated(record=Record(version=version))
            ):
                self._seen[name] = version
            case _:
                pass  # what was heard of last is asked for all the same
