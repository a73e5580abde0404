"""Several records as of one moment."""

from __future__ import annotations

from typing import Any

import pytest

from keepstate import Client, Internal, RecordName, Transaction
from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService


async def test_a_snapshot_has_the_records_that_there_are(state: Client[Any], service: FakeService) -> None:
    etag = await state.put("a", 1)
    await state.namespace("n").store("redis").put("b", 2)
    elsewhere = RecordName(store="redis", namespace="n", key="b")
    mixed: list[str | RecordName] = ["a", elsewhere, "none", "a"]
    found = await state.snapshot(mixed)
    assert list(found) == ["a", elsewhere]
    assert (found["a"].value, found["a"].etag) == (1, etag)
    assert found[elsewhere].name == elsewhere
    assert [name.key for name in service.requests("Snapshot")[0].names] == ["a", "b", "none"]
    assert await state.snapshot([]) == {}
    assert len(service.requests("Snapshot")) == 1


async def test_a_snapshot_with_a_missing_answer_is_none(state: Client[Any], service: FakeService) -> None:
    async def short(request: Any, context: Any) -> Any:
        return pb.SnapshotResponse()

    service.script.append(short)
    with pytest.raises(Internal, match="0 records for 1 names"):
        await state.snapshot(["a"])

    async def work(tx: Transaction[Any]) -> None:
        await tx.get("a")
        await tx.get("b")
        service.script.append(short)

    with pytest.raises(Internal, match="0 records for 2 names"):
        await state.transaction(work)
