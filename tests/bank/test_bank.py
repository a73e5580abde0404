"""A bank on a real Redis, while the instances of the service are killed: no transfer is lost, doubled or half done."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate.v1 import state_service_pb2 as pb
from keepstate.v1 import state_service_pb2_grpc
from keepstate.v1.record_pb2 import RecordName
from tests.bank.clients import ACCOUNTS, OPENING, account, journals, number_in
from tests.support.containers import Containers
from tests.support.service import ServiceProcess

pytestmark = [pytest.mark.containers, pytest.mark.promise(9, 11)]

SECONDS = 60
KILLED_EVERY = 5
PROCESSES = 4
CLIENTS = 4
"""In each process."""


@pytest.fixture
def instances(
    containers: Containers, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[Sequence[ServiceProcess]]:
    """Two instances of the service, each a process of its own beside one sidecar."""
    sidecar = containers.daprd
    settings = {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint}
    with ExitStack() as stack:
        found = []
        for name in ("one", "two"):
            (folder := tmp_path / name).mkdir()
            service = ServiceProcess(folder, (unused_tcp_port_factory(), unused_tcp_port_factory()), settings)
            stack.callback(service.close)
            found.append(service.start())
        yield found


async def test_transfers_survive_kills_of_the_service(instances: Sequence[ServiceProcess]) -> None:
    async with grpc.aio.insecure_channel(instances[0].address) as channel:
        bank = state_service_pb2_grpc.StateServiceStub(channel)
        clients = range(PROCESSES * CLIENTS)
        opening = [pb.PutRequest(name=account(each), value=b"%d" % OPENING) for each in range(ACCOUNTS)]
        await bank.Transact(pb.TransactRequest(puts=opening), timeout=10)
        for client in clients:
            puts = [pb.PutRequest(name=each, value=b"0") for each in journals(client)]
            await bank.Transact(pb.TransactRequest(puts=puts), timeout=10)

        working = asyncio.gather(
            *(_work(process, [each.address for each in instances]) for process in range(PROCESSES))
        )
        kills = await asyncio.to_thread(_kill_in_turn, instances)
        reports = [report for its in await working for report in its]

        money = await _numbers(bank, map(account, range(ACCOUNTS)))
        counted = [sum(await _numbers(bank, journals(client))) for client in clients]
    happened = {"kills": kills, **_summary(reports)}
    sys.stdout.write(f"{happened}, longest in doubt {max(report['longest'] for report in reports):.1f} s\n")
    expected = [OPENING] * ACCOUNTS
    for source, target, amount in itertools.chain.from_iterable(report["applied"] for report in reports):
        expected[source] -= amount
        expected[target] += amount
    assert money == expected
    assert counted == [len(report["applied"]) for report in sorted(reports, key=lambda each: each["client"])]
    # Else nothing was shown.
    assert kills >= SECONDS / KILLED_EVERY / 2, "the machine is too slow"
    assert min(len(report["applied"]) for report in reports) > 10
    for name in ("snapshots", "conflicts", "lost", "resolved"):
        assert happened.get(name, 0) > 10, happened


async def _numbers(bank: state_service_pb2_grpc.StateServiceAsyncStub, names: Iterable[RecordName]) -> list[int]:
    items = (await bank.Snapshot(pb.SnapshotRequest(names=names), timeout=20)).items
    return [number_in(each.record) for each in items]


async def _work(process: int, targets: Sequence[str]) -> Any:
    """Runs the clients of one process; returns their reports."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bank.worker", str(SECONDS), str(process * CLIENTS), str(CLIENTS), *targets),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await worker.communicate()
    finally:
        if worker.returncode is None:
            worker.kill()
    assert worker.returncode == 0, errors.decode()
    return json.loads(out)


def _kill_in_turn(instances: Sequence[ServiceProcess]) -> int:
    """Kills one instance after the other until the time is nearly over, and starts each again; returns how often."""
    began = time.monotonic()
    for kills, instance in enumerate(itertools.cycle(instances), start=1):
        time.sleep(max(0.0, began + kills * KILLED_EVERY - time.monotonic()))
        if time.monotonic() - began > SECONDS - KILLED_EVERY / 2:
            return kills - 1
        instance.end(signal.SIGKILL)
        instance.start()
    raise AssertionError("a cycle has no end")


def _summary(reports: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Adds up what the clients did and met."""
    counts: Counter[str] = Counter(transfers=sum(len(report["applied"]) for report in reports))
    for report in reports:
        counts.update({name: report[name] for name in ("snapshots", "restless", "conflicts", "refused", "resolved")})
        counts.update(report["undecided"])
    return dict(counts)
