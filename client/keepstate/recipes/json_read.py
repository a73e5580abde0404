"""A codec for recipes whose values have a form of their own."""

from __future__ import annotations

__all__ = ["WHOLE_NUMBERS", "JsonRead"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keepstate import Json

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class JsonRead(Json, Generic[T]):
    """JSON that is made into something as it is read. What ``reading`` raises becomes a ``DecodeError`` of the key."""

    reading: Callable[[Any], T]

    def decode(self, data: bytes) -> T:
        """What ``reading`` makes of it."""
        return self.reading(super().decode(data))


def _whole_number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("it is no whole number")
    return value


WHOLE_NUMBERS = JsonRead(reading=_whole_number)
"""What the service's increments leave."""
