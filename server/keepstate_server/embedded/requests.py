"""From Dapr's messages to operations on the store."""

from __future__ import annotations

import json
import re
from typing import Final

from dapr.proto.common.v1.common_pb2 import StateItem, StateOptions

from keepstate_server.embedded import answers
from keepstate_server.embedded.operations import Deletion, Impossible, Operation, Upsert, WriteFailure

__all__ = ["deletion", "stored_key", "upsert"]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_MAX_TTL_SECONDS: Final = 2**31 - 1
# A longer row of digits is not even converted.
_MAX_DIGITS: Final = 64
_INT64_END: Final = 2**63
_SEPARATOR: Final = "||"


def stored_key(store: str, key: str) -> str:
    """The key in the data file: the store's name is its prefix, as daprd's ``keyPrefix: name`` has it.

    Raises:
        Refusal: the key holds the separator.
    """
    if _SEPARATOR in key:
        raise answers.illegal_key(store, key)
    return f"{store}{_SEPARATOR}{key}"


def upsert(store: str, item: StateItem) -> Operation:
    """The write that an item asks for.

    Raises:
        Refusal: the key holds the separator.
    """
    key = stored_key(store, item.key)
    ttl = _ttl_seconds(item.metadata.get("ttlInSeconds", ""))
    if isinstance(ttl, WriteFailure):
        return Impossible(failure=ttl)
    return Upsert(
        key=key,
        value=item.value,
        etag=item.etag.value,
        first_write=item.options.concurrency == StateOptions.CONCURRENCY_FIRST_WRITE,
        ttl_seconds=ttl if ttl > 0 else None,
    )


def deletion(store: str, key: str, etag: str) -> Deletion:
    """The deletion that a request asks for.

    Raises:
        Refusal: the key holds the separator.
    """
    return Deletion(key=stored_key(store, key), etag=etag)


def _ttl_seconds(text: str) -> int | WriteFailure:
    """The value of ``ttlInSeconds``; 0 and -1, like none at all, mean that the record does not expire."""
    if not text:
        return 0
    if not _INTEGER.fullmatch(text):
        return _bad_ttl(f"strconv.ParseInt: parsing {json.dumps(text[:_MAX_DIGITS])}: invalid syntax")
    seconds = int(text) if len(text) <= _MAX_DIGITS else _INT64_END
    if not -_INT64_END <= seconds < _INT64_END:
        return _bad_ttl(f"strconv.ParseInt: parsing {json.dumps(text[:_MAX_DIGITS])}: value out of range")
    if not -1 <= seconds <= _MAX_TTL_SECONDS:
        return _bad_ttl("must be -1 or greater")
    return seconds


def _bad_ttl(cause: str) -> WriteFailure:
    return WriteFailure(text=f"error parsing TTL: incorrect value for metadata 'ttlInSeconds': {cause}")
