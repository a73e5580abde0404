"""Keys as the convention has them: ``<domain>:<type>:<identifier>[:<sub-identifier>…]``."""

from __future__ import annotations

__all__ = ["MAX_KEY_BYTES", "key", "parse_key"]

import re
import unicodedata
from uuid import UUID

MAX_KEY_BYTES = 512
"""The longest key that the service accepts, in bytes of UTF-8."""

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})?")


def key(*parts: str | int | UUID) -> str:
    """Build a key of parts, so that no part can be mistaken for two, nor two keys for one.

    ``key("chat", "history", 42)`` is ``"chat:history:42"``. In a part, ``:``, ``|``, ``%``, control characters and
    line separators are percent-encoded.

    Raises:
        TypeError: a part is neither text nor a whole number nor a UUID.
        ValueError: there is no part, a part is empty or not encodable as UTF-8, or the key has more than 512 bytes.
    """
    if not parts:
        raise ValueError("a key needs at least one part")
    built = ":".join(_part(part, position) for position, part in enumerate(parts, 1))
    if (size := len(built.encode())) > MAX_KEY_BYTES:
        raise ValueError(f"the key has {size} bytes, more than {MAX_KEY_BYTES}")
    return built


def parse_key(text: str) -> tuple[str, ...]:
    """Take a key apart into the parts that ``key`` would build it of.

    Raises:
        ValueError: a part is empty, or holds a ``%`` that does not begin an escape, or an escape that is not UTF-8.
    """
    return tuple(_unescape(part, text) for part in text.split(":"))


def _part(part: str | int | UUID, position: int) -> str:
    if isinstance(part, bool) or not isinstance(part, str | int | UUID):
        raise TypeError(f"part {position} of the key is a {type(part).__name__}, not a str, int or UUID")
    text = str(part)
    if not text:
        raise ValueError(f"part {position} of the key is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"part {position} of the key cannot be encoded as UTF-8") from None
    return "".join(_escape(char) if _is_special(char) else char for char in text)


def _is_special(char: str) -> bool:
    # Separator of parts, what the service and Dapr keep for themselves, the escape itself, and what the service
    # refuses in keys: control characters (Cc), line (Zl) and paragraph (Zp) separators.
    return char in ":|%" or unicodedata.category(char) in ("Cc", "Zl", "Zp")


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _unescape(part: str, text: str) -> str:
    if not part:
        raise ValueError(f"the key {text!r} has an empty part")

    def byte(match: re.Match[str]) -> bytes:
        if match[1] is None:
            raise ValueError(f"the key {text!r} has a % that does not begin an escape")
        return bytes.fromhex(match[1])

    pieces, end = [], 0
    for match in _ESCAPE.finditer(part):
        pieces += [part[end : match.start()].encode(), byte(match)]
        end = match.end()
    try:
        return b"".join([*pieces, part[end:].encode()]).decode()
    except UnicodeError:
        raise ValueError(f"the key {text!r} has an escape that is not UTF-8") from None
