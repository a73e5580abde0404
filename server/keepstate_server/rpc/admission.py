"""How many calls and bytes may be under way, and what is turned away."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from keepstate_server.domain.errors import Overloaded

__all__ = ["Admission", "Held"]

_LEAST_BYTES = 4096
"""What any call takes, however short its message."""
_EXPECTED_OF_LAST = 1 / 16
"""How much the latest request counts for what is expected of the next one."""


class Admission:
    """Counts calls and bytes. A call alone is never too large."""

    def __init__(self, *, most_calls: int, most_bytes: int) -> None:
        """Lets ``most_calls`` be performed at a time, and requests and answers of ``most_bytes`` be under way."""
        self._most_calls = most_calls
        self._calls = 0
        self._most_bytes = most_bytes
        self._expected = float(_LEAST_BYTES)
        self.bytes = 0
        """Under way, with what is expected of requests that are not read yet."""

    def refuses_unread(self) -> bool:
        """Whether there is no room for one more request, of the size that the latest ones had."""
        return bool(self.bytes) and self.bytes + self._expected > self._most_bytes

    def expected(self) -> "Held":
        """Counts a request that is about to be read."""
        return Held(self, int(self._expected))

    def read(self, held: "Held", size: int) -> None:
        """Counts a request, that was expected, as what it is, and learns from it."""
        held.now(size)
        self._expected += (max(size, _LEAST_BYTES) - self._expected) * _EXPECTED_OF_LAST

    @property
    def is_over(self) -> bool:
        """Whether more bytes are under way than may be, as answers were larger than what asked for them."""
        return self.bytes > self._most_bytes

    @staticmethod
    def overloaded() -> Overloaded:
        """What is told where there are too many bytes."""
        return Overloaded("bytes of requests and answers under way")

    def refuse(self) -> NoReturn:
        """Raises it."""
        raise self.overloaded()

    @contextmanager
    def admitted(self, held: "Held | None") -> Iterator[None]:
        """Counts a call, whose request was read and counts as ``held``, for as long as it is performed.

        Raises:
            Overloaded: there are too many, or too many bytes.
        """
        if self._calls >= self._most_calls:
            raise Overloaded("calls under way")
        own = 0 if held is None else held.bytes
        if self.bytes > max(self._most_bytes, own):
            self.refuse()
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1


class Held:
    """The bytes of one call, which count until it has ended: until nobody holds this object any more.

    gRPC does not tell of a call that ends before its request was read.
    """

    __slots__ = ("_admission", "bytes")

    def __init__(self, admission: Admission, size: int) -> None:
        """Counts ``size`` bytes."""
        self._admission = admission
        self.bytes = size
        admission.bytes += size

    def now(self, size: int) -> None:
        """Counts ``size`` bytes instead."""
        self._admission.bytes += size - self.bytes
        self.bytes = size

    def __del__(self) -> None:
        self._admission.bytes -= self.bytes
