"""Sidecars with stores behind them, on a network that loses, delays and doubts.

Each instance of the service has a sidecar of its own; all share the stores. What the stores do is in ``stores``; here
is what becomes of requests and replies on their way.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from keepstate_server.domain.records import Consistency
from keepstate_server.engine.envelope import decode
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.base import Stored
from keepstate_server.stores.sidecar import BulkItem, Component, Sidecar, SidecarError, StateItem
from tests.simulation.stores import SimStore

__all__ = ["Network", "Outage", "SimSidecar", "Way", "World"]

_T = TypeVar("_T")

_PROBE = b"\xf5probe"

# How much less often something happens to a read than to a write.
_READS_FAIL = 0.3

_NOT_SENT = "failed to connect to all addresses; last error: UNKNOWN: Connection refused"

# What the texts of a store look like when its connection fails; the first three may come after it was applied.
_CAUSES = (
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: i/o timeout",
    "read tcp 172.17.0.3:40122->172.17.0.2:6379: read: connection reset by peer",
    "unexpected EOF",
)
_REFUSED_CONNECTION = "dial tcp 172.17.0.2:6379: connect: connection refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """A while in which the store, or an instance's sidecar, does not work."""

    begin: float
    end: float
    paused: bool
    """Requests wait for its end; else they fail at once."""
    sidecar: int | None = None
    """The sidecar that is gone; None: it is the store."""

    def holds(self, now: float) -> bool:
        return self.begin <= now < self.end


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """What happens to one call on its way."""

    mishap: str | None = None
    error: SidecarError | None = None
    """What the caller hears if something happens; None then: nothing, until his time is up."""
    there: float | None = None
    """When the request arrives; None: never."""
    back: float
    """When the caller hears of the mishap; without one, how long the reply takes."""

    @property
    def heard_after(self) -> float:
        if self.mishap is None:
            return (self.there or 0.0) + self.back
        return self.back if self.error else math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How often what happens to one call, and how long things take; seconds."""

    latency: float = 0.004
    lost: float = 0.0
    """The request is lost."""
    unheard: float = 0.0
    """The reply is lost."""
    late: float = 0.0
    """The caller gets an error, and the request is applied later, up to ``longest_delay`` after it was sent."""
    full: float = 0.0
    """Redis has no room for a write."""
    broken_off: float = 0.0
    """A bulk read breaks off in the middle."""
    slow: float = 0.0
    """The reply takes up to some seconds."""
    outages: tuple[Outage, ...] = ()
    longest_delay: float = 30.0

    @property
    def faultless(self) -> bool:
        return not (self.lost or self.unheard or self.late or self.broken_off or self.outages)


@dataclass(kw_only=True)
class World:
    """What all instances share."""

    network: Network
    chance: random.Random
    store: SimStore
    counts: Counter[str] = field(default_factory=Counter)
    ways: dict[int, Way] = field(default_factory=dict)
    """What happens to the first write that reaches the network, the second, … where that is not left to chance."""
    writes: int = 0
    """How many there were."""
    trace: list[str] | None = None

    def note(self, text: Callable[[], str]) -> None:
        if self.trace is not None:
            self.trace.append(f"{asyncio.get_running_loop().time():11.4f} {text()}")


class SimSidecar(Sidecar):
    """One sidecar, as the real adapters ask it."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(SidecarAddress(grpc="127.0.0.1:1", http=None), max_message_bytes=1 << 24)
        self._world = world
        self._number = number
        self._store = world.store
        self._was_gone = False

    async def components(self, *, timeout: float) -> Sequence[Component]:
        # Asked once by each instance, before it does anything: its failure would show nothing.
        return [self._store.component]

    async def get(self, store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        return await self._call(f"get {key}", lambda: self._store.read(key), timeout, writes=False)

    async def get_bulk(self, store: str, keys: Sequence[str], *, timeout: float) -> Mapping[str, BulkItem]:
        if self._store.reads_singly:
            found = await asyncio.gather(*(self._bulk_item(key, timeout) for key in keys))
            return dict(zip(keys, found, strict=True))
        chance, network = self._world.chance, self._world.network
        order = sorted(keys)
        until = len(order)
        if network.broken_off and chance.random() < network.broken_off:
            until = chance.randrange(len(order))
            self._world.counts["bulk reads broken off"] += 1

        def query() -> Mapping[str, BulkItem]:
            read = {key: self._store.read(key) if at < until else None for at, key in enumerate(order)}
            return {key: BulkItem(stored=stored) for key, stored in read.items()}

        return await self._call(f"get_bulk {order} until {until}", query, timeout, writes=False)

    async def save(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        singles = [self._one(item, timeout) for item in items]
        if len(singles) == 1:
            return await singles[0]
        errors = [
            each for each in await asyncio.gather(*singles, return_exceptions=True) if isinstance(each, BaseException)
        ]
        failed = [each for each in errors if isinstance(each, SidecarError)]
        for each in errors:
            if not isinstance(each, SidecarError):
                raise each
        if failed:
            # One joined error, which does not say whose it is; a mismatch among them is everybody's.
            codes = {each.code for each in failed}
            codes_by_rank = (grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL)
            code = next((each for each in codes_by_rank if each in codes), failed[0].code)
            raise SidecarError(code, "\n".join(each.text for each in failed))
        return None

    async def transact(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        what = f"transact {[f'{item.key}@{item.etag}' for item in items]}"
        await self._call(what, lambda: self._store.transact(items), timeout, writes=True, transaction=True)

    async def _one(self, item: StateItem, timeout: float) -> None:
        await self._call(f"save {item.key}@{item.etag}", lambda: self._store.save(item), timeout, writes=True)

    async def _bulk_item(self, key: str, timeout: float) -> BulkItem:
        try:
            return BulkItem(stored=await self._call(f"get {key}", lambda: self._store.read(key), timeout, writes=False))
        except SidecarError as error:
            return BulkItem(stored=None, error=error.text)

    async def _call(
        self, what: str, act: Callable[[], _T], timeout: float, *, writes: bool, transaction: bool = False
    ) -> _T:
        """Has ``act`` happen at the store when the request arrives there, if it does, and its result come back."""
        world, network = self._world, self._world.network
        loop = asyncio.get_running_loop()
        world.counts["calls"] += 1
        if any(each.sidecar == self._number and each.holds(loop.time()) for each in network.outages):
            self._was_gone = True
            await asyncio.sleep(world.chance.uniform(0, network.latency))
            world.note(lambda: f"s{self._number} {what}: no sidecar")
            raise SidecarError(grpc.StatusCode.UNAVAILABLE, _NOT_SENT)
        if self._was_gone:
            self._was_gone = False
            self.connection += 1
        way = self._way(loop.time(), writes=writes, transaction=transaction)
        if writes:
            way = world.ways.get(world.writes, way)
            world.writes += 1
        answer: asyncio.Future[_T] = loop.create_future()
        if way.mishap is not None:
            world.counts[way.mishap] += 1
            world.note(lambda: f"s{self._number} {what}: {way.mishap}, {way.there} {way.error}")
        if way.there is not None:
            loop.call_later(way.there, self._arrive, what, act, answer, way)
        if way.error is not None:
            loop.call_later(way.back, _fail, answer, way.error)
        if way.heard_after < timeout:
            return await answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise SidecarError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None

    def _arrive(self, what: str, act: Callable[[], _T], answer: asyncio.Future[_T], way: Way) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        try:
            result = act()
        except SidecarError as failed:
            text = str(failed)
            world.note(lambda: f"s{self._number} {what}: {text}")
            if way.mishap is None:
                loop.call_later(way.back, _fail, answer, failed)
        else:
            world.note(lambda: f"s{self._number} {what}: {_described(result, what)}")
            if way.mishap is None:
                loop.call_later(way.back, _succeed, answer, result)

    def _way(self, now: float, *, writes: bool, transaction: bool) -> Way:
        chance, network = self._world.chance, self._world.network
        there, back = chance.uniform(0.0001, network.latency), chance.uniform(0.0001, network.latency)
        for outage in network.outages:
            if outage.sidecar is None and outage.holds(now):
                return self._way_in(outage, now, back, writes=writes, transaction=transaction)
        if chance.random() < network.slow:
            return Way(there=there, back=chance.uniform(0, 4.0))
        if writes and chance.random() < network.full and (full := self._store.full(transaction)):
            return Way(mishap="writes to a full store", error=full, back=there + back)
        roll = chance.random() / (1.0 if writes else _READS_FAIL)  # a call that could not read has shown nothing
        if roll >= network.lost + network.unheard + network.late:
            return Way(there=there, back=back)
        return self._mishap(roll, there, back, writes=writes, transaction=transaction)

    def _mishap(self, roll: float, there: float, back: float, *, writes: bool, transaction: bool) -> Way:
        chance, network = self._world.chance, self._world.network
        error = self._error(writes, transaction, chance.choice(_CAUSES))
        soon = chance.choice((back, 0.2, 3.0))
        if roll < network.lost:
            return Way(mishap="requests lost", error=error, back=soon)
        if roll < network.lost + network.unheard or not writes:
            return Way(mishap="replies lost", error=error, there=there, back=there + soon)
        delay = chance.choice((0.05, 1.0, 5.0, network.longest_delay)) * chance.random()
        late = soon + delay if soon + delay < network.longest_delay else delay
        return Way(mishap="late deliveries", error=error, there=late, back=soon)

    def _way_in(self, outage: Outage, now: float, back: float, *, writes: bool, transaction: bool) -> Way:
        chance, network = self._world.chance, self._world.network
        if not outage.paused:
            error = self._store.gone(_REFUSED_CONNECTION, writes, transaction)
            return Way(mishap="calls while gone", error=error, back=back)
        wait = outage.end - now + chance.uniform(0, network.latency)
        arrives = wait if wait < network.longest_delay and chance.random() < 0.7 else None
        error_later = self._error(writes, transaction, _CAUSES[0])
        return Way(mishap="calls while paused", error=error_later, there=arrives, back=3.0 + back)

    def _error(self, writes: bool, transaction: bool, cause: str) -> SidecarError | None:
        """Returns what a caller hears whose call was lost on one of its hops. None: nothing until his time is up."""
        roll = self._world.chance.random()
        if roll < 0.25:
            return None
        if roll < 0.45:
            return SidecarError(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return self._store.gone(cause, writes, transaction)


def _described(result: object, what: str = "") -> str:
    """Returns what a read showed, for people."""
    match result:
        case Stored(data=data, etag=etag):
            envelope = decode(data)
            if envelope is None:
                # The probe's value is of the system's randomness.
                return f"{b'a probe' if data.startswith(_PROBE) else data!r}@{etag}"
            value = envelope.value.decode() if envelope.death_time is None else "dead"
            trail = envelope.trail
            entries = [
                f"{entry.write.hex()[:8]} {[(each.client, each.first, each.answer.name) for each in entry.requests]}"
                for entry in (*trail.entries, *trail.kept)
            ]
            return f"{value} {envelope.version.hex()[:8]}@{etag[:8]} expires {envelope.expire_time} {entries}"
        case Mapping():
            return str({key: _described(each) for key, each in result.items()})
        case BulkItem(stored=stored, error=error):
            return error or _described(stored)
        case None:
            return "done" if what.startswith(("save", "transact")) else "nothing"
        case _:
            return str(result)


def _fail(answer: asyncio.Future[_T], error: SidecarError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: asyncio.Future[_T], result: _T) -> None:
    if not answer.done():
        answer.set_result(result)
