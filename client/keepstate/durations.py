"""Durations as people type them: ``1h30m``, ``90s``, ``1.5d``."""

from __future__ import annotations

__all__ = ["parse_duration"]

import re
from datetime import timedelta
from fractions import Fraction

_MICROSECONDS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read numbers with units (d, h, m, s, ms), the largest unit first and each at most once.

    Raises:
        ValueError: it is something else, is not a whole number of microseconds, or is too long.
    """
    parts = _PART.findall(text)
    units = [unit for _, unit in parts]
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 1h30m, 90s or 500ms")
    if units != [unit for unit in _MICROSECONDS if unit in units]:
        raise ValueError(f"{text!r} does not have each unit once, the largest first")
    total = sum((Fraction(number) * _MICROSECONDS[unit] for number, unit in parts), Fraction())
    if total.denominator != 1:
        raise ValueError(f"{text!r} is finer than a microsecond")
    try:
        return timedelta(microseconds=int(total))
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
