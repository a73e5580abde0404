"""Dead records do not stay in the store for ever (promise 7), and what comes after them is new (promise 3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from keepstate_server.domain.names import stored_key
from keepstate_server.domain.records import Consistency
from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import ABSENT, EXISTS, Api, Refused, again, if_etag, new_request
from tests.contract.conftest import Backend, embedded_sidecar, eventually, running_service
from tests.support.containers import Containers

SOON = timedelta(milliseconds=50)


@pytest.fixture(scope="module")
async def embedded_apart(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SidecarAddress]:
    async with embedded_sidecar(tmp_path_factory.mktemp("brief")) as address:
        yield address


@pytest.fixture(scope="module")
def dapr_apart(containers: Containers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarAddress]:
    sidecar = containers.sidecar_apart("brief", tmp_path_factory.mktemp("brief"))
    yield SidecarAddress(grpc=sidecar.grpc_target, http=sidecar.http_endpoint)
    sidecar.stop()


@pytest.fixture
def apart(store: str, request: pytest.FixtureRequest) -> SidecarAddress:
    """A sidecar whose records no instance with other rules finds: it would put them off for its own dead life."""
    found = request.getfixturevalue("embedded_apart" if store == "embedded" else "dapr_apart")
    assert isinstance(found, SidecarAddress)
    return found


@pytest.fixture
async def brief(apart: SidecarAddress) -> AsyncIterator[Backend]:
    """An instance by whose rules the dead are dead for two seconds; it sweeps five times in that time."""
    settings: dict[str, Any] = {
        "longest_delay": timedelta(milliseconds=100),
        "clock_difference": timedelta(milliseconds=100),
        "dead_life": timedelta(seconds=2),
    }
    async with running_service(apart, collects=True, **settings) as its:
        yield its


async def _stands(backend: Backend, store: str, key: str) -> bool:
    found = await backend.sidecar.get(store, stored_key("", key), consistency=Consistency.STRONG, timeout=10)
    return found is not None


def _api(backend: Backend, api: Api) -> Api:
    return Api(backend.channel, api.store, api.prefix)


@pytest.mark.promise(7)
async def test_what_is_dead_leaves_the_store_and_what_lives_stays(api: Api, brief: Backend, store: str) -> None:
    its = _api(brief, api)
    deleted, expired, touched, refused, created, aborted, living, cleared = (its.key(str(each)) for each in range(8))
    for key in (deleted, living):
        await its.put(key)
    await its.delete(deleted)
    assert await _stands(brief, store, deleted), "dead at first, as a tombstone"
    await its.put(expired, ttl=SOON)
    await its.put(touched)
    await its.touch(touched, ttl=SOON)
    with pytest.raises(Refused):
        await its.put(refused, when=EXISTS, request=again(new_request(brief.clock.now())))
    await its.transact(puts=[its.put_request(created)], deletes=[])
    await its.transact(puts=[], deletes=[its.delete_request(created)])
    with pytest.raises(Refused):
        await its.transact(puts=[its.put_request(aborted), its.put_request(living, when=ABSENT)])
    await its.put(cleared, ttl=timedelta(seconds=2))
    await its.put(cleared)

    for key in (deleted, expired, touched, refused, created, aborted):

        async def gone(key: str = key) -> bool:
            return not await _stands(brief, store, key)

        await eventually(gone)
    assert await its.value(living) == await its.value(cleared) == b"value"


@pytest.mark.promise(3)
async def test_a_new_life_after_the_collection_knows_no_etag_of_the_last(api: Api, brief: Backend, store: str) -> None:
    its = _api(brief, api)
    key = its.key()
    etag = await its.put(key)
    await its.delete(key)

    async def gone() -> bool:
        return not await _stands(brief, store, key)

    await eventually(gone)
    await its.put(key, b"new", when=ABSENT)
    with pytest.raises(Refused) as refused:
        await its.put(key, when=if_etag(etag))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert await its.value(key) == b"new"
