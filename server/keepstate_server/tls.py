"""The service's certificate: read from its files, checked, and read again when they change."""

import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
import structlog

from keepstate.certificates import read_certificates, read_key
from keepstate_server.config import BadConfiguration, TlsFiles

__all__ = ["Certificates"]

_log = structlog.get_logger(__name__)

_OTHERS_MAY_READ = 0o004


@dataclass(frozen=True, kw_only=True, repr=False)
class _Content:
    """What is in the files."""

    cert: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """What the gRPC server offers its clients, as the files have it at each handshake.

    Files that do not belong together, as while they are being replaced, are logged once, and what was read before
    goes on.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Reads the files.

        Raises:
            BadConfiguration: one of them is not what it should be; the message names the setting.
        """
        self._files = files
        try:
            self._offered = self._read()
        except ValueError as error:
            raise BadConfiguration(str(error)) from None
        self._reported = ""
        self._turn = threading.Lock()
        self._tell_of_loading()

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """What a server's port needs."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._offered),
            self._at_handshake,  # type: ignore[arg-type]  # None is allowed, whatever the library's types say
            require_client_authentication=self._files.client_ca is not None,
        )

    def _at_handshake(self) -> grpc.ServerCertificateConfiguration | None:
        """What is to be offered from now on; None: as before. gRPC calls it before each handshake, in its threads."""
        with self._turn:
            try:
                found = self._read(known=self._offered)
            except ValueError as error:
                # The next handshake looks again, but tells only what is new.
                if str(error) != self._reported:
                    _log.error("certificate not taken: the one before goes on", why=str(error))
                    self._reported = str(error)
                return None
            self._reported = ""
            if found == self._offered:
                return None
            self._offered = found
            self._tell_of_loading()
            return _configuration(found)

    def _read(self, known: _Content | None = None) -> _Content:
        """Reads the files, and checks them unless they are as known.

        Raises:
            ValueError: one of them is not what it should be.
        """
        files = self._files
        content = _content(files)
        if content is not None and content == known:
            return content
        read_certificates(files.cert, name="KEEPSTATE_TLS_CERT")
        read_key(files.key, name="KEEPSTATE_TLS_KEY", certificate=files.cert)
        if files.client_ca is not None:
            read_certificates(files.client_ca, name="KEEPSTATE_TLS_CLIENT_CA")
        if content is None or _content(files) != content:  # then it is not what was checked
            raise ValueError("KEEPSTATE_TLS_CERT: the files were replaced while they were read")
        return content

    def _tell_of_loading(self) -> None:
        files = self._files
        try:
            if files.key.stat().st_mode & _OTHERS_MAY_READ:
                _log.warning("every user of this machine may read the key", file=str(files.key))
            expires = _try(files, self._offered.cert)
        except ssl.SSLCertVerificationError as error:
            _log.warning("clients will not take the certificate", file=str(files.cert), why=error.verify_message)
        except OSError:
            pass  # they have been replaced already: the next handshake will tell of those
        else:
            _log.info("certificate loaded", file=str(files.cert), expires=expires.isoformat())


def _content(files: TlsFiles) -> _Content | None:
    """None: one of them cannot be read."""
    try:
        return _Content(
            cert=files.cert.read_bytes(),
            key=files.key.read_bytes(),
            client_ca=files.client_ca.read_bytes() if files.client_ca else None,
        )
    except OSError:
        return None


def _configuration(content: _Content) -> grpc.ServerCertificateConfiguration:
    pair = (content.key, content.cert)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=content.client_ca)


def _try(files: TlsFiles, cert: bytes) -> datetime:
    """Shakes hands, in memory, with a client that trusts this very certificate; returns when it expires.

    Raises:
        SSLCertVerificationError: that client refuses: the certificate has expired, or is not for a server.
    """
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(files.cert, files.key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    theirs.load_verify_locations(cadata=cert.decode("ascii", "ignore"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(to_client, to_server)
    server = ours.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = client.getpeercert()
    assert shown
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(shown["notAfter"])), UTC)
