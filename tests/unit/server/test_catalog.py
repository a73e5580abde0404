from __future__ import annotations

import pytest
import structlog
from grpc import StatusCode

from keepstate_server.domain.errors import StoreNotFound, StoreUnavailable, UnsupportedByStore
from keepstate_server.domain.promises import TITLES, Keeping
from keepstate_server.stores import catalog as catalog_module
from keepstate_server.stores.base import Absence, Isolation, Lack
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.knowledge import knowledge_of, refusal_of
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import Component
from keepstate_server.stores.sql import SqlStore
from tests.unit.server.fake_sidecar import FakeSidecar


def component(name: str, type_: str, version: str = "v1") -> Component:
    return Component(name=name, type=type_, version=version, capabilities=frozenset({"ETAG"}))


REDIS = component("cache", "state.redis")
POSTGRESQL = component("db", "state.postgresql", "v2")
OLD_POSTGRESQL = component("old", "state.postgresql")
MONGODB = component("mongo", "state.mongodb")
PUBSUB = component("events", "pubsub.redis")


@pytest.fixture
def sidecar() -> FakeSidecar:
    return FakeSidecar(known=[REDIS, POSTGRESQL, OLD_POSTGRESQL, MONGODB, PUBSUB])


@pytest.fixture
def catalog(sidecar: FakeSidecar) -> Catalog:
    return Catalog(sidecar, default_store=None)


async def test_a_component_that_is_known_is_used_as_its_kind(catalog: Catalog) -> None:
    assert isinstance(await catalog.find("cache", timeout=1), RedisStore)
    assert isinstance(await catalog.find("db", timeout=1), SqlStore)


async def test_a_store_stays_the_same_until_its_component_changes(sidecar: FakeSidecar, catalog: Catalog) -> None:
    store = await catalog.find("cache", timeout=1)
    await catalog.refresh(timeout=1)
    assert await catalog.find("cache", timeout=1) is store
    sidecar.known = [component("cache", "state.sqlite")]
    await catalog.refresh(timeout=1)
    assert isinstance(await catalog.find("cache", timeout=1), SqlStore)


async def test_the_sidecar_is_asked_once_for_known_names(sidecar: FakeSidecar, catalog: Catalog) -> None:
    for _ in range(5):
        await catalog.find("cache", timeout=1)
        await catalog.find("db", timeout=1)
    assert len(sidecar.calls("components")) == 1


async def test_the_sidecar_is_not_asked_for_each_unknown_name(sidecar: FakeSidecar, catalog: Catalog) -> None:
    for number in range(20):
        with pytest.raises(StoreNotFound):
            await catalog.find(f"unknown {number}", timeout=1)
    assert len(sidecar.calls("components")) == 1


async def test_a_component_that_was_loaded_since_is_found(
    sidecar: FakeSidecar, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_ASK_AGAIN_AFTER", -1.0)
    with pytest.raises(StoreNotFound):
        await catalog.find("new", timeout=1)
    sidecar.known.append(component("new", "state.sqlite"))
    assert isinstance(await catalog.find("new", timeout=1), SqlStore)


async def test_a_component_that_is_gone_is_not_found(sidecar: FakeSidecar, catalog: Catalog) -> None:
    await catalog.find("cache", timeout=1)
    sidecar.known = [POSTGRESQL]
    await catalog.refresh(timeout=1)
    with pytest.raises(StoreNotFound):
        await catalog.find("cache", timeout=1)


async def test_what_is_no_state_component_is_no_store(catalog: Catalog) -> None:
    with pytest.raises(StoreNotFound):
        await catalog.find("events", timeout=1)


@pytest.mark.parametrize(("name", "words"), [("old", "version: v2"), ("mongo", "state.mongodb")])
async def test_a_component_that_is_not_known_is_only_read_and_it_is_said_why(
    catalog: Catalog, name: str, words: str
) -> None:
    store = await catalog.find(name, timeout=1)
    lack = await store.prepare(timeout=1)
    assert isinstance(lack, Lack)
    assert lack == store.lack
    assert (lack.capability, words in lack.explanation) == ("known component", True)
    info = await catalog.info(name, timeout=1)
    kept = {promise.number for promise in info.promises if promise.keeping is not Keeping.REFUSED}
    assert kept == {1, 2, 8, 10, 13, 14, 16}
    assert {words in promise.reason for promise in info.promises} == {True}


async def test_who_is_to_write_gets_no_store_that_is_only_read(sidecar: FakeSidecar, catalog: Catalog) -> None:
    assert isinstance(await catalog.find_for_writing("cache", timeout=1), RedisStore)
    with pytest.raises(UnsupportedByStore, match=r"state\.mongodb"):
        await catalog.find_for_writing("mongo", timeout=1)
    sidecar.fail("transact", StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(StoreUnavailable):
        await catalog.find_for_writing("db", timeout=1)


async def test_only_what_can_be_written_is_swept(catalog: Catalog) -> None:
    await catalog.refresh(timeout=1)
    assert catalog.names == ["cache", "db"]


async def test_a_sidecar_that_does_not_answer_is_unavailable(sidecar: FakeSidecar, catalog: Catalog) -> None:
    sidecar.fail("components", StatusCode.UNAVAILABLE, "failed to connect to all addresses")
    with pytest.raises(StoreUnavailable) as unavailable:
        await catalog.find("cache", timeout=1)
    assert unavailable.value.nothing_sent
    # The failure is not remembered.
    assert isinstance(await catalog.find("cache", timeout=1), RedisStore)


async def test_an_outage_forgets_no_store(sidecar: FakeSidecar, catalog: Catalog) -> None:
    store = await catalog.find("cache", timeout=1)
    sidecar.fail("components", StatusCode.UNAVAILABLE, "Socket closed")
    with pytest.raises(StoreUnavailable):
        await catalog.refresh(timeout=1)
    assert await catalog.find("cache", timeout=1) is store


async def test_an_empty_name_is_the_default_store(sidecar: FakeSidecar) -> None:
    catalog = Catalog(sidecar, default_store="db")
    assert await catalog.resolve("", timeout=1) == "db"
    assert await catalog.resolve("cache", timeout=1) == "cache"
    assert sidecar.asked == []


async def test_without_a_default_the_only_store_is_it(sidecar: FakeSidecar) -> None:
    sidecar.known = [REDIS, PUBSUB]
    assert await Catalog(sidecar, default_store=None).resolve("", timeout=1) == "cache"


async def test_of_several_stores_none_is_the_default(catalog: Catalog) -> None:
    assert await catalog.resolve("", timeout=1) is None


async def test_stores_are_listed_by_name_with_all_promises(catalog: Catalog) -> None:
    infos = await catalog.infos(timeout=1)
    assert [info.component.name for info in infos] == ["cache", "db", "mongo", "old"]
    for info in infos:
        assert [promise.number for promise in info.promises] == list(TITLES) == list(range(1, 17))
        assert not info.is_default
        assert info.durability


async def test_the_default_store_is_marked(sidecar: FakeSidecar) -> None:
    infos = await Catalog(sidecar, default_store="db").infos(timeout=1)
    assert [info.component.name for info in infos if info.is_default] == ["db"]


@pytest.mark.parametrize(
    ("type_", "version", "known"),
    [
        ("state.redis", "v1", True),
        ("state.redis", "", True),
        ("state.postgresql", "v2", True),
        ("state.postgres", "v2", True),
        ("state.postgresql", "v1", False),
        ("state.postgresql", "", False),
        ("state.sqlite", "v1", True),
        ("state.sqlite3", "v1", True),
        ("state.in-memory", "v1", True),
        ("state.mongodb", "v1", False),
        ("state.redis", "v2", False),
    ],
)
def test_only_what_was_tried_out_is_used(type_: str, version: str, known: bool) -> None:
    each = component("any", type_, version)
    assert (knowledge_of(each) is not None) is known
    assert known or refusal_of(each)


@pytest.mark.parametrize(
    ("type_", "version", "absence"),
    [
        ("state.redis", "v1", Absence.CERTAIN),
        ("state.in-memory", "v1", Absence.CERTAIN),
        ("state.sqlite", "v1", Absence.LIKELY),
        ("state.postgresql", "v2", Absence.LIKELY),
    ],
)
def test_an_absence_in_a_bulk_read_is_certain_only_where_it_is_single_reads(
    sidecar: FakeSidecar, type_: str, version: str, absence: Absence
) -> None:
    each = component("any", type_, version)
    knowledge = knowledge_of(each)
    assert knowledge is not None
    store = knowledge.make(sidecar, each, shared=False, kind=knowledge.kind, probes=None)
    assert isinstance(store, RedisStore | SqlStore)
    assert store.bulk_absence is absence


@pytest.mark.parametrize(
    ("isolation", "keeping"),
    [(Isolation.ROLLBACK, Keeping.NATIVE), (Isolation.STEP, Keeping.STAGED), (Isolation.NONE, Keeping.STAGED)],
)
def test_transactions_are_staged_where_the_store_does_not_roll_back(isolation: Isolation, keeping: Keeping) -> None:
    knowledge = knowledge_of(component("any", "state.redis"))
    assert knowledge is not None
    promise = knowledge.promises(isolation)[8]
    assert (promise.number, promise.keeping) == (9, keeping)
    assert promise.reason


async def test_a_store_that_is_shared_says_where_etags_and_repeats_end(sidecar: FakeSidecar) -> None:
    catalog = Catalog(sidecar, default_store=None, shared_stores={"cache"})
    assert (await catalog.find("cache", timeout=1)).shared
    assert not (await catalog.find("db", timeout=1)).shared
    shared, alone = [
        [each.number for each in (await catalog.info(name, timeout=1)).promises if each.reason.startswith("shared: ")]
        for name in ("cache", "db")
    ]
    assert (shared, alone) == ([3, 11], [])


async def test_a_shared_store_that_the_sidecar_does_not_have_is_logged_once(sidecar: FakeSidecar) -> None:
    catalog = Catalog(sidecar, default_store=None, shared_stores={"cache", "cahce"})
    with structlog.testing.capture_logs() as logs:
        await catalog.refresh(timeout=1)
        await catalog.refresh(timeout=1)
    assert [each["store"] for each in logs if "KEEPSTATE_SHARED_STORES" in each["event"]] == ["cahce"]
