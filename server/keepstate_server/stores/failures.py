"""What the texts of failures tell."""

from collections.abc import Iterable

__all__ = ["mentions_network"]

# What the texts of failures contain where the network or a time limit had a part in it. Then a word like "mismatch"
# proves nothing: Redis components call every failure of a conditional write that.
_NETWORK_WORDS = (
    "i/o timeout",
    "eof",
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
    return any(word in lower for word in _NETWORK_WORDS)
