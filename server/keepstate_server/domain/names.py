"""How records are named, and how a name becomes a store's key.

Promise 16: any printable UTF-8 key up to 512 bytes, so that no key reaches another namespace's records.

In the store the first ``/`` ends the namespace, and what follows is the key as it is. Keys of the default namespace
stand without one: there a ``/`` within the key is written ``%2F``, and so that nothing is taken for that, what looks
like it has one ``25`` more: ``%2F`` becomes ``%252F``. Everything else stays, so that almost every key of another
program has a name, and exactly one.
"""

import re

from keepstate_server.domain.values import frozen

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_NAMESPACE_BYTES",
    "RecordName",
    "internal_key",
    "key_fault",
    "name_in_store",
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

# The service's own records. No name leads there: a namespace that looks like this one has one "25" more.
_INTERNAL = "%keepstate/"
_LIKE_INTERNAL = re.compile("%(?:25)*keepstate/")

# What is escaped, in front of more text: in a namespace, with the "/" that ends it, and in a key of the default one.
_IN_NAMESPACE = re.compile("(?:/|%(?:25)*2F)(?=.)")
_IN_KEY = re.compile(f"(?<=.){_IN_NAMESPACE.pattern}")


@frozen
class RecordName:
    """A key within a namespace within a store; the store is always filled in."""

    store: str
    namespace: str
    key: str


def key_fault(key: str) -> str | None:
    """Says what is wrong with ``key``, or returns None."""
    # Almost every key is like this, and every call names some.
    if 0 < len(key) <= MAX_KEY_BYTES and key.isascii() and key.isprintable() and "|" not in key:
        return None
    return "must not be empty" if not key else _text_fault(key, MAX_KEY_BYTES)


def namespace_fault(namespace: str) -> str | None:
    """Says what is wrong with ``namespace``, or returns None. The empty one is the default namespace."""
    if not namespace:
        return None
    return _text_fault(namespace, MAX_NAMESPACE_BYTES)


def stored_key(namespace: str, key: str) -> str:
    """Returns the key under which the store keeps the record: distinct names have distinct keys."""
    if namespace:
        plain = "/" not in namespace and "%" not in namespace
        return f"{namespace}/{key}" if plain else _escaped(f"{namespace}/", _IN_NAMESPACE) + key
    if "/" not in key and "%" not in key:
        return key
    return key if key.startswith("/") else _escaped(key, _IN_KEY)


def name_in_store(stored: str) -> tuple[str, str]:
    """Returns the namespace and the key that ``stored`` is the stored key of.

    Raises:
        ValueError: there is none; says why.
    """
    if stored.startswith(_INTERNAL):
        raise ValueError("is a record of the service's own")
    namespace, slash, key = stored.partition("/")
    if namespace and key:
        namespace = _unescaped(namespace + slash, _IN_NAMESPACE)[:-1]
    else:
        namespace, key = "", stored if stored.startswith("/") else _unescaped(stored, _IN_KEY)
    if fault := namespace_fault(namespace):
        raise ValueError(f"has no name: what is before its first / {fault}")
    if fault := key_fault(key):
        raise ValueError(f"has no name: a key {fault}")
    return namespace, key


def internal_key(name: str) -> str:
    """Returns the store's key of a record of the service's own, which no caller can name."""
    return _INTERNAL + name


def _escaped(text: str, slashes: re.Pattern[str]) -> str:
    if _LIKE_INTERNAL.fullmatch(text):
        return f"%25{text[1:]}"
    return slashes.sub(lambda found: "%2F" if found[0] == "/" else f"%25{found[0][1:]}", text)


def _unescaped(text: str, slashes: re.Pattern[str]) -> str:
    if _LIKE_INTERNAL.fullmatch(text):
        return f"%{text[3:]}"
    return slashes.sub(lambda found: "/" if found[0] == "%2F" else f"%{found[0][3:]}", text)


def _text_fault(text: str, limit: int) -> str | None:
    if unprintable := _UNPRINTABLE.search(text):
        where = f"U+{ord(unprintable[0]):04X} at {unprintable.start()}"
        return f"must not contain control characters or line separators ({where})"
    if _DAPR_SEPARATOR in text:
        return 'must not contain "||"'
    if (size := len(text.encode())) > limit:
        return f"must be at most {limit} bytes, not {size}"
    return None
