"""What a store finds out about its component before the first write."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from keepstate_server.domain.names import internal_key
from keepstate_server.stores.base import Failure, Stored
from keepstate_server.stores.redis import RedisStore
from tests.unit.server.fake_sidecar import FakeSidecar
from tests.unit.server.stores.conftest import component


async def test_the_first_write_is_preceded_by_a_probe_and_the_next_is_not(sidecar: FakeSidecar) -> None:
    store = RedisStore(sidecar, component())
    assert await store.prepare(timeout=1) is None
    assert await store.prepare(timeout=1) is None
    assert [asked.call for asked in sidecar.asked] == ["transact", "get"]
    [item] = sidecar.asked[0].items
    assert (item.key, item.etag, item.ttl_seconds, item.create_only) == (internal_key("probe"), None, -1, False)
    assert store.transactions_keep_values


@pytest.mark.parametrize("call", ["transact", "get"])
async def test_a_probe_that_fails_is_made_again(sidecar: FakeSidecar, call: str) -> None:
    store = RedisStore(sidecar, component())
    sidecar.fail(call, StatusCode.UNAVAILABLE, "failed to connect to all addresses")
    assert isinstance(await store.prepare(timeout=1), Failure)
    assert await store.prepare(timeout=1) is None
    assert store.transactions_keep_values


async def test_a_sidecar_that_came_back_is_probed_again(sidecar: FakeSidecar) -> None:
    """Its component file may be another: one that encrypts."""
    store = RedisStore(sidecar, component())
    await store.prepare(timeout=1)
    assert store.transactions_keep_values
    sidecar.connection += 1
    sidecar.destroys = True
    assert await store.prepare(timeout=1) is None
    assert not store.transactions_keep_values


async def test_a_probe_that_another_instance_overwrote_tells_the_same(sidecar: FakeSidecar) -> None:
    store, other = RedisStore(sidecar, component()), RedisStore(sidecar, component())
    await other.prepare(timeout=1)
    theirs = sidecar.values[internal_key("probe")]
    sidecar.values.clear()

    async def overwritten(*_: object, **__: object) -> Stored:
        return theirs

    sidecar.get = overwritten  # type: ignore[method-assign]
    assert await store.prepare(timeout=1) is None
    assert store.transactions_keep_values


async def test_a_probe_whose_value_is_gone_keeps_no_values(sidecar: FakeSidecar) -> None:
    store = RedisStore(sidecar, component())

    async def nothing(*_: object, **__: object) -> None:
        pass

    sidecar.get = nothing  # type: ignore[method-assign]
    await store.prepare(timeout=1)
    assert not store.transactions_keep_values
