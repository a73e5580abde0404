"""What surrounds all that the service stores: a magic number and a checksum.

A value that another program wrote is never mistaken for one of the service's: it would need both.
"""

import zlib
from typing import NewType

__all__ = ["DIRECTORY", "ENVELOPE", "JOURNAL", "OUTCOME", "Kind", "opened", "sealed"]

Kind = NewType("Kind", bytes)
"""Four bytes that begin whatever is stored; the first is in no UTF-8 text."""

ENVELOPE = Kind(b"\xf5KS\x01")
OUTCOME = Kind(b"\xf5KO\x01")
JOURNAL = Kind(b"\xf5KJ\x01")
DIRECTORY = Kind(b"\xf5KD\x01")

_HEAD = 8


def sealed(kind: Kind, body: bytes) -> bytes:
    """Returns the bytes to store."""
    return b"".join((kind, zlib.crc32(body).to_bytes(4, "big"), body))


def opened(kind: Kind, data: bytes) -> bytes | None:
    """Returns the body in ``data``, or None if it is none of this kind."""
    if not data.startswith(kind) or zlib.crc32(memoryview(data)[_HEAD:]) != int.from_bytes(data[4:_HEAD]):
        return None
    return data[_HEAD:]
