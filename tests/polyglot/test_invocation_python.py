"""The Python client through Dapr's service invocation: to the sidecar beside it, from there to the service's.

What daprd sends again under a policy is shown by tests/containers/test_service_invocation.py.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate import (
    AlreadyExists,
    Bytes,
    Client,
    Conflict,
    Internal,
    InvalidArgument,
    OutcomeUnknown,
    Put,
    RecordName,
    TransactionConflict,
    Unauthenticated,
    Unavailable,
    UpdateNotApplicable,
    sync,
)
from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb
from tests.polyglot.invocation import APP, Invoked
from tests.support.containers import Containers

pytestmark = pytest.mark.containers

MEBIBYTE = 1 << 20

UNKNOWN, DOWN = grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def namespace() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def state(invoked: Invoked, namespace: str) -> AsyncIterator[Client[Any]]:
    async with Client(invoked.address, metadata={"dapr-app-id": APP}, namespace=namespace) as client:
        yield client


async def test_records_are_written_and_read(state: Client[Any], namespace: str) -> None:
    etag = await state.put("a", {"name": "Ada"}, ttl=timedelta(hours=1))
    record = await state.get_record("a")
    assert record is not None
    assert (record.value, record.etag) == ({"name": "Ada"}, etag)
    assert record.name == RecordName(store="redis", namespace=namespace, key="a")
    await state.put("b", b"\x00\xff", codec=Bytes())
    assert await state.get("b", codec=Bytes()) == b"\x00\xff"
    assert await state.get("nobody") is None
    assert await state.increment("n", 2**63 - 1) == 2**63 - 1
    assert await state.transaction(_moved) == "moved"
    assert await state.get("to") == "Ada"


async def _moved(tx: Any) -> str:
    tx.put("to", (await tx.get("a"))["name"])
    tx.delete("a")
    return "moved"


def test_the_synchronous_client_goes_through_dapr_too(invoked: Invoked, namespace: str) -> None:
    with sync.Client(invoked.address, metadata={"dapr-app-id": APP}, namespace=namespace) as state:
        state.put("a", 1)
        assert state.get("a") == 1


async def test_errors_come_through_with_all_that_they_tell(state: Client[Any], namespace: str) -> None:
    first = await state.put("a", 1)
    second = await state.put("a", 2)
    name = RecordName(store="redis", namespace=namespace, key="a")
    with pytest.raises(Conflict) as conflict:
        await state.put("a", 3, if_etag=first)
    assert (conflict.value.name, conflict.value.etag, conflict.value.reason) == (name, second, "ETAG_MISMATCH")
    assert not isinstance(conflict.value, TransactionConflict)
    with pytest.raises(AlreadyExists) as exists:
        await state.put("a", 3, if_absent=True)
    assert (exists.value.name, exists.value.etag) == (name, second)
    with pytest.raises(InvalidArgument) as invalid:
        await state.put("a||b", 1)
    assert [each.field for each in invalid.value.violations] == ["name.key"]
    with pytest.raises(UpdateNotApplicable) as inapplicable:
        await state.increment("a", maximum=2)
    assert inapplicable.value.name == name


async def test_the_services_time_comes_through_and_its_requests_go_through(invoked: Invoked, namespace: str) -> None:
    """Sent again by hand, as after a lost answer: it is the same request also through Dapr."""
    put = pb.PutRequest(
        name=record_pb2.RecordName(namespace=namespace, key="a"),
        value=b"1",
        precondition=record_pb2.Precondition(absent=True),
        request=record_pb2.RequestId(client=7, number=2**64 - 1),
    )
    put.request.first_sent.GetCurrentTime()
    async with grpc.aio.insecure_channel(invoked.address) as channel:
        stub: Any = state_service_pb2_grpc.StateServiceStub(channel)
        etags = set()
        for put.request.attempt in range(3):
            call = stub.Put(put, metadata=[("dapr-app-id", APP)], timeout=10)
            etags.add((await call).etag)
            trailing = await call.trailing_metadata()
            assert abs(_seconds(trailing["keepstate-time"]) - time.time()) < 5
    assert len(etags) == 1


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


async def test_batches_near_the_limit_of_messages_pass_both_sidecars_with_their_default_limits(
    state: Client[Any],
) -> None:
    values = {f"k{number}": bytes([number]) * MEBIBYTE for number in range(15)}
    results = await state.batch(
        [Put(key, value, codec=Bytes()) for key, value in values.items()], timeout=timedelta(minutes=1)
    )
    assert all(isinstance(each, str) for each in results), results
    assert await state.using(Bytes()).get_many(values, timeout=timedelta(minutes=1)) == values


async def test_the_deadline_reaches_the_service(invoked: Invoked, containers: Containers, state: Client[Any]) -> None:
    """While Redis hangs the service answers before the deadline, with what is known, rather than be cut off."""
    await state.put("a", 1)
    hasty = Client[Any](invoked.address, metadata={"dapr-app-id": APP}, retry=None)
    async with hasty:
        await asyncio.to_thread(containers.redis.pause)
        try:
            begun = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await hasty.get("a", timeout=timedelta(seconds=4))
            assert caught.value.reason == "STORE_UNAVAILABLE"
            assert time.monotonic() - begun < 4
        finally:
            await asyncio.to_thread(containers.redis.unpause)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"dapr-app-id": "nobody-there"}, "app id nobody-there"),
        ({}, "missing dapr-callee-app-id or dapr-app-id metadata"),
    ],
)
async def test_of_an_app_that_is_not_there_daprd_says_unknown_so_a_writes_outcome_is(
    invoked: Invoked, metadata: dict[str, str | bytes], words: str
) -> None:
    wrong = Client[Any](invoked.address, metadata=metadata, retry=None, timeout=timedelta(seconds=30))
    async with wrong:
        with pytest.raises(Internal, match=words) as read:
            await wrong.get("a")
        with pytest.raises(OutcomeUnknown, match=words) as written:
            await wrong.put("a", 1)
    for error in (read.value, written.value):
        assert (error.code, error.reason, error.nothing_sent) == (UNKNOWN, "", False)


async def test_a_sidecar_with_a_token_of_its_own_is_shown_it_by_metadata(
    invoked: Invoked, containers: Containers, tmp_path: Path
) -> None:
    """It says UNAUTHENTICATED of others' calls before it hands them on."""
    token = {"DAPR_API_TOKEN": "t0"}
    sidecar = await asyncio.to_thread(containers.sidecar, "guarded", resources_path=tmp_path, environment=token)
    try:
        metadata: dict[str, str | bytes] = {"dapr-app-id": APP}
        async with Client[Any](sidecar.grpc_target, metadata=metadata) as stranger:
            with pytest.raises(Unauthenticated):
                await stranger.put("a", 1)
        async with Client[Any](sidecar.grpc_target, metadata={**metadata, "dapr-api-token": "t0"}) as state:
            await state.put("a", 1)
    finally:
        await asyncio.to_thread(sidecar.stop)


async def test_while_the_service_is_away_its_sidecar_says_unavailable_and_a_writes_outcome_is_unknown(
    invoked: Invoked, state: Client[Any]
) -> None:
    """The words are of grpc-go, at another end: nothing tells that nothing was sent."""
    once = Client[Any](invoked.address, metadata={"dapr-app-id": APP}, retry=None)
    async with once:
        await once.get("a")
        await asyncio.to_thread(invoked.service.end)
        try:
            with pytest.raises(Unavailable) as read:
                await once.get("a")
            with pytest.raises(OutcomeUnknown) as written:
                await once.put("a", 1)
        finally:
            await asyncio.to_thread(invoked.service.start)
    for error in (read.value, written.value):
        assert (error.code, error.reason, error.nothing_sent) == (DOWN, "", False)
    assert await state.get("a", timeout=timedelta(minutes=1)) is None, "sent again until it is back"


async def test_nothing_is_lost_or_doubled_while_the_service_is_killed_and_comes_back(
    invoked: Invoked, state: Client[Any]
) -> None:
    over = asyncio.Event()
    counted = 0

    async def count() -> None:
        """Increments many records, one after the other."""
        nonlocal counted
        while not over.is_set():
            assert await state.increment(f"n{counted}", timeout=timedelta(minutes=1)) == 1
            counted += 1

    async with asyncio.TaskGroup() as group, asyncio.timeout(180):
        counting = [group.create_task(count())]
        for _ in range(2):
            before = counted
            while counted < before + 20:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(invoked.service.end, signal.SIGKILL)
            await asyncio.to_thread(invoked.service.start)
        over.set()
        await asyncio.wait(counting)
    found = await state.get_many([f"n{number}" for number in range(counted)])
    assert list(found.values()) == [1] * counted
