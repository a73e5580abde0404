"""How long a call may take, and whether anybody still waits for it (promise 14)."""

import asyncio
import random
from collections.abc import Sequence

from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["Deadline", "Latest", "pause"]


class Deadline:
    """The moment by which a call must be answered, on the event loop's clock."""

    def __init__(self, seconds: float) -> None:
        """Begins now and ends in ``seconds``."""
        self._limit = TimeLimit(seconds)
        self._abandoned = False

    def abandon(self) -> None:
        """Notes that the caller has gone: what has not begun need not begin."""
        self._abandoned = True

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return self._limit.left

    @property
    def over(self) -> bool:
        """Whether the time is up, so that nobody would hear the answer."""
        return self.remaining <= 0

    @property
    def may_begin(self) -> bool:
        """Whether something new may be sent to the store on behalf of the call."""
        return not self._abandoned and not self.over

    def half(self) -> "Deadline":
        """Returns the moment at which half of what remains is over."""
        return Deadline(self.remaining / 2)

    async def sleep(self, seconds: float) -> None:
        """Waits for ``seconds``, or until the deadline if that comes first."""
        await asyncio.sleep(min(seconds, self.remaining))


class Latest(Deadline):
    """The deadline of work that is done for several callers: the latest of theirs."""

    def __init__(self, deadlines: Sequence[Deadline]) -> None:
        """Ends with the last of ``deadlines``."""
        super().__init__(0)
        self._deadlines = deadlines

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(each.remaining for each in self._deadlines)

    @property
    def may_begin(self) -> bool:
        """Whether something new may be sent to the store on behalf of any of them."""
        return any(each.may_begin for each in self._deadlines)


def pause(tries: int, source: random.Random) -> float:
    """Returns how many seconds to wait after ``tries`` refusals or failures: from nothing to 1 s, at random."""
    return source.uniform(0, min(0.002 * 2**tries, 1.0)) if tries > 1 else 0.0
