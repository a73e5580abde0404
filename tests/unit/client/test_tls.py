"""The client by TLS: whom it trusts, what it shows, and what it says where no connection comes about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import keepstate._channels
import keepstate._connection
from keepstate import Client, Tls, Unavailable, sync
from keepstate.v1 import state_service_pb2
from keepstate.v1.state_service_pb2_grpc import StateServiceStub
from tests.support.certificates import Authority, Pair, server_credentials
from tests.unit.client.fake_service import FakeService
from tests.unit.client.program import command, process

Serve = Callable[..., Awaitable[str]]


class Files:
    """Two CAs, and what clients and services may have of them."""

    def __init__(self, folder: Path) -> None:
        ours, others = Authority(folder / "ours"), Authority(folder / "others")
        self.ca, self.other_ca = ours.file, others.file
        self.service = ours.issue("localhost")
        self.elsewhere = ours.issue("elsewhere.example")
        self.expired = ours.issue("localhost", file="expired", valid=timedelta(days=-1))
        self.client = ours.issue("client")
        self.expired_client = ours.issue("client", file="expired-client", valid=timedelta(days=-1))
        self.other_client = others.issue("client")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a service, with a certificate and demanding one if given, and returns its address."""
    async with AsyncExitStack() as stack:

        async def start(pair: Pair | None = None, client_ca: Path | None = None) -> str:
            server, address = await FakeService().serve(server_credentials(pair, client_ca) if pair else None)
            stack.push_async_callback(server.stop, None)
            return address

        yield start


def with_pair(ca: Path, pair: Pair) -> Tls:
    return Tls(ca=ca, client_cert=pair.cert, client_key=pair.key)


async def get(address: str, tls: Tls | None) -> Any:
    async with Client(address, tls=tls, retry=None, timeout=timedelta(seconds=10)) as state:
        return await state.get("nobody", default="answered")


async def test_a_service_with_tls_is_called_with_its_ca(serve: Serve, files: Files) -> None:
    address = await serve(files.service)
    assert await get(address, Tls(ca=files.ca)) == "answered"
    assert await get(address, with_pair(files.ca, files.client)) == "answered", "what nobody asks for does no harm"


async def test_a_service_that_demands_certificates_takes_those_of_its_ca(serve: Serve, files: Files) -> None:
    address = await serve(files.service, files.ca)
    assert await get(address, with_pair(files.ca, files.client)) == "answered"


async def test_another_name_of_the_service_may_be_given(serve: Serve, files: Files) -> None:
    address = await serve(files.elsewhere)
    assert await get(address, Tls(ca=files.ca, server_name="elsewhere.example")) == "answered"


async def test_writes_go_by_tls_too(serve: Serve, files: Files) -> None:
    async with Client(await serve(files.service, files.ca), tls=with_pair(files.ca, files.client)) as state:
        await state.put("a", 1)
        assert await state.increment("a") == 2


async def test_the_synchronous_client_calls_by_tls_too(serve: Serve, files: Files) -> None:
    address = await serve(files.service, files.ca)

    def put() -> int:
        with sync.Client(address, tls=with_pair(files.ca, files.client)) as state:
            return state.increment("a")

    assert await asyncio.to_thread(put) == 1


REFUSED: dict[str, tuple[Callable[[Files], tuple[Pair | None, Path | None]], Callable[[Files], Tls | None], str]] = {
    "plaintext at a service with TLS": (lambda f: (f.service, None), lambda f: None, "it may demand TLS"),
    "TLS at a service without": (lambda f: (None, None), lambda f: Tls(ca=f.ca), "it does not speak TLS"),
    "the CA of another": (lambda f: (f.service, None), lambda f: Tls(ca=f.other_ca), "not signed by a CA that"),
    "only public CAs": (lambda f: (f.service, None), lambda f: Tls(), "not signed by a CA that"),
    "another name": (lambda f: (f.elsewhere, None), lambda f: Tls(ca=f.ca), "its certificate is for another name"),
    "a wrong name asked for": (
        lambda f: (f.service, None),
        lambda f: Tls(ca=f.ca, server_name="elsewhere.example"),
        "its certificate is for another name",
    ),
    "an expired service": (lambda f: (f.expired, None), lambda f: Tls(ca=f.ca), "its certificate has expired"),
    "no client certificate": (
        lambda f: (f.service, f.ca),
        lambda f: Tls(ca=f.ca),
        "it may demand a client certificate",
    ),
    "the client certificate of another CA": (
        lambda f: (f.service, f.ca),
        lambda f: with_pair(f.ca, f.other_client),
        "it may not accept this client certificate",
    ),
    "an expired client certificate": (
        lambda f: (f.service, f.ca),
        lambda f: with_pair(f.ca, f.expired_client),
        "it may not accept this client certificate",
    ),
    "plaintext where a certificate is demanded": (
        lambda f: (f.service, f.ca),
        lambda f: None,
        "it may demand TLS",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_where_tls_does_not_come_about_a_sentence_says_why(serve: Serve, files: Files, case: str) -> None:
    service, client, words = REFUSED[case]
    address = await serve(*service(files))
    with pytest.raises(Unavailable, match=words) as refused:
        await get(address, client(files))
    assert refused.value.nothing_sent


async def test_a_write_that_tls_kept_back_was_not_applied(serve: Serve, files: Files) -> None:
    address = await serve(files.service, files.ca)
    async with Client(address, tls=Tls(ca=files.ca), retry=None) as state:
        with pytest.raises(Unavailable) as refused:
            await state.put("a", 1)
    assert refused.value.nothing_sent


async def test_where_nobody_listens_tls_is_not_blamed() -> None:
    with pytest.raises(Unavailable, match=r"^failed to connect"):
        await get("localhost:1", Tls())


# Files that are none


async def test_a_wrong_file_is_named_before_anything_is_sent(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    cert, key = files.client.cert, files.client.key
    wrong = {
        "tls.ca: cannot read": Tls(ca=tmp_path / "nowhere"),
        "tls.ca: cannot read .*directory": Tls(ca=tmp_path),
        "tls.ca: .* holds no certificate": Tls(ca=text),
        "tls.client_cert: .* holds no certificate": Tls(client_cert=key, client_key=key),
        "tls.client_key: cannot read": Tls(client_cert=cert, client_key=tmp_path / "nowhere"),
        "tls.client_key: .* holds no private key": Tls(client_cert=cert, client_key=text),
        "tls.client_key: .* is not the key of the certificate": Tls(client_cert=cert, client_key=files.service.key),
    }
    for words, tls in wrong.items():
        with pytest.raises(ValueError, match=words):
            Client("localhost:1", tls=tls)


async def test_a_key_with_a_passphrase_is_refused_and_none_is_asked_for(files: Files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    key = files.client.key
    made = await process("openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:s3cret", "-out", str(locked))
    assert made[0] == 0, made
    with pytest.raises(ValueError, match=r"tls\.client_key: .* without a passphrase"):
        Client("localhost:1", tls=Tls(client_cert=files.client.cert, client_key=locked))


@pytest.mark.parametrize(
    ("kind", "usable"),
    [
        ("rsa:2048", True),
        ("ec -pkeyopt ec_paramgen_curve:prime256v1", True),
        ("ec -pkeyopt ec_paramgen_curve:secp384r1", True),
        ("ec -pkeyopt ec_paramgen_curve:secp521r1", False),
        ("ed25519", False),
        ("rsa-pss", False),
    ],
)
async def test_keys_are_taken_of_the_kinds_that_a_handshake_succeeds_with(
    serve: Serve, files: Files, tmp_path: Path, kind: str, usable: bool
) -> None:
    pair = Pair(cert=tmp_path / "own.pem", key=tmp_path / "own.key")
    command = f"openssl req -x509 -newkey {kind} -nodes -subj /CN=me -keyout {pair.key} -out {pair.cert}"
    made = await process(*command.split())
    assert made[0] == 0, made
    address = await serve(files.service, pair.cert)
    if usable:
        assert await get(address, with_pair(files.ca, pair)) == "answered"
        return
    with pytest.raises(ValueError, match=r"tls\.client_key: .* is neither an RSA key nor of the curves"):
        await get(address, with_pair(files.ca, pair))
    credentials = grpc.ssl_channel_credentials(*(each.read_bytes() for each in (files.ca, pair.key, pair.cert)))
    async with grpc.aio.secure_channel(address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError):  # so it is not refused in vain
            await StateServiceStub(channel).Get(state_service_pb2.GetRequest(), timeout=10)


async def test_a_key_that_is_too_short_is_refused(tmp_path: Path) -> None:
    pair = Pair(cert=tmp_path / "own.pem", key=tmp_path / "own.key")
    made = await process(
        *f"openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=me -keyout {pair.key} -out {pair.cert}".split()
    )
    assert made[0] == 0, made
    with pytest.raises(ValueError, match=r"tls\.client_key: .* are not safe: ee key too small"):
        Client("localhost:1", tls=Tls(client_cert=pair.cert, client_key=pair.key))


def test_remarks_around_certificates_do_no_harm(files: Files, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_bytes("für mich\n".encode() + files.client.cert.read_bytes() + files.ca.read_bytes())
    Client("localhost:1", tls=Tls(ca=own, client_cert=own, client_key=files.client.key))


def test_a_certificate_and_its_key_come_together(files: Files) -> None:
    with pytest.raises(ValueError, match="both client_cert and client_key"):
        Tls(client_cert=files.client.cert)


# The command line


async def test_the_command_line_calls_by_tls(serve: Serve, files: Files) -> None:
    address = await serve(files.service, files.ca)
    flags = {"tls-ca": files.ca, "tls-client-cert": files.client.cert, "tls-client-key": files.client.key}
    put = await process(
        *command("put", "a", "1", "--address", address, *(f"--{flag}={file}" for flag, file in flags.items()))
    )
    assert put[0] == 0, put
    environment = {f"KEEPSTATE_{flag.upper().replace('-', '_')}": str(file) for flag, file in flags.items()}
    got = await process(*command("stores", "-o", "value"), KEEPSTATE_ADDRESS=address, **environment)
    assert got == (0, b"memory\nredis\n", b"")


async def test_by_tls_alone_the_command_line_trusts_public_cas_or_those_of_a_variable(
    serve: Serve, files: Files
) -> None:
    address = await serve(files.service)
    code, _, told = await process(*command("get", "a", "--tls"), KEEPSTATE_ADDRESS=address)
    assert (code, told.count(b"\n")) == (69, 1), "one line, and nothing of gRPC's own log"
    assert told.startswith(b"keepstate: unavailable: no answer from " + address.encode())
    assert b"its certificate is not signed by a CA that the client trusts" in told
    roots = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(files.ca)}
    assert (await process(*command("get", "a", "--tls"), KEEPSTATE_ADDRESS=address, **roots))[0] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tls-ca", "/nowhere/client_cert/ttl"], b"--tls-ca: cannot read /nowhere/client_cert/ttl: No such file"),
        (["--tls-client-cert", "/nowhere"], b"both --tls-client-cert and --tls-client-key"),
    ],
)
async def test_wrong_flags_of_tls_are_wrong_usage(flags: list[str], words: bytes) -> None:
    code, _, told = await process(*command("get", "a", *flags))
    assert code == 2
    assert words in b" ".join(told.split())


async def test_files_that_are_gone_later_do_no_harm(serve: Serve, files: Files) -> None:
    address = await serve(files.service)
    copy = files.ca.with_name("copy.pem")
    copy.write_bytes(files.ca.read_bytes())
    async with Client(address, tls=Tls(ca=copy)) as state:
        copy.unlink()
        for _ in range(2):
            assert await state.get("nobody") is None


async def test_certificates_that_are_renewed_while_the_service_is_away_leave_one_channel(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(files.ca.read_bytes())
    made: list[grpc.aio.Channel] = []
    make = grpc.aio.secure_channel

    def noted(*arguments: Any, **named: Any) -> grpc.aio.Channel:
        made.append(make(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(grpc.aio, "secure_channel", noted)
    async with Client("localhost:1", tls=Tls(ca=ca), retry=None) as state:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await state.get("a")
            ca.write_bytes(ca.read_bytes() + files.ca.read_bytes())
        with pytest.raises(Unavailable):
            await state.get("a")
        states = [each.get_state() for each in made]
    assert len(states) == 4
    assert [each is grpc.ChannelConnectivity.SHUTDOWN for each in states] == [True, True, True, False]


async def test_a_call_that_is_repeated_goes_on_with_the_certificate_that_came_meanwhile(
    serve: Serve, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(files.other_ca.read_bytes())

    async def renew(_: float) -> None:
        ca.write_bytes(files.ca.read_bytes())

    monkeypatch.setattr(keepstate._connection, "_sleep", renew)
    async with Client(await serve(files.service), tls=Tls(ca=ca)) as state:
        assert await state.get("nobody", default="answered") == "answered"


async def test_a_call_under_way_ends_on_the_channel_on_which_it_was_begun(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, ca = FakeService(), tmp_path / "ca.pem"
    server, address = await service.serve(server_credentials(files.service, None))
    arrived, over = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> None:
        arrived.set()
        await over.wait()

    ca.write_bytes(files.ca.read_bytes())
    service.script.append(hang)
    async with Client(address, tls=Tls(ca=ca)) as state:
        slow = asyncio.create_task(state.get("a", default="slow"))
        await arrived.wait()
        with monkeypatch.context() as patch:  # as in an outage that the call lives through
            patch.setattr(keepstate._channels.Channel, "connected", False)
            ca.write_bytes(ca.read_bytes() + files.ca.read_bytes())
            assert await state.get("b", default="quick") == "quick"
        assert not slow.done()
        over.set()
        assert await slow == "slow"
    await server.stop(None)
