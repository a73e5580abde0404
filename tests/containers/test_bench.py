"""That what `make bench` measures with works: some rows for a moment each."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measuring import Scale
from bench.rig import Rig
from bench.side_by_side import Wanted, measure
from tests.support.containers import Containers

pytestmark = pytest.mark.containers

SCALE = Scale(rounds=1, seconds=0.05, most_keys=1_000, quick=True)


async def test_rows_are_measured_on_both_sides_and_held_against_their_bars(
    containers: Containers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = Rig(containers=containers, redis=containers.redis, sidecar=containers.daprd, folder=tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)  # as if there were no h2load
    summary = await measure(
        on, SCALE, Wanted(rows=("put-if", "transaction", "lone plain", "unary get"), stores=("redis",))
    )

    put_if, transaction, *lone, one, two, one_by_h2load, two_by_h2load = summary.outcomes
    for outcome in (put_if, transaction, *lone, one, two):
        assert not outcome.missing
        assert all(outcome.found.rate(side) > 0 for side in ("direct", "keepstate"))
    assert put_if.bar is not None
    assert put_if.reached == (put_if.figure >= put_if.bar.limit)
    assert transaction.bar is None
    assert put_if.found.microseconds["keepstate"]["daprd"][0] > 0
    assert len(lone) == 3
    assert (one.row, two.row) == ("unary get x64, 1 worker", "unary get x64, 2 workers")
    # What cannot be measured is said, and has not reached its bar. The others have gone on.
    assert "no h2load" in one_by_h2load.missing
    assert two_by_h2load in summary.missed
    assert not summary.complete
    assert {"Redis", "PostgreSQL", "daprd", "grpcio", "kernel", "keepstate"} <= summary.machine.keys()
