"""Certificates of CAs that live as long as a test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA, and the files of what it issues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, file: str = "", valid: timedelta = timedelta(days=1)) -> Pair:
        """Issue a certificate for names, which ends so long from now."""
        issued = self._ca.issue_cert(
            *names, not_before=datetime.now(UTC) - timedelta(days=2), not_after=datetime.now(UTC) + valid
        )
        stem = self._folder / (file or names[0])
        pair = Pair(cert=stem.with_suffix(".pem"), key=stem.with_suffix(".key"))
        pair.cert.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair


def server_credentials(pair: Pair, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """What a server of the gRPC library needs to offer TLS, and to demand certificates of clients."""
    return grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.cert.read_bytes())],
        root_certificates=client_ca.read_bytes() if client_ca else None,
        require_client_auth=client_ca is not None,
    )
