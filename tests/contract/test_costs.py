"""What reads and writes cost: calls of the sidecar, counted there (docs/records.md has the figures)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from keepstate.v1 import store_service_pb2
from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import Api, if_etag
from tests.contract.conftest import Backend, running_service
from tests.support.sidecar_proxy import SidecarProxy

pytestmark = pytest.mark.parametrize("store", ["redis"])

READ, READ_ALL, WRITE, WRITE_ALONE = "GetState", "GetBulkState", "ExecuteStateTransaction", "SaveState"


@dataclass(frozen=True, kw_only=True)
class Counted:
    """An instance whose calls of the sidecar are counted, and one whose are not."""

    api: Api
    proxy: SidecarProxy
    other: Api


@pytest.fixture
async def counted(api: Api, backend: Backend, store: str) -> AsyncIterator[Counted]:
    async with SidecarProxy(backend.address.grpc) as proxy:
        address = SidecarAddress(grpc=proxy.address, http=backend.address.http)
        async with running_service(address, clock=backend.clock, probe=False) as its:
            own = Api(its.channel, store, api.prefix)
            await own.put(own.key("the first write asks what the store is"))
            # Nor are the other stores asked any more, which the start does beside it.
            await own.call(own.stores.ListStores(store_service_pb2.ListStoresRequest()))
            proxy.forget()
            yield Counted(api=own, proxy=proxy, other=api)


async def test_a_get_is_one_call(counted: Counted) -> None:
    key = counted.other.key()
    await counted.other.put(key)
    for _ in range(2):
        await counted.api.get(key)
        assert counted.proxy.calls == [READ]
        counted.proxy.forget()


async def test_a_write_is_one_call_with_a_hint_and_two_without(counted: Counted) -> None:
    key = counted.other.key()
    etag = await counted.other.put(key)
    etag = await counted.api.put(key, b"1", when=if_etag(etag))
    assert counted.proxy.calls == [READ, WRITE]
    counted.proxy.forget()
    etag = await counted.api.put(key, b"2", when=if_etag(etag))
    await counted.api.put(key, b"3")
    assert counted.proxy.calls == [WRITE] * 2


async def test_a_transaction_is_three_calls_before_its_answer_and_two_after(counted: Counted) -> None:
    """Read, lay the intents, decide; then replace the intents, and let the outcome go."""
    keys = [counted.other.key() for _ in range(3)]
    etags = [await counted.other.put(key) for key in keys]
    answered, retired = asyncio.Event(), asyncio.Event()

    async def retire() -> None:
        retired.set()

    counted.proxy.before[4] = answered.wait  # if the answer needed a fourth call it would never come
    counted.proxy.after[5] = retire
    await counted.api.transact(
        checks=[counted.api.check(keys[0], if_etag(etags[0]))],
        puts=[counted.api.put_request(key, b"new") for key in keys[1:]],
    )
    assert counted.proxy.calls[:3] == [READ_ALL, WRITE, WRITE_ALONE]
    answered.set()
    async with asyncio.timeout(10):
        await retired.wait()
    assert counted.proxy.calls == [READ_ALL, WRITE, WRITE_ALONE, WRITE, WRITE_ALONE]


async def test_a_read_that_meets_an_intent_is_a_call_more_and_puts_an_old_one_away(
    counted: Counted, backend: Backend, store: str
) -> None:
    keys = [counted.other.key() for _ in range(2)]
    for key in keys:
        await counted.other.put(key)
    async with SidecarProxy(backend.address.grpc) as between:
        address = SidecarAddress(grpc=between.address, http=backend.address.http)
        at_once = timedelta(milliseconds=1)
        async with running_service(address, clock=backend.clock, drain=at_once, probe=False) as doomed:
            dying = Api(doomed.channel, store, counted.api.prefix)
            await dying.put(dying.key("first"))
            between.forget()
            between.before[4] = between.cut  # has decided, and replaces no intent
            await dying.transact(puts=[dying.put_request(key, b"new") for key in keys])
    meets = [
        [READ, READ],  # the record, and the outcome
        [READ],  # which is known by now
        [READ, WRITE],  # an old intent was perhaps left by an instance that died
        [READ],
    ]
    for calls in meets:
        counted.proxy.forget()
        assert (await counted.api.get(keys[0])).value == b"new"
        assert counted.proxy.calls == calls
        if calls == [READ]:
            backend.clock.advance(timedelta(seconds=2))
