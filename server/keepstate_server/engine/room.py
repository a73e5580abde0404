"""How much one answer may carry."""

from datetime import timedelta

from keepstate_server.domain.errors import Overloaded

__all__ = ["ANSWER_BYTES", "Room", "too_much"]

ANSWER_BYTES = 12 * 1024 * 1024
"""Of values: an answer must fit into a message of 16 MiB, and names and times need their part of it."""


class Room:
    """What an answer may still carry, in bytes of values."""

    def __init__(self, left: int = ANSWER_BYTES) -> None:
        """Begins with ``left`` bytes."""
        self.left = left

    @property
    def full(self) -> bool:
        """Whether nothing more has room, but for values of no bytes."""
        return self.left <= 0

    def take(self, size: int) -> bool:
        """Takes ``size`` bytes and says whether they had room. Where they had none, nothing after them has either."""
        fits = size <= self.left
        self.left = self.left - size if fits else 0
        return fits


def too_much() -> Overloaded:
    """Returns what an operation is answered for which the answer has no room."""
    # Clients know this limit by its name: keepstate's own read what had no room in another batch.
    return Overloaded("bytes in one answer", retry_after=timedelta(milliseconds=1))
