"""Components that were never tried out: read, and never written."""

from collections.abc import Sequence

from keepstate_server.stores.base import CompareAndSet, Isolation, Lack, Outcome, ReadResult, Stored
from keepstate_server.stores.dapr_store import DaprStore
from keepstate_server.stores.sidecar import Component, Sidecar

__all__ = ["UnknownStore"]

_NEVER = "the engine asks for the store's lack first"


class UnknownStore(DaprStore):
    """A component of which nothing is known but that it is a state store. What it does on a write nobody can tell."""

    isolation = Isolation.NONE
    tells_expiry = False
    removes_dead = False

    def __init__(self, sidecar: Sidecar, component: Component, *, refusal: str) -> None:
        """Reads ``component``; ``refusal`` says why it is not written."""
        super().__init__(sidecar, component)
        self._refusal = Lack(capability="known component", explanation=f"it can only be read: {refusal}")

    @property
    def lack(self) -> Lack:
        """That nothing is known of it."""
        return self._refusal

    async def prepare(self, *, timeout: float) -> Lack:
        """Learns nothing: one look would not tell enough."""
        del timeout
        return self._refusal

    async def write(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Sequence[Outcome]:
        """Never."""
        raise NotImplementedError(_NEVER)

    async def write_alone(self, write: CompareAndSet, *, timeout: float) -> Outcome:
        """Never."""
        raise NotImplementedError(_NEVER)

    async def transact(self, writes: Sequence[CompareAndSet], *, timeout: float) -> Outcome:
        """Never."""
        raise NotImplementedError(_NEVER)

    async def adopt(self, key: str, stored: Stored, *, tombstone: bytes, timeout: float) -> ReadResult:
        """Never."""
        raise NotImplementedError(_NEVER)
