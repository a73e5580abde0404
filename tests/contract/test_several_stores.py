"""Promise 9 over two stores, which know nothing of each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate.v1 import state_service_pb2 as pb
from keepstate_server.domain.names import stored_key
from keepstate_server.stores.sidecar import StateItem
from tests.contract.api import ABSENT, EXISTS, Api, Refused, again, if_etag, new_request
from tests.contract.bank import Bank, Mover
from tests.contract.conftest import Backend
from tests.contract.left_over import Scenario

pytestmark = pytest.mark.promise(9)

PAIRS = [("redis", "postgresql"), ("sqlite", "redis"), ("postgresql", "memory")]


@pytest.fixture(params=PAIRS, ids="-".join)
def stores(request: pytest.FixtureRequest) -> tuple[str, str]:
    one, other = request.param
    return one, other


@pytest.fixture
def store(stores: tuple[str, str]) -> str:
    """What the shared fixtures go by: which sidecar it is."""
    return stores[0]


@pytest.fixture
def apis(backend: Backend, stores: tuple[str, str], request: pytest.FixtureRequest) -> tuple[Api, Api]:
    prefix = re.sub(r"\W+", "-", request.node.name)
    return Api(backend.channel, stores[0], prefix), Api(backend.channel, stores[1], prefix)


async def test_all_writes_are_applied_wherever_the_records_lie(apis: tuple[Api, Api], backend: Backend) -> None:
    here, there = apis
    old, gone, held = here.key(), there.key(), here.key()
    raw, new, number = there.key(), there.key(), here.key()
    etags = [await here.put(old), await there.put(gone), await here.put(held)]
    item = StateItem(key=stored_key("", raw), value=b"plain", etag=None)
    await backend.sidecar.save(there.store, [item], timeout=10)
    answer = await here.transact(
        checks=[here.check(held, if_etag(etags[2])), there.check(there.key(), ABSENT)],
        puts=[
            here.put_request(old, b"1", when=if_etag(etags[0])),
            there.put_request(raw, b"2", when=EXISTS),
            there.put_request(new, b"3", when=ABSENT, ttl=timedelta(seconds=1)),
        ],
        deletes=[there.delete_request(gone, if_etag(etags[1]))],
        updates=[pb.UpdateRequest(name=here.name(number), increment=pb.Increment(delta=7))],
    )
    found = [await here.get(old), await there.get(raw), await there.get(new), await here.get(number)]
    assert [each.value for each in found] == [b"1", b"2", b"3", b"7"]
    written = [*(each.etag for each in answer.puts), answer.updates[0].record.etag]
    assert [each.etag for each in found] == written
    assert [each.existed for each in answer.deletes] == [True]
    assert await there.value(gone) is None
    assert (await here.get(held)).etag == etags[2]
    backend.clock.advance(timedelta(seconds=2))
    assert await there.value(new) is None


async def test_one_failed_precondition_undoes_all_and_names_its_store(apis: tuple[Api, Api]) -> None:
    here, there = apis
    good, bad = here.key(), there.key()
    before = await here.put(good, b"before")
    stale = await there.put(bad, b"1")
    current = await there.put(bad, b"2")
    with pytest.raises(Refused) as refused:
        await here.transact(
            puts=[here.put_request(good, b"after"), there.put_request(bad, b"3", when=if_etag(stale))],
        )
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert refused.value.metadata == {"store": there.store, "namespace": "", "key": bad, "etag": current}
    items = await here.snapshot(here.name(good), there.name(bad))
    assert [each.record.etag for each in items] == [before, current]


async def test_a_hundred_records_of_two_stores_fit(apis: tuple[Api, Api]) -> None:
    names = [(apis[number % 2], apis[number % 2].key()) for number in range(100)]
    await apis[0].transact(puts=[api.put_request(key, bytes(10_000)) for api, key in names])
    items = await apis[0].snapshot(*(api.name(key) for api, key in names))
    assert [each.name.store for each in items] == [api.store for api, _ in names]
    assert {each.record.value for each in items} == {bytes(10_000)}


async def test_a_repeat_gets_the_first_answer_through_another_instance(
    apis: tuple[Api, Api], backend: Backend, another: Callable[[], Any]
) -> None:
    here, there = apis
    one, two, request = here.key(), there.key(), new_request(backend.clock.now())
    puts = [here.put_request(one, b"1", when=ABSENT), there.put_request(two, b"1")]
    first = await here.transact(puts=puts, request=request)
    await there.put(two, b"somebody else's")
    async with another() as other:
        second = Api(other.channel, here.store, here.prefix)
        assert await second.transact(puts=puts, request=again(request)) == first
    assert await there.value(two) == b"somebody else's"


async def test_no_snapshot_shows_half_a_transaction(apis: tuple[Api, Api], another: Callable[[], Any]) -> None:
    here, there = apis
    async with another() as other:
        both = (here, Api(other.channel, here.store, here.prefix))
        bank = Bank(
            accounts=[api.name(api.key("account")) for api in (here, there, here, there)],
            movers=[Mover(api=both[number % 2], journal=there.name(there.key("journal"))) for number in range(4)],
            watchers=both,
        )
        await bank.work(transfers=10)
    assert bank.conflicts
    assert bank.snapshots > 10


@pytest.mark.promise(11)
@pytest.mark.parametrize("meeting", ["get", "put", "snapshot"])
async def test_whoever_meets_what_was_left_finds_all_of_it_or_nothing(
    apis: tuple[Api, Api], backend: Backend, stores: tuple[str, str], meeting: str
) -> None:
    states = await Scenario(backend, stores, apis[0].prefix).dies_everywhere(meeting=meeting)
    assert states[0] == "before"
    assert "after" in states
