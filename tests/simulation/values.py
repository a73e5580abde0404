"""Values that clients write, and what updates make of them: promise 12 once more, in a few lines."""

from __future__ import annotations

import json
from enum import Enum
from functools import lru_cache
from typing import Any

from keepstate_server.domain.operations import Append, Change, Increment, MergePatch
from tests.support.merging import merged

__all__ = ["Form", "after", "canonical", "is_text", "unique"]

_LEAST, _GREATEST = -(2**63), 2**63 - 1


class Form(Enum):
    """What sort of value a record has as a rule."""

    TEXT = "text"
    NUMBER = "number"
    LIST = "list"
    OBJECT = "object"


def unique(form: Form, number: int) -> bytes:
    """Returns a value that no other number gives; no text is ever the result of an update."""
    match form:
        case Form.TEXT:
            return b"v%d" % number
        case Form.NUMBER:
            return b"%d000" % number
        case Form.LIST:
            return b"[%d]" % number
        case Form.OBJECT:
            return b'{"a":%d}' % number


def is_text(value: bytes) -> bool:
    """Says whether ``value`` is of the form that no update leaves."""
    return value[:1] in (b"v", b"r")


@lru_cache(maxsize=10_000)
def canonical(value: bytes) -> bytes:
    """Returns the same for values that differ in nothing but space and order of names."""
    return value if value[:1] not in (b"[", b"{") else _written(json.loads(value))


@lru_cache(maxsize=10_000)
def after(change: Change | None, value: bytes | None) -> bytes | None:
    """Returns what ``change`` makes of ``value`` (None: no record), canonical; None: it does not apply."""
    if value is not None and is_text(value):
        return None
    stored = None if value is None else json.loads(value)
    match change:
        case Increment():
            return _incremented(change, change.initial or 0 if stored is None else stored)
        case Append():
            items = [] if stored is None else stored
            if not isinstance(items, list):
                return None
            items += [json.loads(each) for each in change.items]
            return _written(items[-change.max_length :] if change.max_length else items)
        case MergePatch():
            return _written(merged({} if stored is None else stored, json.loads(change.patch)))
        case None:
            return None


def _incremented(change: Increment, number: Any) -> bytes | None:
    if not isinstance(number, int):
        return None
    number += change.delta
    least = _LEAST if change.minimum is None else change.minimum
    greatest = _GREATEST if change.maximum is None else change.maximum
    return b"%d" % number if least <= number <= greatest else None


def _written(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
