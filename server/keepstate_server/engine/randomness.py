"""Where identifiers come from."""

import os
import random

__all__ = ["Randomness"]

_BLOCK_BYTES = 4096

_forks = 0  # between this process and the one that its memory was copied from first


def _note_fork() -> None:
    global _forks  # noqa: PLW0603 - a fork is the process's, not any object's
    _forks += 1


os.register_at_fork(after_in_child=_note_fork)


class Randomness(random.SystemRandom):
    """The system's source of randomness, of which bytes are fetched in blocks: every write takes some.

    A process that is forked off begins a block of its own, so that no two processes ever get the same bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._block = b""
        self._at = 0
        self._forks = _forks

    def randbytes(self, n: int) -> bytes:
        """Returns ``n`` bytes that were returned to nobody before."""
        end = self._at + n
        if end > len(self._block) or self._forks != _forks:
            self._forks = _forks
            self._block = os.urandom(max(_BLOCK_BYTES, n))
            self._at, end = 0, n
        found = self._block[self._at : end]
        self._at = end
        return found
