"""How keys of a store are read: one so that its absence is certain, many in portions."""

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Absence, Failure, StateStore, Stored

__all__ = ["FIRST_KEYS", "MOST_KEYS", "READ_BYTES", "Portions", "next_keys", "read_one"]

FIRST_KEYS = 16
"""How many of many keys are read first: what they bring shows how large values are."""

MOST_KEYS = 128
"""How many keys go into one call of the sidecar: enough to share its cost, too few to hold others up."""

READ_BYTES = 4 * 1024 * 1024
"""About how much one call shall read."""

# By how many values that are small one that was large is forgotten, about.
_REMEMBERED = 64


class Portions:
    """How many keys of one store to read first, by how large its values were lately."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._size: float | None = None

    @property
    def first(self) -> int:
        """How many keys to read first."""
        return FIRST_KEYS if self._size is None else next_keys(1, int(self._size))

    def saw(self, size: int) -> None:
        """Notes the size of one value. A large one counts at once, and is forgotten by and by."""
        if self._size is None or size > self._size:
            self._size = size
        else:
            self._size += (size - self._size) / _REMEMBERED


def next_keys(keys: int, read: int) -> int:
    """Returns how many keys to read next, where so many ``keys`` brought that many bytes."""
    return max(1, min(MOST_KEYS, keys * READ_BYTES // read if read else MOST_KEYS))


async def read_one(store: StateStore, key: str, *, timeout: float) -> Stored | Failure | None:
    """Returns what stands under ``key``, within ``timeout`` seconds; None: certainly nothing."""
    found = (await store.read([key], consistency=Consistency.STRONG, sure=True, timeout=timeout))[key]
    return None if isinstance(found, Absence) else found
