"""The flags of commands that write: what the write demands of the record, and when the record is to expire."""

from __future__ import annotations

__all__ = ["Write", "with_write"]

from datetime import datetime, timedelta
from typing import TypedDict

from keepstate.cli._flags import with_flags
from keepstate.cli._options import ConsistencyOption, ExpireAt, IfAbsent, IfEtag, IfExists, KeepExpiry, Ttl
from keepstate.records import Consistency


class Write(TypedDict):
    """What the flags say, as the client's calls take it."""

    if_absent: bool
    if_exists: bool
    if_etag: str | None
    ttl: timedelta | None
    expire_at: datetime | None
    keep_expiry: bool
    consistency: Consistency


def _write(
    if_absent: IfAbsent = False,
    if_exists: IfExists = False,
    if_etag: IfEtag = None,
    ttl: Ttl = None,
    expire_at: ExpireAt = None,
    keep_expiry: KeepExpiry = False,
    consistency: ConsistencyOption = Consistency.STRONG,
) -> Write:
    return Write(
        if_absent=if_absent,
        if_exists=if_exists,
        if_etag=if_etag,
        ttl=ttl,
        expire_at=expire_at,
        keep_expiry=keep_expiry,
        consistency=consistency,
    )


with_write = with_flags("write", _write)
"""Gives a command these flags in the place of its parameter ``write``."""
