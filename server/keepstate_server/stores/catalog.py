"""Which stores the sidecar has."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from keepstate_server.domain.errors import StoreNotFound, StoreUnavailable, UnsupportedByStore
from keepstate_server.domain.promises import TITLES, Keeping, PromiseStatus
from keepstate_server.stores.base import StateStore
from keepstate_server.stores.knowledge import knowledge_of, refusal_of
from keepstate_server.stores.sidecar import Component, Sidecar, SidecarError
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["Catalog", "StoreInfo"]

_log = structlog.get_logger(__name__)

# A name that is not known may be that of a component loaded since; but not each such call may ask the sidecar.
_ASK_AGAIN_AFTER = 1.0

# How long a description of a store waits for one that does not answer.
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """One state component, and what is kept on it."""

    component: Component
    is_default: bool
    promises: Sequence[PromiseStatus]
    durability: str


class Catalog:
    """The sidecar's state components, by name; asked for once, and again when an unknown one is named."""

    def __init__(
        self, sidecar: Sidecar, *, default_store: str | None, shared_stores: Collection[str] = frozenset()
    ) -> None:
        """``default_store`` is where records are kept that name none; None: the only store, if there is only one.

        In ``shared_stores`` other programs go on writing the keys that callers write.
        """
        self._sidecar = sidecar
        self._default = default_store
        self._shared = frozenset(shared_stores)
        self._components: dict[str, Component] = {}
        self._stores: dict[str, StateStore] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def resolve(self, name: str, *, timeout: float) -> str | None:
        """Returns ``name``, or the default store's where it is empty; None where there is no default.

        Raises:
            StoreUnavailable: the sidecar does not answer.
        """
        if name or self._default:
            return name or self._default
        if not self._components:
            await self.refresh(timeout=timeout)
        return next(iter(self._components)) if len(self._components) == 1 else None

    @property
    def names(self) -> Sequence[str]:
        """The stores that can be used, as far as the sidecar was asked."""
        return sorted(self._stores)

    async def find(self, name: str, *, timeout: float) -> StateStore:
        """Returns a store that can be used.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            UnsupportedByStore: it has, but of a kind that is not used.
            StoreUnavailable: the sidecar does not answer.
        """
        if store := self._stores.get(name):
            return store
        component = await self._component(name, timeout)
        if store := self._stores.get(name):
            return store
        raise UnsupportedByStore(name, "known component", refusal_of(component))

    async def info(self, name: str, *, timeout: float) -> StoreInfo:
        """Describes one store.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            StoreUnavailable: the sidecar does not answer.
        """
        component = await self._component(name, timeout)
        is_default = name == await self.resolve("", timeout=timeout)
        knowledge, store = knowledge_of(component), self._stores.get(name)
        if knowledge is None or store is None:
            reason = refusal_of(component)
            refused = [PromiseStatus(number=number, keeping=Keeping.REFUSED, reason=reason) for number in TITLES]
            return StoreInfo(component=component, is_default=is_default, promises=refused, durability="not known")
        # What it lacks may show only by the probe before a first write. If that fails now, the answer is from before.
        await store.prepare(timeout=min(timeout, _PROBE_SECONDS))
        return StoreInfo(
            component=component,
            is_default=is_default,
            promises=knowledge.promises(store.isolation, shared=store.shared),
            durability=knowledge.durability,
        )

    async def infos(self, *, timeout: float) -> Sequence[StoreInfo]:
        """Describes all stores, by name.

        Raises:
            StoreUnavailable: the sidecar does not answer.
        """
        await self.refresh(timeout=timeout)
        return await asyncio.gather(*(self.info(name, timeout=timeout) for name in sorted(self._components)))

    async def refresh(self, *, timeout: float) -> None:
        """Asks the sidecar for its components.

        Raises:
            StoreUnavailable: it does not answer.
        """
        try:
            components = await self._sidecar.components(timeout=timeout)
        except SidecarError as error:
            _log.debug("sidecar does not list its components", detail=str(error))
            raise StoreUnavailable(self._default or "", nothing_sent=True) from None
        found = {each.name: each for each in components if each.type.startswith("state.")}
        for name, component in found.items():
            if self._components.get(name) != component:
                knowledge = knowledge_of(component)
                self._stores.pop(name, None)
                if knowledge:
                    self._stores[name] = knowledge.make(self._sidecar, component, shared=name in self._shared)
                else:
                    _log.warning("store not used", store=name, reason=refusal_of(component))
        for gone in self._components.keys() - found.keys():
            self._stores.pop(gone, None)
        if found != self._components:
            for unknown in sorted(self._shared - found.keys()):
                _log.warning("KEEPSTATE_SHARED_STORES names a store that the sidecar does not have", store=unknown)
        self._components = found
        self._asked_at = asyncio.get_running_loop().time()

    async def _component(self, name: str, timeout: float) -> Component:
        if name not in self._components:
            limit = TimeLimit(timeout)
            await self._wait_to_ask(timeout)
            try:
                ago = asyncio.get_running_loop().time() - self._asked_at
                if name not in self._components and ago > _ASK_AGAIN_AFTER:
                    await self.refresh(timeout=limit.left)
            finally:
                self._asking.release()
        if name not in self._components:
            raise StoreNotFound(name)
        return self._components[name]

    async def _wait_to_ask(self, timeout: float) -> None:
        """Takes the lock: one call asks the sidecar, the others use what it was told."""
        try:
            async with asyncio.timeout(timeout):
                await self._asking.acquire()
        except TimeoutError:
            raise StoreUnavailable(self._default or "", nothing_sent=True) from None
