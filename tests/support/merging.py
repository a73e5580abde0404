"""What a JSON merge patch does, in the words of RFC 7396, section 2: updates are held to it."""

from __future__ import annotations

from typing import Any

__all__ = ["merged"]


def merged(target: Any, patch: Any) -> Any:
    """Returns ``target`` after ``patch``."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
