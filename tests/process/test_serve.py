"""The service as a process: its start, its data, its end, as a newcomer and an operator meet them."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from dapr.proto import appcallback_service_v1
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from keepstate import Client, OutcomeUnknown, ResourceExhausted
from tests.support.service import KEEPSTATE, ServiceProcess

MakeService = Callable[..., ServiceProcess]
StartSidecar = Callable[..., tuple[subprocess.Popen[bytes], dict[str, str]]]
SERVICES = ("keepstate.v1.StateService", "keepstate.v1.StoreService")


@pytest.fixture
def start_sidecar(free_ports: Callable[[int], tuple[int, ...]], tmp_path: Path) -> Iterator[StartSidecar]:
    """Starts `keepstate sidecar`, and returns it with what the service must be told of it."""
    with ExitStack() as stack:

        def start(**settings: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
            grpc_port, http_port = free_ports(2)
            command = [
                "sidecar",
                f"--grpc-port={grpc_port}",
                f"--http-port={http_port}",
                f"--data={tmp_path / 'there'}",
            ]
            inherited = {
                name: each for name, each in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))
            }
            process = subprocess.Popen([KEEPSTATE, *command], env=inherited | settings, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
            return process, {"DAPR_GRPC_PORT": str(grpc_port), "DAPR_HTTP_PORT": str(http_port)}

        yield start


def test_what_was_put_is_there_after_a_kill(make_service: MakeService) -> None:
    service = make_service().start()
    put = service.keepstate("put", "greeting", "hello")
    assert put.returncode == 0, put.stderr
    assert service.keepstate("get", "greeting", "-o", "value").stdout == b"hello"
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    service.start()
    assert service.keepstate("get", "greeting", "-o", "value").stdout == b"hello"


def test_the_start_says_where_it_listens_and_where_the_data_lies(make_service: MakeService) -> None:
    service = make_service().start()
    said = service.log.read_text()
    assert f"listening on {service.address}" in said
    assert service.environment["KEEPSTATE_DATA"] in said
    assert "the embedded store" in said


def test_the_commands_that_the_start_shows_reach_it(make_service: MakeService) -> None:
    service = make_service().start()
    del service.environment["KEEPSTATE_ADDRESS"]
    (shown,) = (line for line in service.log.read_text().splitlines() if "keepstate put" in line)
    put, get = (service.keepstate(*shlex.split(command)[1:]) for command in shown.split(" && "))
    assert put.returncode == 0, put.stderr
    assert get.stdout == b"hello"


def test_reflection_shows_both_services(make_service: MakeService) -> None:
    service = make_service().start()
    with grpc.insecure_channel(service.address) as channel:
        assert set(SERVICES) <= set(ProtoReflectionDescriptorDatabase(channel).get_services())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_calls_under_way_end(make_service: MakeService, number: signal.Signals) -> None:
    service = await asyncio.to_thread(make_service().start)
    async with Client(service.address, retry=None) as state:
        puts = [asyncio.create_task(state.put(f"k{index}", index)) for index in range(300)]
        await puts[0]
        code = await asyncio.to_thread(service.end, number)
        results = await asyncio.gather(*puts, return_exceptions=True)
    assert code == 0
    await asyncio.to_thread(service.start)
    async with Client(service.address) as state:
        for index, result in enumerate(results):
            if isinstance(result, str):
                assert await state.get(f"k{index}") == index, "what was answered is there"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_service_that_still_waits_for_its_sidecar(
    make_service: MakeService, free_ports: Callable[[int], tuple[int, ...]], number: signal.Signals
) -> None:
    grpc_port, http_port = free_ports(2)
    service = make_service(DAPR_GRPC_PORT=str(grpc_port), DAPR_HTTP_PORT=str(http_port)).begin()
    service.wait_until("live")
    assert service.end(number, seconds=5) == 0


def test_whoever_watches_health_hears_the_end_and_does_not_hold_it_up(make_service: MakeService) -> None:
    service = make_service(KEEPSTATE_DRAIN="25s").start()
    with grpc.insecure_channel(service.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watches = [watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "", SERVICES[0])]
        for each in watches:
            assert next(each).status == health_pb2.HealthCheckResponse.SERVING
        assert service.end(seconds=10) == 0
        for each in watches:
            assert [answer.status for answer in each] == [health_pb2.HealthCheckResponse.NOT_SERVING]


def test_a_watcher_that_goes_leaves_the_others_watching(make_service: MakeService) -> None:
    service = make_service().start()
    with grpc.insecure_channel(service.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        one, other = (watch(health_pb2.HealthCheckRequest()) for _ in range(2))
        next(one)
        next(other)
        one.cancel()
        with pytest.raises(grpc.RpcError):
            next(one)
        assert service.end() == 0
        assert next(other).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_frozen_sidecar_does_not_make_the_end_longer_than_the_drain(
    make_service: MakeService, start_sidecar: StartSidecar
) -> None:
    sidecar, ports = start_sidecar()
    settings = {"KEEPSTATE_DRAIN": "2s", "KEEPSTATE_CONCURRENT_CALLS": "1"}
    service = await asyncio.to_thread(make_service(**ports, **settings).start)
    async with Client(service.address, retry=None, gather=False) as state:
        await state.put("k", 0)
        sidecar.send_signal(signal.SIGSTOP)
        puts = {asyncio.create_task(state.put("k", n, timeout=timedelta(seconds=55))) for n in (1, 2)}
        # Only one may be under way: as soon as the other is refused, it is.
        (refused,), (put,) = await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(refused.exception(), ResourceExhausted)
        began = time.monotonic()
        assert await asyncio.to_thread(service.end) == 0
        assert time.monotonic() - began < 6
        with pytest.raises(OutcomeUnknown):
            await put


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_more_signal_ends_it_at_once(make_service: MakeService, workers: str) -> None:
    service = make_service(KEEPSTATE_WORKERS=workers, KEEPSTATE_NOTICE="50s").start()
    began = time.monotonic()
    while service.runs:
        service.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(0.2)
    assert service.process.returncode == 1
    assert 1 <= time.monotonic() - began < 20, "those that come together, as by Ctrl-C, are one"


WRONG = {
    "KEEPSTATE_LISTEN": ("7400", "KEEPSTATE_LISTEN: must be host:port"),
    "KEEPSTATE_SIDECAR": ("redis", "KEEPSTATE_SIDECAR"),
    "KEEPSTATE_DEAD_LIFE": ("60s", "KEEPSTATE_DEAD_LIFE must be at least 20 times"),
    "KEEPSTATE_LONGEST_DELAY": ("soon", "KEEPSTATE_LONGEST_DELAY: 'soon' is not a duration"),
    "KEEPSTATE_LOG_LEVEL": ("loud", "KEEPSTATE_LOG_LEVEL: must be debug, info, warning or error"),
    "KEEPSTATE_CONFIG": ("no-such-file.yaml", "KEEPSTATE_CONFIG: there is no file"),
    "KEEPSTATE_DATA": ("/dev/null", "KEEPSTATE_DATA"),
    "DAPR_GRPC_PORT": ("many", "DAPR_GRPC_PORT"),
    "DAPR_GRPC_ENDPOINT": ("foo://bar:1:2", "DAPR_GRPC_ENDPOINT: invalid scheme 'foo'"),
    "DAPR_HTTP_ENDPOINT": ("http://[bad", "DAPR_HTTP_ENDPOINT: must be a URL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_stops_the_start_and_is_named(make_service: MakeService, name: str) -> None:
    value, message = WRONG[name]
    service = make_service(**{name: value}).begin()
    assert service.process.wait(30) == 78
    said = service.log.read_text()
    assert message in said
    assert "Traceback" not in said


def test_a_wrong_setting_in_the_file_is_named(make_service: MakeService, tmp_path: Path) -> None:
    file = tmp_path / "keepstate.yaml"
    file.write_text("default_store: redis\nlissten: 127.0.0.1:1\n")
    service = make_service(KEEPSTATE_CONFIG=str(file)).begin()
    assert service.process.wait(30) == 78
    assert "LISSTEN: there is no such setting" in service.log.read_text()


def test_a_file_that_is_a_list_is_said_to_be_none_of_settings(make_service: MakeService, tmp_path: Path) -> None:
    file = tmp_path / "keepstate.yaml"
    file.write_text("- default_store: redis\n")
    service = make_service(KEEPSTATE_CONFIG=str(file)).begin()
    assert service.process.wait(30) == 78
    assert f"KEEPSTATE_CONFIG: {file} must be a mapping" in service.log.read_text()


def test_the_sidecar_alone_does_not_mind_what_the_service_would(start_sidecar: StartSidecar) -> None:
    sidecar, ports = start_sidecar(KEEPSTATE_LISTEN="7400", KEEPSTATE_DEAD_LIFE="1s", DAPR_HTTP_ENDPOINT="http://[bad")
    with grpc.insecure_channel(f"127.0.0.1:{ports['DAPR_GRPC_PORT']}") as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
    sidecar.terminate()
    assert sidecar.wait(10) == 0


@pytest.mark.parametrize("name", ["KEEPSTATE_LISTEN", "KEEPSTATE_HTTP_LISTEN"])
def test_off_loopback_it_listens_only_when_told_by_name(make_service: MakeService, name: str) -> None:
    service = make_service(**{name: "0.0.0.0:0"}).begin()
    assert service.process.wait(30) == 78
    assert f"{name}: 0.0.0.0:0 is not loopback" in service.log.read_text()


def test_a_taken_port_is_named(make_service: MakeService) -> None:
    first = make_service().start()
    for name, address in {
        "KEEPSTATE_LISTEN": first.address,
        "KEEPSTATE_HTTP_LISTEN": first.environment["KEEPSTATE_HTTP_LISTEN"],
    }.items():
        second = make_service(**{name: address}).begin()
        assert second.process.wait(30) == 78
        assert f"{name}: cannot listen on {address}" in second.log.read_text()
    assert first.is_("ready")


def test_a_misspelt_variable_is_named_in_the_log(make_service: MakeService) -> None:
    service = make_service(KEEPSTATE_DEFALT_STORE="redis").start()
    said = service.log.read_text()
    assert "KEEPSTATE_DEFALT_STORE" in said
    assert "KEEPSTATE_DEFAULT_STORE" in said
    assert "KEEPSTATE_ADDRESS" not in said


def test_what_kubernetes_sets_for_a_service_of_this_name_disturbs_nothing(make_service: MakeService) -> None:
    address = "tcp://10.0.0.1:7400"
    make_service(KEEPSTATE_PORT=address, KEEPSTATE_SERVICE_HOST="10.0.0.1", KEEPSTATE_PORT_7400_TCP=address).start()


def test_a_missing_sidecar_is_waited_for(
    make_service: MakeService, free_ports: Callable[[int], tuple[int, ...]], tmp_path: Path
) -> None:
    grpc_port, http_port = free_ports(2)
    service = make_service(DAPR_GRPC_PORT=str(grpc_port), DAPR_HTTP_PORT=str(http_port)).begin()
    service.wait_until("live")
    with grpc.insecure_channel(service.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{service.health}/ready", timeout=5)
        app_health: Any = appcallback_service_v1
        assert app_health.AppCallbackHealthCheckStub(channel).HealthCheck(Empty(), timeout=5) is not None
        early = service.keepstate("put", "k", "v", "--timeout", "2s")
        assert early.returncode == 69, early.stderr
        sidecar = subprocess.Popen(
            [
                KEEPSTATE,
                "sidecar",
                f"--grpc-port={grpc_port}",
                f"--http-port={http_port}",
                f"--data={tmp_path / 'sidecar'}",
            ],
            env=service.environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            service.wait_until("ready")
            assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
            assert service.keepstate("put", "k", "v").returncode == 0
            sidecar.terminate()
            assert sidecar.wait(10) == 0
            service.wait_until_not("ready")
        finally:
            sidecar.kill()
            sidecar.wait(10)
    assert service.end() == 0, "it also ends while it waits"


def test_a_call_without_a_store_says_that_one_must_be_named(make_service: MakeService) -> None:
    """An unset default is the only store; a wrong one is named when it is used."""
    service = make_service(KEEPSTATE_DEFAULT_STORE="no-such-store").start()
    put = service.keepstate("put", "k", "v")
    assert put.returncode != 0
    assert b"no-such-store" in put.stderr
