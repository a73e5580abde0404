"""The sidecar as a whole: starting, stopping, ports, the token, what it does not serve, and the SDK's client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import structlog
from blockbuster import blockbuster_ctx
from dapr.aio.clients import DaprClient
from dapr.clients.grpc._request import TransactionalStateOperation, TransactionOperationType
from dapr.conf import settings
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest
from google.protobuf.empty_pb2 import Empty

from keepstate_server.embedded import EmbeddedSidecar, ListenError
from keepstate_server.embedded.database import Database
from tests.unit.embedded.driver import Caller, Clock, failure_of, item


async def test_addresses_are_known_after_the_start(sidecar: EmbeddedSidecar) -> None:
    for address in (sidecar.grpc_address, sidecar.http_address):
        assert address is not None
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


async def test_there_are_no_addresses_before_the_start() -> None:
    sidecar = EmbeddedSidecar(path=None)
    assert sidecar.http_address is None
    with pytest.raises(RuntimeError):
        assert sidecar.grpc_address


async def test_a_sidecar_is_started_once_and_stopped_as_often_as_one_likes(path: Path) -> None:
    sidecar = EmbeddedSidecar(path=path)
    await sidecar.stop()
    await sidecar.start()
    with pytest.raises(RuntimeError):
        await sidecar.start()
    await sidecar.stop()
    await sidecar.stop()


async def test_health_is_answered_with_204(sidecar: EmbeddedSidecar) -> None:
    async with aiohttp.ClientSession(f"http://{sidecar.http_address}") as session:
        for page, status in (("/v1.0/healthz", 204), ("/v1.0/healthz/outbound", 204), ("/v1.0/state/embedded/k", 404)):
            async with session.get(page) as response:
                assert response.status == status


async def test_http_can_be_left_out() -> None:
    sidecar = EmbeddedSidecar(path=None, http_port=None)
    await sidecar.start()
    assert sidecar.http_address is None
    await sidecar.stop()


@pytest.mark.parametrize("taken", ["grpc_port", "http_port"])
async def test_a_taken_port_stops_the_start_and_frees_everything(path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: ") as caught:
            await EmbeddedSidecar(path=path, **{taken: port}).start()
        assert caught.value.address == f"127.0.0.1:{port}"
    assert list(path.parent.iterdir()) == [path]


async def test_two_sidecars_never_share_a_port(sidecar: EmbeddedSidecar) -> None:
    port = int(sidecar.grpc_address.rpartition(":")[2])
    with pytest.raises(ListenError):
        await EmbeddedSidecar(path=None, grpc_port=port).start()


async def test_a_foreign_address_is_refused() -> None:
    with pytest.raises(ListenError):
        await EmbeddedSidecar(path=None, host="192.0.2.1").start()


@pytest.fixture
async def guarded() -> AsyncIterator[EmbeddedSidecar]:
    sidecar = EmbeddedSidecar(path=None, api_token="open sesame")
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


async def test_with_a_token_every_call_must_carry_it(guarded: EmbeddedSidecar) -> None:
    async with grpc.aio.insecure_channel(guarded.grpc_address) as channel:
        for metadata in ((), (("dapr-api-token", "wrong"),), (("dapr-api-token", ""),), (("other", "open sesame"),)):
            failure = await failure_of(Caller.on(channel, metadata=metadata).get("k"))
            assert (failure.code, failure.text) == (grpc.StatusCode.UNAUTHENTICATED, "Unauthorized")
        stub = Caller.on(channel).stub
        assert (await failure_of(stub.GetMetadata(GetMetadataRequest()))).code == grpc.StatusCode.UNAUTHENTICATED
        assert (await failure_of(stub.Shutdown(Empty()))).code == grpc.StatusCode.UNAUTHENTICATED
        right = Caller.on(channel, metadata=(("dapr-api-token", "open sesame"),))
        assert (await right.get("k")).etag == ""


async def test_health_needs_no_token(guarded: EmbeddedSidecar) -> None:
    page = f"http://{guarded.http_address}/v1.0/healthz/outbound"
    async with aiohttp.ClientSession() as session, session.get(page) as response:
        assert response.status == 204


async def test_the_component_is_described_as_daprd_does(caller: Caller) -> None:
    answer = await caller.stub.GetMetadata(GetMetadataRequest())
    assert (answer.id, answer.runtime_version) == ("keepstate-embedded", "keepstate-embedded")
    (component,) = answer.registered_components
    assert (component.name, component.type, component.version) == ("embedded", "state.sqlite", "v1")
    assert list(component.capabilities) == ["ETAG", "TRANSACTIONAL", "TTL", "KEYS_LIKE", "ACTOR"]


async def test_what_is_not_served_is_unimplemented(caller: Caller) -> None:
    stub = caller.stub
    assert (await failure_of(stub.Shutdown(Empty()))).code == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in stub.SubscribeTopicEventsAlpha1(iter(())):
            pass
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_fault_is_answered_without_a_word_of_it(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(Database, "read", fail)
    monkeypatch.setattr(Database, "write", fail)
    with structlog.testing.capture_logs() as logs:
        for call in (
            caller.get("secret"),
            caller.get_many(["secret"]),
            caller.save(item("secret")),
            caller.delete("secret"),
            caller.delete_many(item("secret")),
            caller.transact(("upsert", item("secret"))),
        ):
            failure = await failure_of(call)
            assert (failure.code, failure.text) == (grpc.StatusCode.INTERNAL, "internal error")
    assert len(logs) == 6
    assert "secret" not in str(logs)


async def test_a_deadline_of_one_caller_does_not_touch_the_others(caller: Caller) -> None:
    hurried = [caller.save(item(f"h{number}", b"x"), timeout=0.003) for number in range(100)]
    patient = [caller.save(item(f"p{number}", b"x")) for number in range(100)]
    results = await asyncio.gather(*hurried, *patient, return_exceptions=True)
    assert results[100:] == [None] * 100
    found = {
        entry.key for entry in await caller.get_many(f"{kind}{n}" for kind in "hp" for n in range(100)) if entry.etag
    }
    assert {f"p{number}" for number in range(100)} <= found
    for number, result in enumerate(results[:100]):
        if result is None:
            assert f"h{number}" in found
        else:
            assert isinstance(result, grpc.aio.AioRpcError)
            assert result.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stop_lets_running_calls_finish(path: Path) -> None:
    sidecar = EmbeddedSidecar(path=path)
    await sidecar.start()
    async with grpc.aio.insecure_channel(sidecar.grpc_address) as channel:
        caller = Caller.on(channel)
        await caller.save(item("warm"))
        saves = [asyncio.create_task(caller.save(item(f"k{number}", b"x"))) for number in range(200)]
        await saves[0]
        await sidecar.stop()
        results = await asyncio.gather(*saves, return_exceptions=True)
    reopened = EmbeddedSidecar(path=path)
    await reopened.start()
    async with grpc.aio.insecure_channel(reopened.grpc_address) as channel:
        found = {entry.key for entry in await Caller.on(channel).get_many(f"k{n}" for n in range(200)) if entry.etag}
    await reopened.stop()
    assert {f"k{number}" for number, result in enumerate(results) if result is None} <= found


async def test_expired_rows_are_purged_in_the_background(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    purged: asyncio.Queue[int] = asyncio.Queue()
    purge = Database.purge

    async def tell(database: Database) -> int:
        rows = await purge(database)
        purged.put_nowait(rows)
        return rows

    monkeypatch.setattr(Database, "purge", tell)
    sidecar = EmbeddedSidecar(path=path, clock=clock, purge_interval=timedelta(milliseconds=1))
    await sidecar.start()
    async with grpc.aio.insecure_channel(sidecar.grpc_address) as channel:
        await Caller.on(channel).save(item("a", ttl="10"), item("b", ttl="10"), item("c"))
    assert await purged.get() == 0
    clock.advance(10)
    while not (rows := await purged.get()):
        pass
    assert rows == 2
    await sidecar.stop()


async def test_nothing_blocks_the_event_loop(path: Path) -> None:
    with blockbuster_ctx("keepstate_server.embedded"):
        sidecar = EmbeddedSidecar(path=path)
        await sidecar.start()
        async with grpc.aio.insecure_channel(sidecar.grpc_address) as channel:
            caller = Caller.on(channel)
            await caller.save(item("a", b"1"), item("b", b"2", ttl="5"))
            await caller.transact(("upsert", item("a", b"3")), ("delete", item("b")))
            assert [entry.data for entry in await caller.get_many(["a"])] == [(await caller.get("a")).data]
            await caller.delete("a")
        await sidecar.stop()


async def test_the_sdk_takes_it_for_a_sidecar(sidecar: EmbeddedSidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sidecar.http_address is not None
    monkeypatch.setattr(settings, "DAPR_HTTP_ENDPOINT", f"http://{sidecar.http_address}")
    monkeypatch.setattr(settings, "DAPR_HEALTH_TIMEOUT", 5)
    # Its constructor polls the health address, on this event loop and without a time limit.
    async with DaprClient(sidecar.grpc_address) as client:
        await client.save_state("embedded", "k", b"1")
        found = await client.get_state("embedded", "k")
        assert found.data == b"1"
        await client.execute_state_transaction(
            "embedded",
            [
                TransactionalStateOperation("k", b"2", found.etag, TransactionOperationType.upsert),
                TransactionalStateOperation("l", b"3"),
            ],
        )
        bulk = await client.get_bulk_state("embedded", ["k", "l"])
        assert {entry.key: entry.data for entry in bulk.items} == {"k": b"2", "l": b"3"}
        await client.delete_state("embedded", "k")
        assert (await client.get_state("embedded", "k")).data == b""
