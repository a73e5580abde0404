"""One time limit for a method that makes several calls."""

import asyncio

__all__ = ["TimeLimit"]


class TimeLimit:
    """Ends so many seconds from now, on the event loop's clock."""

    def __init__(self, seconds: float) -> None:
        self._time = asyncio.get_running_loop().time
        self._at = self._time() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(self._at - self._time(), 0.0)
