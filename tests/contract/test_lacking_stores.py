"""A store that does not keep what its kind is known to keep: seen at the start, read, and refused for the rest.

The store is a real one behind a proxy that takes out of requests what the store shall not heed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from dapr.proto.common.v1.common_pb2 import StateItem
from dapr.proto.runtime.v1.state_pb2 import DeleteStateRequest, ExecuteStateTransactionRequest, SaveStateRequest

from keepstate import Client, Keeping, Put, UnsupportedByStore, Verdict
from keepstate.v1 import store_service_pb2
from keepstate_server.embedded import EmbeddedSidecar
from keepstate_server.stores import kind_probes
from keepstate_server.stores.address import SidecarAddress
from tests.contract.api import Api, Refused, if_etag
from tests.contract.conftest import Backend, eventually, running_service
from tests.support.sidecar_proxy import SidecarProxy


def without_compares(request: bytes) -> bytes:
    message = SaveStateRequest.FromString(request)
    for item in message.states:
        _take_compare(item)
    return message.SerializeToString()


def delete_without_compare(request: bytes) -> bytes:
    message = DeleteStateRequest.FromString(request)
    message.ClearField("etag")
    return message.SerializeToString()


def transaction_without_compares(request: bytes) -> bytes:
    message = ExecuteStateTransactionRequest.FromString(request)
    for operation in message.operations:
        _take_compare(operation.request)
    return message.SerializeToString()


def _take_compare(item: StateItem) -> None:
    item.ClearField("etag")
    item.ClearField("options")


Rewrite = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Lacking:
    backend: Backend
    api: Api
    proxy: SidecarProxy


@asynccontextmanager
async def lacking(rewritten: dict[str, Rewrite]) -> AsyncIterator[Lacking]:
    embedded = EmbeddedSidecar(path=None)
    await embedded.start()
    try:
        async with SidecarProxy(embedded.grpc_address) as proxy:
            proxy.rewritten = rewritten
            async with running_service(SidecarAddress(grpc=proxy.address, http=None)) as backend:
                yield Lacking(backend=backend, api=Api(backend.channel, "embedded", "lacking"), proxy=proxy)
    finally:
        await embedded.stop()


@pytest.fixture
async def comparing_nothing() -> AsyncIterator[Lacking]:
    calls: dict[str, Rewrite] = {
        "SaveState": without_compares,
        "DeleteState": delete_without_compare,
        "ExecuteStateTransaction": transaction_without_compares,
    }
    async with lacking(calls) as found:
        yield found


async def test_a_store_that_cannot_compare_and_set_is_read_and_everything_else_is_refused(
    comparing_nothing: Lacking,
) -> None:
    api = comparing_nothing.api
    key = api.key()
    async with Client(comparing_nothing.backend.target) as state:
        calls = [
            state.put(key, 1),
            state.delete(key),
            state.touch(key, never=True),
            state.increment(key),
            state.put(key, 1, if_absent=True),
            state.transact(puts=[Put(key, 1)]),
            state.get(key, slide_ttl=timedelta(hours=1)),
        ]
        for call in calls:
            with pytest.raises(UnsupportedByStore) as refused:
                await call
            assert refused.value.capability == "compare-and-set"
        assert await state.get(key) is None
        with pytest.raises(UnsupportedByStore):
            await state.snapshot([key])
        info = await state.store_info()
        refusals = {promise.number for promise in info.promises if promise.keeping is Keeping.REFUSED}
        assert refusals == {3, 4, 5, 6, 7, 9, 11, 12, 15}
        probe = await state.probe()
        assert not probe.satisfied
        missing = {each.name for each in probe.findings if each.verdict is Verdict.MISSING}
        assert {"compare-and-set", "compare-and-delete", "create-only", "one winner"} <= missing


async def test_a_store_that_was_mended_is_written_again_though_nobody_asks_about_it(
    comparing_nothing: Lacking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever would write a store that is only read is refused before anything is looked at."""
    api, key = comparing_nothing.api, comparing_nothing.api.key()

    async def refusal() -> str | None:
        try:
            await api.put(key)
        except Refused as refused:
            return refused.what[1]
        return None

    async def is_only_read() -> bool:
        return await refusal() == "UNSUPPORTED_BY_STORE"

    async def is_written() -> bool:
        return await refusal() is None

    await eventually(is_only_read)
    monkeypatch.setattr(kind_probes, "_LOOK_AGAIN_AFTER", 0.5)
    comparing_nothing.proxy.rewritten = {}
    await eventually(is_written)
    assert await api.value(key) == b"value"


async def test_a_store_whose_transactions_roll_nothing_back_is_used_in_stages() -> None:
    """Its compares hold; but in a transaction nothing is compared, so nothing is undone."""
    async with lacking({"ExecuteStateTransaction": transaction_without_compares}) as found:
        api = found.api

        async def is_staged() -> bool:
            request = store_service_pb2.GetStoreRequest(name="embedded")
            told = (await api.call(api.stores.GetStore(request))).store
            return bool(told.promises[8].keeping == store_service_pb2.KEEPING_STAGED)

        await eventually(is_staged)
        first, second = api.key("a"), api.key("b")
        etag = await api.put(first, b"1")
        await api.transact(puts=[api.put_request(first, b"2"), api.put_request(second, b"2")])
        with pytest.raises(Refused) as refused:
            await api.transact(
                puts=[api.put_request(second, b"3"), api.put_request(first, b"3", when=if_etag(etag))],
            )
        assert refused.value.what == ("ABORTED", "ETAG_MISMATCH")
        assert await api.values(first, second) == [b"2", b"2"]
