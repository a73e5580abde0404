"""How records are named, and how a name becomes a store's key.

Promise 16: any printable UTF-8 key up to 512 bytes, encoded so that no key reaches another namespace's records.
"""

import re
from dataclasses import dataclass

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_NAMESPACE_BYTES",
    "RecordName",
    "internal_key",
    "key_fault",
    "namespace_fault",
    "stored_key",
]

MAX_KEY_BYTES = 512
MAX_NAMESPACE_BYTES = 128

# Control characters (C0, DEL, C1), the two separators that break lines, and halves of surrogate pairs. Unassigned code
# points are allowed: which are assigned depends on the Unicode version of whoever asks.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Dapr's sidecar splits keys at "||" and refuses callers' keys that contain it.
_DAPR_SEPARATOR = "||"

_INTERNAL = "%keepstate/"  # no namespace is encoded to this: "%" always becomes "%25"


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordName:
    """A key within a namespace within a store; the store is always filled in."""

    store: str
    namespace: str
    key: str


def key_fault(key: str) -> str | None:
    """Says what is wrong with ``key``, or returns None."""
    return "must not be empty" if not key else _text_fault(key, MAX_KEY_BYTES)


def namespace_fault(namespace: str) -> str | None:
    """Says what is wrong with ``namespace``, or returns None. The empty one is the default namespace."""
    return _text_fault(namespace, MAX_NAMESPACE_BYTES)


def stored_key(namespace: str, key: str) -> str:
    """Returns the key under which the store keeps the record: distinct names have distinct keys."""
    return f"{_encoded(namespace)}/{_encoded(key)}" if namespace else _encoded(key)


def internal_key(name: str) -> str:
    """Returns the store's key of a record of the service's own, which no caller can name."""
    return _INTERNAL + name


def _encoded(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")


def _text_fault(text: str, limit: int) -> str | None:
    if unprintable := _UNPRINTABLE.search(text):
        where = f"U+{ord(unprintable[0]):04X} at {unprintable.start()}"
        return f"must not contain control characters or line separators ({where})"
    if _DAPR_SEPARATOR in text:
        return 'must not contain "||"'
    if (size := len(text.encode())) > limit:
        return f"must be at most {limit} bytes, not {size}"
    return None
