"""What each Dapr state component is known to do, by type and version: the one table that decides how it is used.

Seen on live sidecars; docs/stores.md has what was seen. A component that is not here is never written: its declared
capabilities hide what matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

from keepstate_server.domain.promises import TITLES, Keeping, PromiseStatus
from keepstate_server.stores.base import Absence, Isolation, Lack, StateStore
from keepstate_server.stores.judgement import Kind
from keepstate_server.stores.kind_probes import KindProbes
from keepstate_server.stores.kinds import POSTGRESQL, REDIS, SQL
from keepstate_server.stores.redis import RedisStore
from keepstate_server.stores.sidecar import Component, Sidecar
from keepstate_server.stores.sql import SqlStore

__all__ = ["Knowledge", "knowledge_of", "promises_of_reads", "refusal_of"]


class MakeStore(Protocol):
    """Makes what the engine sees of a component."""

    def __call__(
        self, sidecar: Sidecar, component: Component, *, shared: bool, kind: Kind, probes: KindProbes | None
    ) -> StateStore:
        """See ``DaprStore``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """How one kind of component is used."""

    make: MakeStore
    kind: Kind
    durability: str
    """What the store may lose of acknowledged writes."""
    expiry: str = ""
    """What is to be known of expiry (promise 7)."""

    def promises(self, isolation: Isolation, *, shared: bool = False) -> list[PromiseStatus]:
        """Returns how each promise is kept on such a store, given the isolation of its calls.

        ``shared``: other programs go on writing the same keys.
        """
        special = {
            3: PromiseStatus(number=3, keeping=Keeping.STAGED, reason=_SHARED_ETAGS if shared else ""),
            7: PromiseStatus(number=7, keeping=Keeping.STAGED, reason=self.expiry),
            9: PromiseStatus(number=9, keeping=Keeping.NATIVE, reason="staged where other stores take part")
            if isolation is Isolation.ROLLBACK
            else PromiseStatus(number=9, keeping=Keeping.STAGED, reason="by intents and an outcome"),
            11: PromiseStatus(number=11, keeping=Keeping.STAGED, reason=_SHARED_REPEATS if shared else ""),
            15: PromiseStatus(number=15, keeping=Keeping.REFUSED, reason=_NO_GRANTS),
        }
        return [special.get(number) or PromiseStatus(number=number, keeping=Keeping.STAGED) for number in TITLES]


_NO_GRANTS = "no grants in this version: whoever is let in may do everything"
_SHARED_ETAGS = "shared: ends where another program deletes a record, and a write under way may bring that back"
_SHARED_REPEATS = (
    "shared: a repeat after another program's write is OUTCOME_UNKNOWN; after its delete, or while the first attempt "
    "still runs, it may be applied again"
)

_BY_READS = frozenset({1, 2, 8, 10, 13, 14, 16})
"""The promises that reads alone keep, too."""


def promises_of_reads(lack: Lack) -> list[PromiseStatus]:
    """Returns how each promise is kept on a store that is never written."""
    return [
        PromiseStatus(
            number=number,
            keeping=Keeping.STAGED if number in _BY_READS else Keeping.REFUSED,
            reason=lack.explanation,
        )
        for number in TITLES
    ]


_SQL_EXPIRY = "the store removes a dead record once its dead life is over"

_KNOWN: Mapping[tuple[str, str], Knowledge] = MappingProxyType(
    {
        ("state.redis", "v1"): Knowledge(
            make=RedisStore,
            kind=REDIS,
            durability="what Redis had not written to disk or to its replicas: see appendfsync and replication",
            expiry="the service collects dead records: the store is never asked to let one expire",
        ),
        ("state.postgresql", "v2"): Knowledge(
            make=SqlStore,
            kind=POSTGRESQL,
            durability="nothing after a crash; after a failover what an asynchronous replica had not received",
            expiry=_SQL_EXPIRY,
        ),
        ("state.sqlite", "v1"): Knowledge(
            # A call that is broken off may leave a connection of the component inside its transaction: from then on
            # that one reads what was there before, and its writes fail (daprd 1.18.2, docs/stores.md).
            make=partial(SqlStore, breaks_off=False),
            kind=SQL,
            durability="nothing after a crash, if the file's disk keeps what was synced",
            expiry=_SQL_EXPIRY,
        ),
        ("state.in-memory", "v1"): Knowledge(
            # Its bulk read is single reads.
            make=partial(SqlStore, bulk_absence=Absence.CERTAIN),
            kind=SQL,
            durability="everything when the sidecar ends",
            expiry=_SQL_EXPIRY,
        ),
    }
)

_ALIASES = MappingProxyType({"state.postgres": "state.postgresql", "state.sqlite3": "state.sqlite"})


def knowledge_of(component: Component) -> Knowledge | None:
    """Returns what is known of such components; None: not enough to use them."""
    return _KNOWN.get((_ALIASES.get(component.type, component.type), component.version or "v1"))


def refusal_of(component: Component) -> str:
    """Says why ``component``, of which nothing is known, is not written."""
    if _ALIASES.get(component.type, component.type) == "state.postgresql":
        return "state.postgresql is used as version v2 only: write `version: v2` in the component file"
    return f"components of type {component.type} {component.version} have not been tried out with Keepstate"
