"""Certificates and keys in PEM files: read, and refused with the setting's name where they are none."""

from __future__ import annotations

__all__ = ["read_certificates", "read_key"]

import ssl
from os import PathLike
from pathlib import Path
from typing import TypeAlias

PathOf: TypeAlias = str | PathLike[str]

# What OpenSSL says of a key that does not fit: of the same kind as the certificate's, and of another.
_OF_ANOTHER = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")

# How a public key begins in a certificate, of the kinds that the gRPC library can use. With others it starts, and then
# every handshake fails.
_USABLE = (
    bytes.fromhex("06092a864886f70d0101010500"),  # RSA
    bytes.fromhex("06072a8648ce3d020106082a8648ce3d030107"),  # of the curve P-256
    bytes.fromhex("06072a8648ce3d020106052b81040022"),  # of the curve P-384
)

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def read_certificates(path: PathOf, *, name: str) -> bytes:
    """The content of a PEM file with at least one certificate.

    Args:
        path: the file.
        name: what the caller's users know it by; every message begins with it.

    Raises:
        ValueError: the file cannot be read, or holds no certificate.
    """
    data = _read(path, name)
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        trusted.load_verify_locations(cadata=data.decode("ascii", "ignore"))  # there may be remarks between them
    except ssl.SSLError:
        raise ValueError(f"{name}: {path} holds no certificate in PEM") from None
    return data


def read_key(path: PathOf, *, name: str, certificate: PathOf) -> bytes:
    """The content of a PEM file with the private key of the first certificate in another file.

    Raises:
        ValueError: the file cannot be read, holds no private key or one with a passphrase, that of another
            certificate, or one of a kind that gRPC cannot use.
    """
    data = _read(path, name)
    pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        pair.load_cert_chain(certificate, path, password=lambda: "")  # else a passphrase would be asked for
    except ssl.SSLError as error:
        if error.reason in _OF_ANOTHER:
            raise ValueError(f"{name}: {path} is not the key of the certificate in {certificate}") from None
        if error.reason and "_TOO_" in error.reason:
            why = error.reason.replace("_", " ").lower()
            raise ValueError(f"{name}: {path} and {certificate} are not safe: {why}") from None
        raise ValueError(f"{name}: {path} holds no private key in PEM without a passphrase") from None
    if not any(each in _first(_read(certificate, name)) for each in _USABLE):
        raise ValueError(f"{name}: {path} is neither an RSA key nor of the curves P-256 and P-384; gRPC uses no other")
    return data


def _first(pem: bytes) -> bytes:
    """The first certificate in a file, in DER; empty where it is written in an unusual way."""
    text = pem.decode("ascii", "ignore")
    begin, end = text.find(_BEGIN), text.find(_END)
    return ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)]) if 0 <= begin < end else b""


def _read(path: PathOf, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot read {path}: {error.strerror}") from None
