"""A store in which a plain Dapr program goes on writing the same keys (3, 4, 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keepstate.v1 import store_service_pb2
from tests.contract.api import Api, Refused, again, if_etag, new_request
from tests.contract.conftest import Backend, running_service
from tests.unit.embedded.driver import Caller, item


@pytest.fixture
async def shared(backend: Backend, store: str) -> AsyncIterator[Backend]:
    """A service that knows its store to be shared, beside the same sidecar."""
    async with running_service(backend.address, clock=backend.clock, shared_stores=store) as running:
        yield running


@pytest.fixture
def its(shared: Backend, store: str, api: Api) -> Api:
    return Api(shared.channel, store, api.prefix)


@pytest.mark.promise(11)
async def test_a_repeat_after_a_plain_write_is_told_that_nobody_knows(
    its: Api, program: Caller, shared: Backend
) -> None:
    key, request = its.key(), new_request(shared.clock.now())
    etag = await its.put(key, b"mine", request=request)
    assert await its.put(key, b"mine", request=again(request)) == etag
    await program.save(item(key, b"plain"))
    with pytest.raises(Refused) as refused:
        await its.put(key, b"mine", request=again(again(request)))
    assert refused.value.what == ("UNKNOWN", "OUTCOME_UNKNOWN")
    assert refused.value.metadata["for_good"] == "true"
    assert await its.value(key) == b"plain"


@pytest.mark.promise(3, 4)
async def test_a_plain_write_is_a_write_like_others_to_those_who_hold_an_etag(its: Api, program: Caller) -> None:
    key = its.key()
    etag = await its.put(key, b"mine")
    await program.save(item(key, b"plain"))
    with pytest.raises(Refused) as refused:
        await its.put(key, when=if_etag(etag))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    await its.put(key, b"mine again", when=if_etag(refused.value.metadata["etag"]))
    assert await its.value(key) == b"mine again"


@pytest.mark.promise(3, 4)
async def test_an_etag_from_before_a_plain_delete_matches_nothing_that_is_read(its: Api, program: Caller) -> None:
    """On Redis the count of the store's own etags begins again: nothing may rest on what was seen before."""
    key = its.key()
    etag = await its.put(key, b"mine")
    await program.delete(key)
    await program.save(item(key, b"plain"))
    with pytest.raises(Refused) as refused:
        await its.put(key, when=if_etag(etag))
    assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
    assert await its.value(key) == b"plain"


@pytest.mark.promise(3, 11)
async def test_get_store_says_what_ends_there(its: Api, api: Api) -> None:
    request = store_service_pb2.GetStoreRequest(name=its.store)
    for of, numbers in ((its, [3, 11]), (api, [])):
        promises = (await of.stores.GetStore(request)).store.promises
        assert [each.number for each in promises if each.reason.startswith("shared: ")] == numbers
