"""TLS between the client and the service."""

from __future__ import annotations

__all__ = ["Pem", "Tls", "explained", "read_files"]

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from keepstate.certificates import PathOf, read_certificates, read_key


@dataclass(frozen=True, kw_only=True)
class Tls:
    """An encrypted connection to a service whose certificate is verified. The files are in PEM.

    Without any field the service's certificate must be signed by a public CA.
    """

    ca: PathOf | None = None
    """The file of the CA that signed the service's certificate. None: public CAs, those that come with the gRPC library
    whatever the system trusts, or those in the file that ``GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`` names.
    """

    client_cert: PathOf | None = None
    """The file of the client's own certificate, and those between it and its CA. For services that demand one."""

    client_key: PathOf | None = None
    """The file of its private key, without a passphrase."""

    server_name: str | None = None
    """The name that the service's certificate must have. None: the host of the address."""

    def __post_init__(self) -> None:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("give both client_cert and client_key, or none of them")


@dataclass(frozen=True, kw_only=True, repr=False)
class Pem:
    """What is in the files."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC needs of it."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.certificate)


def read_files(tls: Tls) -> Pem:
    """Read and check the files.

    Raises:
        ValueError: one cannot be read, or does not hold what it should; the message names the field.
    """
    ca = None if tls.ca is None else read_certificates(tls.ca, name="tls.ca")
    if tls.client_cert is None or tls.client_key is None:
        return Pem(ca=ca)
    certificate = read_certificates(tls.client_cert, name="tls.client_cert")
    key = read_key(tls.client_key, name="tls.client_key", certificate=tls.client_cert)
    return Pem(ca=ca, certificate=certificate, key=key)


# Parts of gRPC's words where a connection was not made, and what they mean to a client with TLS.
_MEANINGS: Mapping[str, str] = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS; the client does",
    "unable to get local issuer certificate": "its certificate is not signed by a CA that the client trusts",
    "self signed certificate": "its certificate is not signed by a CA that the client trusts",
    "self-signed certificate": "its certificate is not signed by a CA that the client trusts",
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet",
    "is not in peer certificate": "its certificate is for another name",
}

# How a connection ends whose handshake the service has broken off. Also one of a service that ends just then.
_BROKEN_OFF = ("Socket closed", "Connection reset", "Broken pipe")


def explained(message: str, tls: Tls | None) -> str:
    """Put what gRPC's words for a failed connection mean for TLS before them. Other words are left as they are."""
    if not message.startswith("failed to connect to all addresses"):
        return message
    meaning = None
    if tls is not None:
        meaning = next((meaning for words, meaning in _MEANINGS.items() if words in message), None)
    if meaning is None and any(words in message for words in _BROKEN_OFF):
        if tls is None:
            meaning = "it closed the connection: it may demand TLS"
        elif tls.client_cert is None:
            meaning = "it closed the connection: it may demand a client certificate"
        else:
            meaning = "it closed the connection: it may not accept this client certificate"
    return f"{meaning} ({message})" if meaning else message
