"""Records, their etags, and what a write demands of them."""

import base64
import binascii
from datetime import timedelta
from enum import Enum
from typing import NewType

from keepstate_server.domain.times import Instant
from keepstate_server.domain.values import frozen

__all__ = [
    "ABSENT",
    "EXISTS",
    "KEEP_EXPIRY",
    "REPEATED_AFTER",
    "VERSION_BYTES",
    "Consistency",
    "Demand",
    "Etag",
    "Expiry",
    "KeepExpiry",
    "Precondition",
    "Record",
    "Request",
    "Version",
    "etag_of",
    "version_of",
]

Version = NewType("Version", bytes)
"""16 bytes that name one version in one life of one record."""

Etag = NewType("Etag", str)
"""The text by which callers know a version."""

VERSION_BYTES = 16

_ETAG_LENGTH = 22  # without the padding


def etag_of(version: Version) -> Etag:
    """Returns the public text of ``version``."""
    return Etag(base64.urlsafe_b64encode(version)[:_ETAG_LENGTH].decode())


def version_of(etag: str) -> Version:
    """Returns the version that ``etag`` is the text of.

    Raises:
        ValueError: this service never gave out such a text.
    """
    try:
        version = base64.b64decode(etag.encode("ascii") + b"==", altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not an etag") from error
    if len(version) != VERSION_BYTES or etag_of(Version(version)) != etag:
        raise ValueError("not an etag")
    return Version(version)


class Demand(Enum):
    """Preconditions that name no version."""

    ABSENT = "absent"
    EXISTS = "exists"


ABSENT = Demand.ABSENT
EXISTS = Demand.EXISTS

Precondition = Demand | Version | None
"""What a write demands of the record as it stands; None demands nothing."""


class KeepExpiry(Enum):
    """The type of ``KEEP_EXPIRY``."""

    KEEP = "keep"


KEEP_EXPIRY = KeepExpiry.KEEP

Expiry = Instant | KeepExpiry | None
"""When a written record is to expire: then, when it did before, or never."""


class Consistency(Enum):
    """Which copies of the store's data a read or write may deal with (promise 10)."""

    STRONG = "strong"
    EVENTUAL = "eventual"


@frozen
class Record:
    """A record that exists, as it was at one moment."""

    value: bytes
    content_type: str
    version: Version
    create_time: Instant | None
    """None: another program wrote the value."""
    update_time: Instant | None
    """None: another program wrote the value."""
    expire_time: Instant | None
    """None: never, or, of another program's value on a store that does not tell, unknown."""


REPEATED_AFTER = timedelta(seconds=20)
"""A request that was first sent longer ago than this counts as repeated: on its way it may have been."""


@frozen
class Request:
    """Tells one write from all others (promise 11)."""

    client: int
    number: int
    first_sent: Instant
    repeated: bool
    """Not the first attempt, or so old that it may not be."""
