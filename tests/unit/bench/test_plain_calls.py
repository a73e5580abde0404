from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from bench import h2load, http2
from keepstate.testing import KeepstateService
from keepstate.v1 import record_pb2, state_service_pb2_grpc
from keepstate.v1 import state_service_pb2 as pb

KEYS = [f"key:{number}" for number in range(16)]


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service."""
    with KeepstateService() as running:
        yield running.address


def calls(address: str, method: str, messages: list[bytes]) -> http2.Calls:
    return http2.Calls(
        target=address, method=f"/keepstate.v1.StateService/{method}", messages=messages, connections=2, streams=4
    )


def name(key: str) -> record_pb2.RecordName:
    return record_pb2.RecordName(key=key)


async def test_each_call_is_answered_and_another_key_comes_each_time(service: str) -> None:
    puts = [pb.PutRequest(name=name(key), value=b"x" * 300).SerializeToString() for key in KEYS]
    measured = await http2.run(calls(service, "Put", puts), 0.3)
    assert measured.operations >= 2 * len(KEYS)
    assert 0 < measured.latency < measured.seconds
    async with grpc.aio.insecure_channel(service) as channel:
        state = state_service_pb2_grpc.StateServiceStub(channel)
        for key in KEYS:
            assert (await state.Get(pb.GetRequest(name=name(key)))).record.value == b"x" * 300
    gets = [pb.GetRequest(name=name(key)).SerializeToString() for key in KEYS]
    assert (await http2.run(calls(service, "Get", gets), 0.1)).operations >= 8


async def test_a_message_larger_than_the_servers_window_arrives(service: str) -> None:
    value = bytes(range(256)) * 2_000
    put = pb.PutRequest(name=name("large"), value=value).SerializeToString()
    await http2.run(calls(service, "Put", [put]), 0.1)
    async with grpc.aio.insecure_channel(service) as channel:
        state = state_service_pb2_grpc.StateServiceStub(channel)
        assert (await state.Get(pb.GetRequest(name=name("large")))).record.value == value


async def test_a_refusal_is_no_answer(service: str) -> None:
    absent = pb.GetRequest(name=name("nobody")).SerializeToString()
    with pytest.raises(RuntimeError, match=r"\d+ calls of .*Get failed"):
        await http2.run(calls(service, "Get", [absent]), 0.05)


async def test_a_server_that_is_not_there_is_said() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConnectionRefusedError):
            await http2.run(calls(f"127.0.0.1:{bound.getsockname()[1]}", "Get", [b""]), 0.05)


PRINTED = """\
finished in 2.00s, 647.00 req/s, 104.62KB/s
requests: 1294 total, 1358 started, 1294 done, 1294 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1294 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 209.25KB (214270) total, 4.38KB (4482) headers (space savings 95.72%), 36.65KB (37526) data
                     min         max         mean         sd        +/- sd
time for request:    27.38ms    187.50ms     96.72ms     25.75ms    69.55%
time for connect:      298us      5.06ms      1.35ms      1.59ms    87.50%
time to 1st byte:    74.18ms    112.67ms     95.30ms     13.18ms    62.50%
req/s           :      79.00       84.49       80.85        1.62    75.00%
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in h2load's place, which says what h2load did."""
    file = tmp_path / "h2load"
    file.write_text(f"#!/bin/sh\ncat <<'end'\n{PRINTED}end\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return file


async def test_what_h2load_says_is_added_up(program: Path, tmp_path: Path) -> None:
    two = calls("localhost:1", "Get", [b"one", b"two"])
    measured = await h2load.run(two, 2, folder=tmp_path, answer=29)
    assert measured.operations == 2 * 1294
    assert measured.rate == pytest.approx(2 * 647)
    assert measured.latency == pytest.approx(0.09672)
    assert [(tmp_path / f"message-{number}").read_bytes() for number in range(2)] == [
        http2.framed(b"one"),
        http2.framed(b"two"),
    ]


async def test_refusals_are_seen_by_the_bytes_that_did_not_come(program: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="each should have 40"):
        await h2load.run(calls("localhost:1", "Get", [b"", b""]), 2, folder=tmp_path, answer=40)


async def test_no_answers_at_all_are_no_measurement(program: Path, tmp_path: Path) -> None:
    program.write_text(program.read_text().replace("1294", "0"))
    with pytest.raises(RuntimeError, match="none"):
        await h2load.run(calls("localhost:1", "Get", [b"", b""]), 2, folder=tmp_path, answer=40)


async def test_an_h2load_that_fails_is_said(program: Path, tmp_path: Path) -> None:
    program.write_text("#!/bin/sh\necho it broke; exit 1\n")
    with pytest.raises(RuntimeError, match="it broke"):
        await h2load.run(calls("localhost:1", "Get", [b"", b""]), 2, folder=tmp_path, answer=40)


async def test_a_missing_h2load_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="no h2load"):
        await h2load.run(calls("localhost:1", "Get", [b"", b""]), 2, folder=tmp_path, answer=40)
