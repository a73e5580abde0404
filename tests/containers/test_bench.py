"""That what `make bench` measures with works: a few calls of some rows, on each kind of load."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import http2
from bench.measuring import Scale
from bench.rig import Rig
from bench.side_by_side import Wanted, measure
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb
from tests.support.containers import Containers

pytestmark = pytest.mark.containers

SCALE = Scale(rounds=1, seconds=0.05, most_keys=1_000, quick=True)


@pytest.fixture
def on(containers: Containers, tmp_path: Path) -> Rig:
    return Rig(containers=containers, redis=containers.redis, sidecar=containers.daprd, folder=tmp_path)


async def test_a_row_is_measured_on_both_sides_and_held_against_its_bar(on: Rig) -> None:
    summary = await measure(on, SCALE, Wanted(rows=("put-if", "transaction"), stores=("redis",)))
    put_if, transaction = summary.outcomes
    for outcome in summary.outcomes:
        assert not outcome.missing
        assert all(outcome.found.rate(side) > 0 for side in ("direct", "keepstate"))
        assert outcome.found.microseconds["keepstate"]["daprd"][0] > 0
    assert put_if.bar is not None
    assert put_if.reached == (put_if.figure >= put_if.bar.limit)
    assert summary.missed == ([] if put_if.reached else [put_if])
    assert transaction.bar is None
    assert {"Redis", "PostgreSQL", "daprd", "grpcio", "kernel", "keepstate"} <= summary.machine.keys()
    assert not summary.complete


async def test_plain_calls_are_answered_by_daprd_and_by_the_service(on: Rig) -> None:
    summary = await measure(on, SCALE, Wanted(rows=("unary get x64", "unary put x64"), stores=("postgresql",)))
    assert [outcome.row for outcome in summary.outcomes] == [
        f"unary {kind} x64, {workers}" for kind in ("get", "put") for workers in ("1 worker", "2 workers")
    ]
    for outcome in summary.outcomes:
        assert not outcome.missing
        assert all(outcome.found.rate(side) > 0 for side in ("direct", "keepstate"))


async def test_a_call_that_is_refused_is_no_answer(on: Rig) -> None:

    absent = pb.GetRequest(name=record_pb2.RecordName(store="redis", key="bench:nothing")).SerializeToString()
    service = on.process({}).start()
    try:
        calls = http2.Calls(target=service.address, method="/keepstate.v1.StateService/Get", messages=[absent])
        with pytest.raises(RuntimeError, match="failed"):
            await http2.run(calls, 0.05)
    finally:
        service.close()


async def test_what_cannot_be_measured_is_said_and_the_others_go_on(on: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    summary = await measure(on, SCALE, Wanted(rows=("unary get by h2load", "bulk read"), stores=("redis",)))
    bulk, one, two = summary.outcomes
    assert bulk.figures
    assert "no h2load" in one.missing
    assert not two.reached
