"""Promise 9: several records as of one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from keepstate.testing import MovableClock
from keepstate.v1 import record_pb2
from keepstate_server.domain.names import stored_key
from keepstate_server.stores.sidecar import StateItem
from tests.contract.api import Api, Refused
from tests.contract.bank import Bank, Mover
from tests.contract.conftest import Backend

pytestmark = pytest.mark.promise(9)

SECOND = timedelta(seconds=1)


async def test_each_name_is_answered_in_the_order_asked_also_twice(api: Api, clock: MovableClock) -> None:
    one, empty, deleted, expired, never = (api.key() for _ in range(5))
    await api.put(one, b"1", ttl=timedelta(hours=1))
    await api.put(empty, b"")
    await api.put(deleted)
    await api.delete(deleted)
    await api.put(expired, ttl=SECOND)
    clock.advance(2 * SECOND)
    keys = [never, one, deleted, empty, one, expired]
    items = await api.snapshot(*map(api.name, keys))
    assert [each.name for each in items] == [api.name(key) for key in keys]
    assert [each.HasField("record") for each in items] == [False, True, False, True, True, False]
    assert items[1].record == items[4].record == await api.get(one)
    assert items[3].record == await api.get(empty)


async def test_another_programs_value_is_read_as_it_is(api: Api, backend: Backend, store: str) -> None:
    raw, own = api.key(), api.key()
    item = StateItem(key=stored_key("", raw), value=b"plain", etag=None)
    await backend.sidecar.save(store, [item], timeout=10)
    await api.put(own)
    items = await api.snapshot(api.name(raw), api.name(own))
    assert [each.record for each in items] == [await api.get(raw), await api.get(own)]
    assert items[0].record.value == b"plain"


async def test_a_hundred_records_are_read_and_one_more_is_refused(api: Api) -> None:
    keys = [api.key() for _ in range(101)]
    await api.transact(puts=[api.put_request(key, key.encode()) for key in keys[:100]])
    assert await api.values(*keys[:100]) == [key.encode() for key in keys[:100]]
    for wrong in (keys, []):
        with pytest.raises(Refused) as refused:
            await api.values(*wrong)
        assert refused.value.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")
        assert refused.value.fields == ["names"]


async def test_more_than_an_answer_carries_is_refused_by_name(api: Api) -> None:
    keys = [api.key() for _ in range(13)]
    for key in keys:
        await api.put(key, bytes(1024 * 1024))
    assert [len(value or b"") for value in await api.values(*keys[:12])] == [1024 * 1024] * 12
    with pytest.raises(Refused) as refused:
        await api.values(*keys)
    assert refused.value.what == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert refused.value.fields == ["names"]


async def test_every_wrong_name_is_named(api: Api) -> None:
    names = [api.name("k"), api.name(""), api.name("a||b"), api.name("k", namespace="a\nb")]
    with pytest.raises(Refused) as refused:
        await api.snapshot(*names)
    assert refused.value.fields == ["names[1].key", "names[2].key", "names[3].namespace"]
    with pytest.raises(Refused) as refused:
        await api.snapshot(api.name("k"), record_pb2.RecordName(store="no-such-store", key="k"))
    assert refused.value.what == ("INVALID_ARGUMENT", "STORE_NOT_FOUND")
    assert refused.value.fields == ["names[1].store"]


async def test_no_snapshot_shows_half_a_transaction(api: Api, store: str, another: Callable[[], Any]) -> None:
    """Movers and watchers through two instances: the sum never differs, and what was answered is seen."""
    async with another() as other:
        both = (api, Api(other.channel, store, api.prefix))
        bank = Bank(
            accounts=[api.name(api.key("account")) for _ in range(5)],
            movers=[Mover(api=both[number % 2], journal=api.name(api.key("journal"))) for number in range(6)],
            watchers=both,
        )
        await bank.work(transfers=15)
    assert bank.conflicts
    assert bank.snapshots > 10
