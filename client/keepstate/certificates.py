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
        ValueError: the file cannot be read, holds no private key or one with a passphrase, or that of another
            certificate.
    """
    data = _read(path, name)
    pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        pair.load_cert_chain(certificate, path, password=lambda: "")  # else a passphrase would be asked for
    except ssl.SSLError as error:
        if error.reason in _OF_ANOTHER:
            raise ValueError(f"{name}: {path} is not the key of the certificate in {certificate}") from None
        if error.reason is None:
            raise ValueError(f"{name}: {path} holds no private key in PEM without a passphrase") from None
        why = error.reason.replace("_", " ").lower()
        raise ValueError(f"{name}: {path} and {certificate} cannot be used: {why}") from None
    return data


def _read(path: PathOf, name: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{name}: cannot read {path}: {error.strerror}") from None
