"""Several workers as one service: as callers see them, and as an operator does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from keepstate import Client
from keepstate.v1 import record_pb2, state_service_pb2, state_service_pb2_grpc
from tests.support.apps import eventually
from tests.support.processes import children_of, connections_of, is_gone, listens_on
from tests.support.service import KEEPSTATE, ServiceProcess

MakeService = Callable[..., ServiceProcess]
Stub = state_service_pb2_grpc.StateServiceStub


def port_of(service: ServiceProcess) -> int:
    return int(service.address.rpartition(":")[2])


def workers_of(service: ServiceProcess) -> list[int]:
    return [pid for pid in children_of(service.process.pid) if listens_on(pid, port_of(service))]


def store_of(service: ServiceProcess) -> int:
    """The process with the embedded store: the one child that is no worker, once all workers listen."""
    (store,) = set(children_of(service.process.pid)) - set(workers_of(service))
    return store


def start(service: ServiceProcess, workers: int = 2) -> ServiceProcess:
    """Starts it, and waits until all workers listen: it is ready as soon as one is."""
    service.start()
    eventually(lambda: len(workers_of(service)) == workers)
    return service


@contextmanager
def connections(service: ServiceProcess) -> Iterator[list[grpc.Channel]]:
    """Connections of which each worker has at least one."""
    workers = workers_of(service)
    with ExitStack() as stack:
        channels: list[grpc.Channel] = []
        while not channels or not all(connections_of(pid, port_of(service)) for pid in workers):
            assert len(channels) < 60, "the kernel spreads connections by chance, but not so unevenly"
            options = [("grpc.use_local_subchannel_pool", 1)]  # else channels to one address share a connection
            channels.append(stack.enter_context(grpc.insecure_channel(service.address, options=options)))
            grpc.channel_ready_future(channels[-1]).result(timeout=30)
        yield channels


def put(channel: grpc.Channel, key: str, value: bytes) -> None:
    name = record_pb2.RecordName(key=key)
    Stub(channel).Put(state_service_pb2.PutRequest(name=name, value=value), timeout=30)


def get(channel: grpc.Channel, key: str) -> bytes:
    name = record_pb2.RecordName(key=key)
    found: bytes = Stub(channel).Get(state_service_pb2.GetRequest(name=name), timeout=30).record.value
    return found


def test_each_worker_serves_and_sees_what_the_others_wrote(make_service: MakeService) -> None:
    service = start(make_service(KEEPSTATE_WORKERS="2"))
    with connections(service) as channels:
        for number, channel in enumerate(channels):
            put(channel, f"k{number}", b"%d" % number)
        for channel in channels:
            assert [get(channel, f"k{number}") for number in range(len(channels))] == [
                b"%d" % number for number in range(len(channels))
            ]


@pytest.mark.containers
def test_workers_share_a_sidecar_of_dapr(make_service: MakeService, containers: Any) -> None:
    service = start(
        make_service(
            KEEPSTATE_WORKERS="3",
            KEEPSTATE_DEFAULT_STORE="redis",
            DAPR_GRPC_ENDPOINT=containers.daprd.grpc_target,
            DAPR_HTTP_ENDPOINT=containers.daprd.http_endpoint,
        ),
        workers=3,
    )
    assert len(children_of(service.process.pid)) == 3, "there is no embedded store"
    with connections(service) as channels:
        for number, channel in enumerate(channels):
            put(channel, "workers:shared", b"%d" % number)
            assert {get(each, "workers:shared") for each in channels} == {b"%d" % number}
    assert service.end() == 0


async def test_a_killed_worker_is_replaced_and_calls_go_on(make_service: MakeService) -> None:
    service = await asyncio.to_thread(start, make_service(KEEPSTATE_WORKERS="2"))
    async with Client(service.address, timeout=timedelta(seconds=60)) as state:
        for _ in range(2):
            before = workers_of(service)
            (victim, *_) = [pid for pid in before if connections_of(pid, port_of(service))] or before
            counting = [asyncio.create_task(state.increment("counter")) for _ in range(4)]
            os.kill(victim, signal.SIGKILL)
            await asyncio.gather(*counting)
            replaced = lambda before=before: len(workers_of(service)) == 2 and workers_of(service) != before  # noqa: E731
            await asyncio.to_thread(eventually, replaced)
        assert await state.get("counter") == 8
    assert service.is_("ready")
    assert service.log.read_text().count("a process ended: starting another") == 2


async def test_a_killed_embedded_store_is_replaced_and_has_what_was_put(make_service: MakeService) -> None:
    service = await asyncio.to_thread(start, make_service(KEEPSTATE_WORKERS="2"))
    async with Client(service.address, timeout=timedelta(seconds=60)) as state:
        await state.put("k", 1)
        os.kill(store_of(service), signal.SIGKILL)
        assert await state.increment("k") == 2


def test_nobody_gets_the_embedded_stores_port_while_that_is_away(make_service: MakeService) -> None:
    """Workers would send him their token and their records, and the store would never be there again."""
    service = start(make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_LOG_FORMAT="json"))
    events = [json.loads(each) for each in service.log.read_text().splitlines() if each.startswith("{")]
    (address,) = [each["grpc"] for each in events if each["event"] == "embedded sidecar started"]
    port = int(address.rpartition(":")[2])
    store = store_of(service)
    assert listens_on(store, port)
    os.kill(store, signal.SIGKILL)
    eventually(lambda: is_gone(store))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    eventually(lambda: service.keepstate("put", "k", "v").returncode == 0)


def test_when_the_parent_is_killed_all_end_and_the_next_start_finds_the_port_free(make_service: MakeService) -> None:
    service = start(make_service(KEEPSTATE_WORKERS="2"))
    assert service.keepstate("put", "k", "v").returncode == 0
    children = children_of(service.process.pid)
    assert len(children) == 3
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: all(map(is_gone, children)), seconds=5)
    start(service)
    assert service.keepstate("get", "k", "-o", "value").stdout == b"v"


def test_the_end_is_told_by_every_worker_and_all_are_gone_then(make_service: MakeService) -> None:
    service = start(make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_DRAIN="25s"))
    children = children_of(service.process.pid)
    with connections(service) as channels:
        watches = [health_pb2_grpc.HealthStub(each).Watch(health_pb2.HealthCheckRequest()) for each in channels]
        for each in watches:
            while next(each).status != health_pb2.HealthCheckResponse.SERVING:
                pass
        assert service.end(seconds=20) == 0
        assert [[answer.status for answer in each] for each in watches] == [
            [health_pb2.HealthCheckResponse.NOT_SERVING]
        ] * len(watches)
    assert all(map(is_gone, children))
    assert service.log.read_text().count("stopping: not serving any more") == 2


@pytest.mark.parametrize("all_are_told", [False, True])
def test_calls_under_way_at_the_end_are_answered(make_service: MakeService, all_are_told: bool) -> None:
    """Whoever is told: a supervisor may send its signal to the parent, or to every process that there is."""
    service = start(make_service(KEEPSTATE_WORKERS="2"))
    with connections(service) as channels:
        puts = [
            Stub(channel).Put.future(
                state_service_pb2.PutRequest(name=record_pb2.RecordName(key=f"{channel_number}:{n}"), value=b"v"),
                timeout=30,
            )
            for channel_number, channel in enumerate(channels)
            for n in range(100)
        ]
        puts[0].result()
        for pid in children_of(service.process.pid) if all_are_told else []:
            os.kill(pid, signal.SIGTERM)
        assert service.end() == 0
        assert all(each.result().etag for each in puts)


@pytest.mark.parametrize("first_workers", ["1", "2"])
@pytest.mark.parametrize("second_workers", ["1", "2"])
def test_a_taken_port_is_named(make_service: MakeService, first_workers: str, second_workers: str) -> None:
    first = make_service(KEEPSTATE_WORKERS=first_workers).start()
    for name, address in {
        "KEEPSTATE_LISTEN": first.address,
        "KEEPSTATE_HTTP_LISTEN": first.environment["KEEPSTATE_HTTP_LISTEN"],
    }.items():
        second = make_service(**{"KEEPSTATE_WORKERS": second_workers, name: address}).begin()
        assert second.process.wait(30) == 78
        assert second.log.read_text().count(f"{name}: cannot listen on {address}") == 1
        second.log.write_text("")
    assert first.is_("ready")


def test_of_two_that_start_at_once_on_one_port_one_is_refused(make_service: MakeService) -> None:
    one = make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_HTTP_LISTEN="none")
    other = make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_HTTP_LISTEN="none", KEEPSTATE_LISTEN=one.address)
    both = [each.begin() for each in (one, other)]
    eventually(lambda: any(each.process.poll() is not None for each in both))
    (refused,) = [each for each in both if not each.runs]
    assert refused.process.wait(30) == 78
    (left,) = [each for each in both if each.runs]
    eventually(lambda: left.keepstate("put", "k", "v", "--address", one.address).returncode == 0)


def test_a_free_port_is_the_same_one_for_all(make_service: MakeService) -> None:
    service = make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_LISTEN="127.0.0.1:0").start()
    said = service.log.read_text()
    (line,) = [each for each in said.splitlines() if "listening on" in each]
    service.address = line.partition("listening on ")[2].partition(",")[0]
    assert port_of(service) > 0
    eventually(lambda: len(workers_of(service)) == 2)


WRONG = {
    "KEEPSTATE_DATA": ("/dev/null", "KEEPSTATE_DATA"),
    "KEEPSTATE_DEAD_LIFE": ("60s", "KEEPSTATE_DEAD_LIFE must be at least 20 times"),
    "DAPR_GRPC_ENDPOINT": ("foo://bar:1:2", "DAPR_GRPC_ENDPOINT: invalid scheme 'foo'"),
    "KEEPSTATE_LISTEN": ("192.0.2.1:0", "KEEPSTATE_LISTEN: cannot listen on 192.0.2.1:0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_for_all_is_told_once(make_service: MakeService, name: str) -> None:
    value, message = WRONG[name]
    insecure = {"KEEPSTATE_INSECURE": "true", "KEEPSTATE_SIDECAR": "embedded"} if name == "KEEPSTATE_LISTEN" else {}
    service = make_service(KEEPSTATE_WORKERS="2", **{name: value}, **insecure).begin()
    assert service.process.wait(30) == 78
    said = service.log.read_text()
    assert said.count(message) == 1
    assert "Traceback" not in said


def test_a_certificate_that_is_none_is_told_once(make_service: MakeService, tmp_path: Path) -> None:
    files = {"KEEPSTATE_TLS_CERT": str(tmp_path / "no"), "KEEPSTATE_TLS_KEY": str(tmp_path / "none")}
    service = make_service(KEEPSTATE_WORKERS="2", **files).begin()
    assert service.process.wait(30) == 78
    assert service.log.read_text().count("cannot read") == 1


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [("0", 78, "KEEPSTATE_WORKERS: "), ("-1", 78, "KEEPSTATE_WORKERS: "), ("x", 2, "'--workers'")],
)
def test_a_number_of_workers_that_is_none_is_refused(
    make_service: MakeService, number: str, code: int, message: str
) -> None:
    ended = subprocess.run(
        [KEEPSTATE, "serve", f"--workers={number}"],
        env=make_service().environment,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == code
    assert message in ended.stderr.decode()


def test_each_line_of_the_log_is_whole_and_says_which_worker_wrote_it(make_service: MakeService) -> None:
    service = start(make_service(KEEPSTATE_WORKERS="2", KEEPSTATE_LOG_FORMAT="json"))
    eventually(lambda: '"workers": 2' in service.log.read_text())
    assert service.end() == 0
    lines = [json.loads(each) for each in service.log.read_text().splitlines() if not each.startswith("keepstate: ")]
    assert {each["worker"] for each in lines if each["event"] == "stopped" and "worker" in each} == {"1", "2"}
    assert [each["workers"] for each in lines if each["event"] == "serving" and "worker" not in each] == [2]
