"""The service's certificates: what is offered at a handshake, also after the files were replaced."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from keepstate import Client, Tls, Unavailable
from keepstate_server.app import Service
from keepstate_server.config import BadConfiguration, Settings, SidecarKind, TlsFiles
from keepstate_server.tls import Certificates
from tests.support.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def replace(target: Path, source: Path) -> None:
    """As it is done right: the new file is whole when it appears."""
    copy = target.with_suffix(".new")
    copy.write_bytes(source.read_bytes())
    copy.chmod(0o600)
    copy.rename(target)


def files_of(pair: Pair, client_ca: Path | None = None) -> TlsFiles:
    return TlsFiles(cert=pair.cert, key=pair.key, client_ca=client_ca)


# A live service


class Live:
    """A service with TLS whose files a test may replace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = Authority(folder / "old"), Authority(folder / "new")
        self.pair = self.old.issue("localhost", file="service")
        self.client = self.old.issue("client")
        self.new_client = self.new.issue("client")
        self.address = ""

    def settings(self, **changes: Any) -> Settings:
        files: dict[str, Any] = {
            "tls_cert": self.pair.cert,
            "tls_key": self.pair.key,
            "tls_client_ca": self.old.file,
        } | changes
        return Settings(
            http_listen=None,
            sidecar=SidecarKind.EMBEDDED,
            data=self.folder,
            notice=timedelta(milliseconds=1),
            **{"listen": "127.0.0.1:0", **files},
        )

    async def get(self, authority: Authority | Path, pair: Pair) -> object:
        """What a client gets that trusts an authority, or what is in its file, and has this certificate."""
        ca = authority.file if isinstance(authority, Authority) else authority
        tls = Tls(ca=ca, client_cert=pair.cert, client_key=pair.key)
        async with Client(self.address, tls=tls, retry=None) as state:
            return await state.get("nobody", default="answered")


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    live = Live(tmp_path / "live")
    service = Service(live.settings())
    await service.start()
    await service.wait_ready()
    live.address = f"localhost:{service.port}"
    yield live
    await service.stop()


async def test_replaced_files_are_offered_to_the_next_client(live: Live, logged: list[Any]) -> None:
    tls = Tls(ca=live.old.file, client_cert=live.client.cert, client_key=live.client.key)
    async with Client(live.address, tls=tls, retry=None) as connected:
        assert await connected.get("nobody") is None
        other = live.new.issue("localhost", file="service")
        for target, source in ((live.pair.cert, other.cert), (live.pair.key, other.key)):
            replace(target, source)
        assert await live.get(live.new, live.client) == "answered", "the service's new certificate"
        with pytest.raises(Unavailable, match="not signed by a CA"):
            await live.get(live.old, live.client)
        assert await connected.get("nobody") is None, "a connection that was there goes on"
    assert [line["event"] for line in logged if line["event"].startswith("certificate")] == ["certificate loaded"]


async def test_a_replaced_ca_of_clients_admits_those_of_the_new_one_alone(live: Live) -> None:
    assert await live.get(live.old, live.client) == "answered"
    with pytest.raises(Unavailable, match="may not accept this client certificate"):
        await live.get(live.old, live.new_client)
    trusted = live.folder / "trusted.pem"
    replace(trusted, live.old.file)
    replace(live.old.file, live.new.file)
    assert await live.get(trusted, live.new_client) == "answered"
    with pytest.raises(Unavailable, match="may not accept this client certificate"):
        await live.get(trusted, live.client)
    live.old.file.write_bytes(trusted.read_bytes() + live.new.file.read_bytes())
    for pair in (live.client, live.new_client):
        assert await live.get(live.old, pair) == "answered", "a file may hold several"


async def test_files_that_do_not_fit_are_told_once_and_the_old_go_on(live: Live, logged: list[Any]) -> None:
    def errors() -> list[Any]:
        return [line for line in logged if line["log_level"] == "error"]

    other = live.new.issue("localhost", file="service")
    replace(live.pair.cert, other.cert)  # half of the replacement
    for _ in range(3):
        assert await live.get(live.old, live.client) == "answered"
    (told,) = errors()
    assert told["event"] == "certificate not taken: the one before goes on"
    assert "KEEPSTATE_TLS_KEY" in told["why"]
    replace(live.pair.key, other.key)
    assert await live.get(live.new, live.client) == "answered"
    live.pair.cert.unlink()
    assert await live.get(live.new, live.client) == "answered"
    assert "KEEPSTATE_TLS_CERT: cannot read" in errors()[-1]["why"]


async def test_a_swapped_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    """As Kubernetes replaces a mounted secret: file -> ..data/file, ..data -> a folder with its time in the name."""
    old, new = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    for authority in (old, new):
        authority.issue("localhost", file="tls")
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(tmp_path / "1")
    for name in ("tls.pem", "tls.key"):
        (mount / name).symlink_to(Path("..data") / name)
    live = Live(tmp_path / "live")
    service = Service(live.settings(tls_cert=mount / "tls.pem", tls_key=mount / "tls.key"))
    await service.start()
    try:
        await service.wait_ready()
        live.address = f"localhost:{service.port}"
        assert await live.get(old, live.client) == "answered"
        (mount / "..new").symlink_to(tmp_path / "2")
        (mount / "..new").rename(mount / "..data")
        assert await live.get(new, live.client) == "answered"
    finally:
        await service.stop()


async def test_a_client_shows_its_renewed_certificate_at_its_next_connection(tmp_path: Path) -> None:
    live = Live(tmp_path / "live")
    tls = Tls(ca=live.pair.cert.with_name("trusted.pem"), client_cert=live.client.cert, client_key=live.client.key)
    replace(Path(str(tls.ca)), live.old.file)
    first = Service(live.settings())
    await first.start()
    await first.wait_ready()
    async with Client(f"localhost:{first.port}", tls=tls, retry=None) as state:
        assert await state.get("nobody", default="answered") == "answered"
        await first.stop()
        # From now on only what the new authority has signed is admitted, at the same port.
        second = Service(live.settings(listen=f"127.0.0.1:{first.port}", tls_client_ca=live.new.file))
        await second.start()
        try:
            await second.wait_ready()
            with pytest.raises(Unavailable, match="may not accept this client certificate"):
                await state.get("nobody")
            for target, source in ((live.client.cert, live.new_client.cert), (live.client.key, live.new_client.key)):
                replace(target, source)
            assert await state.get("nobody", default="answered") == "answered"
        finally:
            await second.stop()


# What is said of files


def test_a_loaded_certificate_says_when_it_expires(authority: Authority, logged: list[Any]) -> None:
    Certificates(files_of(authority.issue("localhost", valid=timedelta(days=3))))
    (line,) = logged
    assert (line["log_level"], line["event"]) == ("info", "certificate loaded")
    assert line["expires"].endswith("+00:00")


def test_an_expired_certificate_is_warned_of(authority: Authority, logged: list[Any]) -> None:
    Certificates(files_of(authority.issue("localhost", valid=timedelta(days=-1))))
    (line,) = logged
    assert (line["log_level"], line["why"]) == ("warning", "certificate has expired")


def test_a_key_that_others_may_read_is_warned_of(authority: Authority, logged: list[Any]) -> None:
    pair = authority.issue("localhost")
    pair.key.chmod(0o640)
    Certificates(files_of(pair))
    assert not [line for line in logged if line["log_level"] == "warning"]
    pair.key.chmod(0o644)
    Certificates(files_of(pair))
    (line,) = (line for line in logged if line["log_level"] == "warning")
    assert line["file"] == str(pair.key)


def test_nothing_of_the_key_is_logged(authority: Authority, logged: list[Any]) -> None:
    pair = authority.issue("localhost")
    pair.key.chmod(0o644)
    Certificates(files_of(pair))
    secret = pair.key.read_text().splitlines()[1]
    assert secret not in str(logged)


def test_files_that_are_replaced_while_they_are_read_are_not_mixed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, other = authority.issue("localhost"), authority.issue("localhost", file="other")
    load = ssl.SSLContext.load_cert_chain

    def replaced_meanwhile(context: ssl.SSLContext, *arguments: Any, **named: Any) -> None:
        for target, source in ((pair.cert, other.cert), (pair.key, other.key)):
            source.replace(target)
        load(context, *arguments, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", replaced_meanwhile)
    with pytest.raises(BadConfiguration, match="replaced while they were read"):
        Certificates(files_of(pair))


async def test_a_wrong_file_stops_the_start_and_its_setting_is_named(tmp_path: Path) -> None:
    live = Live(tmp_path / "live")
    text = tmp_path / "text"
    text.write_text("no certificate")
    wrong: list[tuple[str, dict[str, Path]]] = [
        ("KEEPSTATE_TLS_CERT: cannot read", {"tls_cert": tmp_path / "nowhere"}),
        ("KEEPSTATE_TLS_CERT: .* holds no certificate", {"tls_cert": text}),
        ("KEEPSTATE_TLS_KEY: cannot read", {"tls_key": tmp_path / "nowhere"}),
        ("KEEPSTATE_TLS_KEY: .* holds no private key", {"tls_key": text}),
        ("KEEPSTATE_TLS_KEY: .* is not the key of", {"tls_key": live.client.key}),
        ("KEEPSTATE_TLS_CLIENT_CA: cannot read", {"tls_client_ca": tmp_path / "nowhere"}),
        ("KEEPSTATE_TLS_CLIENT_CA: .* holds no certificate", {"tls_client_ca": text}),
    ]
    for words, changes in wrong:
        service = Service(live.settings(**changes))
        with pytest.raises(BadConfiguration, match=words):
            await service.start()
        await service.stop()
