"""A sidecar that answers what a test tells it, and notes what it is asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from keepstate_server.domain.records import Consistency
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.base import Stored, StoreEtag
from keepstate_server.stores.sidecar import BulkItem, Component, Sidecar, SidecarError, StateItem


@dataclass(frozen=True)
class Asked:
    call: str
    items: tuple[StateItem, ...] = ()
    keys: tuple[str, ...] = ()
    consistency: Consistency | None = None


@dataclass
class FakeSidecar(Sidecar):
    """Keeps values under keys; an error that is queued for a call is raised by its next one."""

    values: dict[str, Stored] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    errors: dict[str, deque[SidecarError | None]] = field(default_factory=dict)
    """By call; None: that one succeeds."""
    bulk: dict[str, BulkItem] = field(default_factory=dict)
    """What a bulk read answers for a key instead of its value."""
    destroys: bool = False
    """Values of transactions come back as their bytes in words, as with Dapr's encryption."""
    message_limit: int = 1 << 30
    """How many bytes one answer of a bulk read may have."""
    known: list[Component] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(SidecarAddress(grpc="127.0.0.1:1", http=None), max_message_bytes=1024)

    def fail(self, call: str, code: grpc.StatusCode, text: str) -> None:
        self.errors.setdefault(call, deque()).append(SidecarError(code, text))

    def succeed(self, call: str) -> None:
        self.errors.setdefault(call, deque()).append(None)

    def calls(self, call: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.call == call]

    def _note(self, asked: Asked) -> None:
        self.asked.append(asked)
        queued = self.errors.get(asked.call)
        error = queued.popleft() if queued else None
        if error:
            raise error

    async def components(self, *, timeout: float) -> Sequence[Component]:
        assert timeout > 0
        self._note(Asked("components"))
        return self.known

    async def get(self, store: str, key: str, *, consistency: Consistency, timeout: float) -> Stored | None:
        assert timeout > 0
        self._note(Asked("get", keys=(key,), consistency=consistency))
        return self.values.get(key)

    async def get_bulk(self, store: str, keys: Sequence[str], *, timeout: float) -> Mapping[str, BulkItem]:
        assert timeout > 0
        self._note(Asked("get_bulk", keys=tuple(keys)))
        found = {
            key: self.bulk.get(key) or BulkItem(stored=self.values.get(key))
            for key in reversed(keys)
            if key not in self.bulk or self.bulk[key].error != "left out"
        }
        size = sum(len(item.stored.data) for item in found.values() if item.stored)
        if size > self.message_limit:
            raise SidecarError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"CLIENT: Received message larger than max ({size} vs. {self.message_limit})",
            )
        return found

    async def save(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        assert timeout > 0
        self._note(Asked("save", items=tuple(items)))
        self._keep(items, destroys=False)

    async def transact(self, store: str, items: Sequence[StateItem], *, timeout: float) -> None:
        assert timeout > 0
        self._note(Asked("transact", items=tuple(items)))
        self._keep(items, destroys=self.destroys)

    def _keep(self, items: Sequence[StateItem], *, destroys: bool) -> None:
        for item in items:
            data = str(list(item.value)).encode() if destroys else item.value
            self.values[item.key] = Stored(data=data, etag=StoreEtag("1"))
