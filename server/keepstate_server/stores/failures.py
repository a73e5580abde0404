"""What the texts of failures tell."""

import re
from collections.abc import Iterable

__all__ = ["mentions_network", "mentions_trouble"]

# What the texts of failures contain where the network or a time limit had a part in it. Then a word like "mismatch"
# proves nothing: Redis components call every failure of a conditional write that.
_NETWORK_WORDS = (
    "i/o timeout",
    "connection re",
    "connection is closed",
    "closed network connection",
    "broken pipe",
    "deadline exceeded",
    "context canceled",
    "timed out",
    "dial tcp",
    "no such host",
    "connection pool",
)
# As Go writes it: a component may be called "geofence".
_EOF = re.compile(r"\bEOF\b")

# What a store says that is full, starts, ends, has lost its primary, or has a lock in the way. With a space each, so
# that no component's name looks like it.
_TROUBLE_WORDS = (
    "oom command not allowed",
    "execabort transaction",
    "misconf redis",
    "loading redis",
    "readonly you can't",
    "masterdown link",
    "clusterdown the",
    "clusterdown hash",
    "noreplicas not",
    "tryagain multiple",
    "database is locked",
    "disk is full",
    "disk i/o error",
    "readonly database",
    "sqlstate 08",
    "sqlstate 25006",
    "sqlstate 40",
    "sqlstate 53",
    "sqlstate 55p03",
    "sqlstate 57",
    "sqlstate 58",
)


def mentions_trouble(text: str) -> bool:
    """Says whether a failure's text tells of a state that will pass, and not of what was asked.

    Only where no key of a caller's is named: it may look like these.
    """
    lower = text.lower()
    return any(word in lower for word in _TROUBLE_WORDS)


def mentions_network(text: str, keys: Iterable[str]) -> bool:
    """Says whether a failure's text tells of the network or of a time limit.

    The ``keys`` that it names do not count, where they stand as stores name them: behind the component's prefix, or
    behind the word "key". Elsewhere they do: to take a key "e" out of the whole text would make "EOF" unreadable.
    """
    for key in filter(_has_network_words, keys):
        text = text.replace(f"||{key}", "||").replace(f"key {key}", "key ")
    return _has_network_words(text)


def _has_network_words(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _NETWORK_WORDS) or _EOF.search(text) is not None
