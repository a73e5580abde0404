"""Stores before a sidecar that answers what a test tells it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import CompareAndSet, Stored, StoreEtag
from keepstate_server.stores.dapr_store import DaprStore
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import Component
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar

STRONG = Consistency.STRONG
LIFE = timedelta(seconds=900)
RAW = Stored(data=b"raw", etag=StoreEtag("3"))


def component(type_: str = "state.redis") -> Component:
    return Component(name="store", type=type_, version="v1", capabilities=frozenset())


@pytest.fixture
def sidecar() -> FakeSidecar:
    return FakeSidecar()


async def ready(store: DaprStore, sidecar: FakeSidecar) -> None:
    assert await store.prepare(timeout=1) is None
    sidecar.asked.clear()


@pytest.fixture
async def redis(sidecar: FakeSidecar) -> RedisStore:
    store = RedisStore(sidecar, component())
    await ready(store, sidecar)
    return store


@pytest.fixture
async def encrypted(sidecar: FakeSidecar) -> RedisStore:
    sidecar.destroys = True
    store = RedisStore(sidecar, component())
    await ready(store, sidecar)
    return store


@pytest.fixture
async def sql(sidecar: FakeSidecar) -> SqlStore:
    store = SqlStore(sidecar, component("state.postgresql"))
    await ready(store, sidecar)
    return store


def write(
    key: str = "k", etag: str | None = "7", *, keep_for: timedelta | None = None, consistency: Consistency = STRONG
) -> CompareAndSet:
    return CompareAndSet(
        key=key, etag=StoreEtag(etag) if etag else None, data=b"data", keep_for=keep_for, consistency=consistency
    )
