"""One key of a store, read so that its absence is certain."""

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.base import Absence, Failure, StateStore, Stored

__all__ = ["read_one"]


async def read_one(store: StateStore, key: str, *, timeout: float) -> Stored | Failure | None:
    """Returns what stands under ``key``, within ``timeout`` seconds; None: certainly nothing."""
    found = (await store.read([key], consistency=Consistency.STRONG, sure=True, timeout=timeout))[key]
    return None if isinstance(found, Absence) else found
