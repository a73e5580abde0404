"""The service by TLS as a process, as an operator meets it: settings, the command line beside it, health."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.certificates import Authority, Pair
from tests.support.service import KEEPSTATE, ServiceProcess

MakeService = Callable[..., ServiceProcess]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def of_service(pair: Pair, client_ca: Path | None = None) -> dict[str, str]:
    files = {"KEEPSTATE_TLS_CERT": str(pair.cert), "KEEPSTATE_TLS_KEY": str(pair.key)}
    return files | ({"KEEPSTATE_TLS_CLIENT_CA": str(client_ca)} if client_ca else {})


def of_client(ca: Path, pair: Pair | None = None) -> dict[str, str]:
    files = {"KEEPSTATE_TLS_CA": str(ca)}
    own = {"KEEPSTATE_TLS_CLIENT_CERT": str(pair.cert), "KEEPSTATE_TLS_CLIENT_KEY": str(pair.key)} if pair else {}
    return files | own


def test_one_environment_serves_and_calls(make_service: MakeService, authority: Authority) -> None:
    settings = of_service(authority.issue("127.0.0.1"), authority.file)
    service = make_service(**settings, **of_client(authority.file, authority.issue("me"))).start()
    put = service.keepstate("put", "greeting", "hello")
    assert put.returncode == 0, put.stderr
    assert service.keepstate("get", "greeting", "-o", "value").stdout == b"hello"
    del service.environment["KEEPSTATE_TLS_CLIENT_CERT"], service.environment["KEEPSTATE_TLS_CLIENT_KEY"]
    refused = service.keepstate("get", "greeting")
    assert refused.returncode == 69
    assert b"it may demand a client certificate" in refused.stderr
    said = service.log.read_text()
    assert f"listening on {service.address} by TLS, for clients with a certificate" in said
    assert "misspelt" not in said


def test_with_client_certificates_it_may_listen_on_every_address(
    make_service: MakeService, authority: Authority, free_ports: Callable[[int], tuple[int, ...]]
) -> None:
    (port,) = free_ports(1)
    service = make_service(
        KEEPSTATE_LISTEN=f"0.0.0.0:{port}",
        KEEPSTATE_SIDECAR="embedded",
        **of_service(authority.issue("127.0.0.1", "127.0.0.2"), authority.file),
        **of_client(authority.file, authority.issue("me")),
    ).start()
    for host in ("127.0.0.1", "127.0.0.2"):
        called = service.keepstate("put", "a", "1", "--address", f"{host}:{port}")
        assert called.returncode == 0, called.stderr


def test_options_say_the_same_as_variables(make_service: MakeService, authority: Authority, tmp_path: Path) -> None:
    pair, nowhere = authority.issue("localhost"), tmp_path / "nowhere"
    options = [f"--tls-cert={pair.cert}", f"--tls-key={pair.key}", f"--tls-client-ca={nowhere}"]
    service = make_service()
    ended = subprocess.run(
        [KEEPSTATE, "serve", *options], env=service.environment, capture_output=True, timeout=30, check=False
    )
    assert ended.returncode == 78
    assert f"keepstate: KEEPSTATE_TLS_CLIENT_CA: cannot read {nowhere}: No such file".encode() in ended.stderr


def test_what_the_documents_make_with_openssl_will_do(make_service: MakeService, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
    (program,) = re.findall(r"^```sh\n(kind=.*?)^```$", page, re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-eu", "-c", program], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    service, client = (Pair(cert=tmp_path / f"{name}.pem", key=tmp_path / f"{name}.key") for name in ("service", "me"))
    running = make_service(**of_service(service, tmp_path / "ca.pem"), **of_client(tmp_path / "ca.pem", client)).start()
    put = running.keepstate("put", "greeting", "hello")
    assert put.returncode == 0, put.stderr
    assert "[warning" not in running.log.read_text()


def test_a_key_of_another_certificate_stops_the_start(make_service: MakeService, authority: Authority) -> None:
    pair, other = authority.issue("localhost"), authority.issue("other")
    service = make_service(**of_service(Pair(cert=pair.cert, key=other.key))).begin()
    assert service.process.wait(30) == 78
    said = service.log.read_text()
    assert f"KEEPSTATE_TLS_KEY: {other.key} is not the key of the certificate in {pair.cert}" in said
    assert "Traceback" not in said


def test_the_start_shows_what_callers_need(make_service: MakeService, authority: Authority) -> None:
    service = make_service(**of_service(authority.issue("localhost"))).start()
    said = service.log.read_text()
    assert f"listening on {service.address} by TLS, keeping" in said
    assert f"--address localhost:{service.address.rpartition(':')[2]} --tls-ca FILE\n" in said
    assert "-plaintext" not in said


def test_health_and_reflection_work_by_tls_and_http_health_stays_plain(
    make_service: MakeService, authority: Authority
) -> None:
    service = make_service(**of_service(authority.issue("127.0.0.1"))).start()  # ready: asked over plain HTTP
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    with grpc.secure_channel(service.address, credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert "keepstate.v1.StateService" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_handshake_that_fails_leaves_the_log_one_of_json(make_service: MakeService, authority: Authority) -> None:
    service = make_service(
        KEEPSTATE_LOG_FORMAT="json", **of_service(authority.issue("127.0.0.1"), authority.file)
    ).start()
    assert service.keepstate("get", "a").returncode == 69
    assert service.end() == 0
    events = [line for line in service.log.read_text().splitlines() if not line.startswith("keepstate: listening")]
    assert {"certificate loaded", "stopped"} <= {json.loads(line)["event"] for line in events}
