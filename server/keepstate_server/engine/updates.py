"""What an update makes of a value (promise 12). Pure.

Values are changed as text: what an update does not name stays to the letter.
"""

import re
from typing import Any

from keepstate_server.domain.json_text import SPACE, after_mark, past_value, read_json
from keepstate_server.domain.operations import Append, Change, Increment, MergePatch
from keepstate_server.engine.merge_patch import merged, read_patch

__all__ = ["JSON", "NotApplicable", "changed"]

JSON = "application/json"
"""The content type of what an update leaves."""

_LEAST, _GREATEST = -(2**63), 2**63 - 1
_DECIMAL = re.compile(rb"[ \t\n\r]*(-?(?:0|[1-9][0-9]{0,18}))[ \t\n\r]*")


class NotApplicable(Exception):
    """The update does not fit the value that it met; says why, without the value."""


def changed(change: Change, value: bytes | None, *, most_bytes: int) -> bytes:
    """Returns what ``change`` makes of ``value``; None: there is no record.

    What the change carries must be JSON, see ``read_json``.

    Raises:
        NotApplicable: the value is not of the kind that the change is for, or would be out of bounds, or larger than
            ``most_bytes``.
    """
    result = _changed(change, value)
    if len(result) > most_bytes:
        raise NotApplicable(f"the value would be larger than {most_bytes} bytes")
    return result


def _changed(change: Change, value: bytes | None) -> bytes:
    match change:
        case Increment():
            return _incremented(change, value)
        case Append():
            return _appended(change, value)
        case MergePatch():
            return _merged(change, value)


def _incremented(change: Increment, value: bytes | None) -> bytes:
    number = (change.initial or 0) if value is None else _number(value)
    number += change.delta
    if number < (_LEAST if change.minimum is None else change.minimum):
        raise NotApplicable("the number would be less than the minimum")
    if number > (_GREATEST if change.maximum is None else change.maximum):
        raise NotApplicable("the number would be more than the maximum")
    return str(number).encode()


def _number(value: bytes) -> int:
    found = _DECIMAL.fullmatch(value)
    number = int(found[1]) if found else None
    if number is None or not _LEAST <= number <= _GREATEST:
        raise NotApplicable("the value is not a whole number of 64 bits")
    return number


def _appended(change: Append, value: bytes | None) -> bytes:
    text, items = _stored(b"[]" if value is None else value)
    if not isinstance(items, list):
        raise NotApplicable("the value is not a JSON list")
    new = [item.decode().strip(SPACE) for item in change.items]
    surplus = max(len(items) + len(new) - change.max_length, 0) if change.max_length else 0
    kept = _without_first(text, min(surplus, len(items)))
    new = new[max(surplus - len(items), 0) :]
    return f"[{','.join([kept, *new] if kept else new)}]".encode()


def _without_first(text: str, count: int) -> str:
    """Returns what the list ``text`` holds after its first ``count`` items, without its brackets."""
    at = after_mark(text, 0)
    for _ in range(count):
        _, end = past_value(text, at)
        at = after_mark(text, end)
    return text[at:-1].rstrip(SPACE)


def _merged(change: MergePatch, value: bytes | None) -> bytes:
    text, _ = _stored(b"{}" if value is None else value)
    try:
        return merged(text, read_patch(change.patch)).encode()
    except ValueError as fault:
        raise NotApplicable(f"the value {fault}") from None


def _stored(value: bytes) -> tuple[str, Any]:
    try:
        return read_json(value)
    except ValueError as fault:
        raise NotApplicable(f"the value {fault}") from None
