"""Which stores the sidecar has."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from keepstate_server.domain.errors import (
    DeadlineExceeded,
    Overloaded,
    StoreNotFound,
    StoreUnavailable,
    UnsupportedByStore,
)
from keepstate_server.domain.promises import PromiseStatus
from keepstate_server.stores.base import Failure, Lack, StateStore
from keepstate_server.stores.checks import CouldNotTell
from keepstate_server.stores.judgement import Finding, findings_of
from keepstate_server.stores.kind_probes import KindProbes, seen_for_sure
from keepstate_server.stores.kinds import UNKNOWN
from keepstate_server.stores.knowledge import Knowledge, knowledge_of, promises_of_reads, refusal_of
from keepstate_server.stores.probe import Observation, Prober
from keepstate_server.stores.sidecar import Component, Sidecar, SidecarError
from keepstate_server.stores.time_limit import TimeLimit
from keepstate_server.stores.unknown import UnknownStore

__all__ = ["Catalog", "ProbeReport", "StoreInfo"]

_log = structlog.get_logger(__name__)

# A name that is not known may be that of a component loaded since; but not each such call may ask the sidecar.
_ASK_AGAIN_AFTER = 1.0

# How long a description of a store waits for one that does not answer.
_PROBE_SECONDS = 1.0

# How long is waited for a store that nobody waits for, before the next of its kind is looked at.
_LOOK_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """One state component, and what is kept on it."""

    component: Component
    is_default: bool
    promises: Sequence[PromiseStatus]
    durability: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeReport:
    """What a probe of one store found, and how the store is used because of it."""

    info: StoreInfo
    findings: Sequence[Finding]


class Catalog:
    """The sidecar's state components, by name; asked for once, and again when an unknown one is named."""

    def __init__(
        self,
        sidecar: Sidecar,
        *,
        default_store: str | None,
        shared_stores: Collection[str] = frozenset(),
        probe: bool = False,
    ) -> None:
        """Lists what ``sidecar`` has.

        Args:
            sidecar: where the components are.
            default_store: where records are kept that name none; None: the only store, if there is only one.
            shared_stores: where other programs go on writing the keys that callers write.
            probe: whether stores are looked at before they are written; else they are taken for what is known of them.
        """
        self._sidecar = sidecar
        self._default = default_store
        self._shared = frozenset(shared_stores)
        self._prober = Prober(sidecar)
        self._probes = KindProbes(self._prober) if probe else None
        self._probing: set[str] = set()
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
        """The stores that can be written, as far as the sidecar was asked."""
        return sorted(name for name, store in self._stores.items() if store.lack is None)

    async def find(self, name: str, *, timeout: float) -> StateStore:
        """Returns a store. It may be one that is only read: see its ``lack``.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            StoreUnavailable: the sidecar does not answer.
        """
        if name not in self._stores:
            await self._component(name, timeout)
        return self._stores[name]

    async def find_for_writing(self, name: str, *, timeout: float) -> StateStore:
        """Returns a store that can be written.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            UnsupportedByStore: it can only be read.
            StoreUnavailable: the sidecar or the store does not answer.
        """
        limit = TimeLimit(timeout)
        store = await self.find(name, timeout=limit.left)
        match await store.prepare(timeout=limit.left):
            case Lack(capability=capability, explanation=explanation):
                raise UnsupportedByStore(name, capability, explanation)
            case Failure(detail=detail):
                _log.warning("store not ready", store=name, detail=detail)
                raise StoreUnavailable(name, nothing_sent=True)
        return store

    async def info(self, name: str, *, timeout: float) -> StoreInfo:
        """Describes one store.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            StoreUnavailable: the sidecar does not answer.
        """
        component = await self._component(name, timeout)
        is_default = name == await self.resolve("", timeout=timeout)
        knowledge, store = knowledge_of(component), self._stores[name]
        # What it lacks may show only when it is looked at. If that fails now, the answer is from before.
        await store.prepare(timeout=min(timeout, _PROBE_SECONDS))
        return StoreInfo(
            component=component,
            is_default=is_default,
            promises=_promises(store, knowledge),
            durability=knowledge.durability if knowledge else "not known",
        )

    async def probe(self, name: str, *, timeout: float) -> ProbeReport:
        """Tries out all that can be seen of a store, with keys of its own; what was seen counts from then on.

        Raises:
            StoreNotFound: the sidecar has no state component of this name.
            StoreUnavailable: the sidecar or the store does not answer.
            Overloaded: it is being probed already.
            DeadlineExceeded: the time was up before the end.
        """
        limit = TimeLimit(timeout)
        component = await self._component(name, limit.left)
        knowledge = knowledge_of(component)
        kind = knowledge.kind if knowledge else UNKNOWN
        if name in self._probing:
            raise Overloaded("probes of one store at a time")
        self._probing.add(name)
        try:
            observations = await seen_for_sure(lambda: self._prober.look_closely(name, timeout=limit.left), kind)
        except CouldNotTell as error:
            _log.warning("store not probed", store=name, detail=str(error))
            raise (StoreUnavailable(name) if limit.left else DeadlineExceeded) from None
        finally:
            self._probing.discard(name)
        observations.insert(0, _acquaintance(component, known=knowledge is not None))
        if knowledge is None or self._probes is None:
            findings = findings_of(observations, kind)
        else:
            findings = self._probes.learn(component, kind, observations)
        return ProbeReport(info=await self.info(name, timeout=max(limit.left, _PROBE_SECONDS)), findings=findings)

    async def look_at_all(self) -> None:
        """Looks at every store before the first write to it has to. Raises nothing for what a store does.

        Components of one kind follow each other, so that one look serves them all.
        """
        kinds: dict[tuple[str, str], list[StateStore]] = {}
        for name, component in self._components.items():
            kinds.setdefault((component.type, component.version), []).append(self._stores[name])
        await asyncio.gather(*map(_look_at_each, kinds.values()))

    async def look_again(self) -> None:
        """Looks at each store that is only read, if it is time to. Raises nothing for what a store does."""
        lacking = [store for store in self._stores.values() if store.lack is not None]
        await asyncio.gather(*(store.prepare(timeout=_LOOK_SECONDS) for store in lacking))

    async def close(self) -> None:
        """Ends what is being looked at, and waits until nothing is left of it in the stores."""
        if self._probes is not None:
            await self._probes.close()
        await self._prober.close()

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
                if knowledge := knowledge_of(component):
                    self._stores[name] = knowledge.make(
                        self._sidecar, component, shared=name in self._shared, kind=knowledge.kind, probes=self._probes
                    )
                else:
                    self._stores[name] = UnknownStore(self._sidecar, component, refusal=refusal_of(component))
                    _log.warning("store is only read", store=name, reason=refusal_of(component))
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


async def _look_at_each(stores: Sequence[StateStore]) -> None:
    for store in stores:
        await store.prepare(timeout=_LOOK_SECONDS)


def _acquaintance(component: Component, *, known: bool) -> Observation:
    detail = f"{component.type} {component.version or 'v1'}" if known else refusal_of(component)
    return Observation(check="known component", seen="yes" if known else "no", detail=detail, seconds=0)


def _promises(store: StateStore, knowledge: Knowledge | None) -> Sequence[PromiseStatus]:
    if lack := store.lack:
        return promises_of_reads(lack)
    assert knowledge is not None  # what is not known has a lack
    return knowledge.promises(store.isolation, shared=store.shared)
