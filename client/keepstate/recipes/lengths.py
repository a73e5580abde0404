"""Which lengths of time recipes take."""

from __future__ import annotations

__all__ = ["must_be_positive"]

from datetime import timedelta


def must_be_positive(**lengths: timedelta) -> None:
    """Refuse a recipe's lengths of time, by the names of its arguments.

    Raises:
        TypeError: one is no timedelta, e.g. a number of seconds.
        ValueError: one is not longer than nothing.
    """
    for name, length in lengths.items():
        if not isinstance(length, timedelta):
            raise TypeError(f"{name} must be a timedelta, not a {type(length).__name__}")
        if length <= timedelta():
            raise ValueError(f"{name} must be positive, not {length}")
