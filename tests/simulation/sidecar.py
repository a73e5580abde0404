"""Sidecars with stores behind them, on a network that loses, delays and doubts.

Each instance of the service has a sidecar of its own; all share the stores. What the stores do is in ``stores``, what
becomes of calls on their way in ``network``.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.sidecar import BulkItem, Component, Sidecar, SidecarError, StateItem
from tests.simulation.described import described
from tests.simulation.network import Network, Passing, Way
from tests.simulation.stores import RedisLike, SimStore

__all__ = ["SimSidecar", "World"]

_T = TypeVar("_T")

_NOT_SENT = "failed to connect to all addresses; last error: UNKNOWN: Connection refused"


@dataclass(kw_only=True)
class World:
    """What all instances share."""

    network: Network
    chance: random.Random
    stores: Mapping[str, SimStore]
    counts: Counter[str] = field(default_factory=Counter)
    rule: Callable[[Passing], Way | None] | None = None
    """Says what happens to a call where that is not left to chance."""
    trace: list[str] | None = None

    def note(self, text: Callable[[], str]) -> None:
        if self.trace is not None:
            self.trace.append(f"{asyncio.get_running_loop().time():11.4f} {text()}")

    def way(self, passing: Passing, now: float) -> Way:
        way = self.network.way(passing, now, self.chance)
        return (self.rule and self.rule(passing)) or way


class SimSidecar(Sidecar):
    """One sidecar, as the real adapters ask it."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(SidecarAddress(grpc="127.0.0.1:1", http=None), max_message_bytes=1 << 24)
        self._world = world
        self._number = number
        self._was_gone = False

    async def components(self, *, timeout: float) -> Sequence[Component]:
        # Asked once by each instance, before it does anything: its failure would show nothing.
        return [store.component for store in self._world.stores.values()]

    async def get(self, store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        there = self._world.stores[store]
        return await self._call(self._passing(there, "get", key), lambda: there.read(key), timeout)

    async def get_bulk(self, store: str, keys: Sequence[str], *, timeout: float) -> Mapping[str, BulkItem]:
        there = self._world.stores[store]
        if there.reads_singly:
            found = await asyncio.gather(*(self._bulk_item(there, key, timeout) for key in keys))
            return dict(zip(keys, found, strict=True))
        chance, network = self._world.chance, self._world.network
        order = sorted(keys)
        until = len(order)
        if network.broken_off and chance.random() < network.broken_off:
            until = chance.randrange(len(order))
            self._world.counts["bulk reads broken off"] += 1

        def query() -> Mapping[str, BulkItem]:
            read = {key: there.read(key) if at < until else None for at, key in enumerate(order)}
            return {key: BulkItem(stored=stored) for key, stored in read.items()}

        return await self._call(self._passing(there, "get_bulk", *order), query, timeout)

    async def save(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        there = self._world.stores[store]
        singles = [self._save(there, item, timeout) for item in items]
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
        there = self._world.stores[store]
        passing = Passing(instance=self._number, store=there, what="transact", keys=_keys(items), items=tuple(items))
        await self._call(passing, lambda: there.transact(items), timeout)

    async def delete(self, store: str, key: str, *, etag: StoreEtag | None, timeout: float) -> None:
        assert etag is not None, "nothing is deleted blindly"
        there = self._world.stores[store]
        await self._call(self._passing(there, "delete", key), lambda: there.delete(key, etag), timeout)

    async def delete_all(self, store: str, etags: Mapping[str, StoreEtag], *, timeout: float) -> None:
        there = self._world.stores[store]
        await self._call(self._passing(there, "delete", *etags), lambda: there.delete_all(etags), timeout)

    async def _save(self, store: SimStore, item: StateItem, timeout: float) -> None:
        passing = Passing(instance=self._number, store=store, what="save", keys=(item.key,), items=(item,))
        await self._call(passing, lambda: store.save(item), timeout)
        if isinstance(store, RedisLike) and item.ttl_seconds is not None and item.ttl_seconds > 0:
            # Two commands, and whatever happens may happen between them.
            seconds = item.ttl_seconds
            expire = self._passing(store, "expire", item.key)
            await self._call(expire, lambda: store.expire(item.key, seconds), timeout)

    async def _bulk_item(self, store: SimStore, key: str, timeout: float) -> BulkItem:
        try:
            found = await self._call(self._passing(store, "get", key), lambda: store.read(key), timeout)
        except SidecarError as error:
            return BulkItem(stored=None, error=error.text)
        return BulkItem(stored=found)

    def _passing(self, store: SimStore, what: str, *keys: str) -> Passing:
        return Passing(instance=self._number, store=store, what=what, keys=keys)

    async def _call(self, passing: Passing, act: Callable[[], _T], timeout: float) -> _T:
        """Has ``act`` happen at the store when the request arrives there, if it does, and its result come back."""
        world, loop = self._world, asyncio.get_running_loop()
        world.counts["calls"] += 1
        if any(each.sidecar == self._number and each.holds(loop.time()) for each in world.network.outages):
            self._was_gone = True
            await asyncio.sleep(world.chance.uniform(0, world.network.latency))
            world.note(lambda: f"{passing}: no sidecar")
            raise SidecarError(grpc.StatusCode.UNAVAILABLE, _NOT_SENT)
        if self._was_gone:
            self._was_gone = False
            self.connection += 1
        way = world.way(passing, loop.time())
        answer: asyncio.Future[_T] = loop.create_future()
        if way.mishap is not None:
            world.counts[way.mishap] += 1
            world.note(lambda: f"{passing}: {way.mishap}, {way.there} {way.error}")
        if way.there is not None:
            loop.call_later(way.there, self._arrive, passing, act, answer, way)
        if way.error is not None:
            loop.call_later(way.back, _fail, answer, way.error)
        if way.heard_after < timeout:
            return await answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise SidecarError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None

    def _arrive(self, passing: Passing, act: Callable[[], _T], answer: asyncio.Future[_T], way: Way) -> None:
        world, loop = self._world, asyncio.get_running_loop()
        try:
            result = act()
        except SidecarError as failed:
            text = str(failed)
            world.note(lambda: f"{passing}: {text}")
            if way.mishap is None:
                loop.call_later(way.back, _fail, answer, failed)
        else:
            world.note(lambda: f"{passing}: {'done' if passing.writes else described(result)}")
            if way.mishap is None:
                loop.call_later(way.back, _succeed, answer, result)


def _keys(items: Sequence[StateItem]) -> tuple[str, ...]:
    return tuple(item.key for item in items)


def _fail(answer: asyncio.Future[_T], error: SidecarError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _succeed(answer: asyncio.Future[_T], result: _T) -> None:
    if not answer.done():
        answer.set_result(result)
