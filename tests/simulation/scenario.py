"""What a seed comes to: which stores, what network, how many of whom, and what they do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from keepstate_server.domain.names import RecordName
from keepstate_server.engine import trail
from keepstate_server.engine.journal import MOST_NOTES
from tests.simulation.clients import Habits
from tests.simulation.history import record
from tests.simulation.network import Network, Outage
from tests.simulation.stores import KINDS
from tests.simulation.values import Form

__all__ = [
    "FULL_TRAIL",
    "GATHERED",
    "Component",
    "Scenario",
    "crowded_scenario_of",
    "gathered_scenario_of",
    "hot_scenario_of",
    "scenario_in_turn",
    "scenario_of",
]

FULL_TRAIL = trail._MAX_WRITES

GATHERED = 100
"""How many clients write one record."""

# One history of so many is of gathered clients: it takes as long as thirty others.
_GATHERED_EVERY = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One of the stores."""

    name: str = "sim"
    kind: str
    encrypted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """What a seed comes to."""

    seed: str
    stores: Sequence[Component]
    network: Network
    habits: Habits
    clients: int = 3
    instances: int = 2
    gathering: bool = True
    """Store calls of several callers go out together."""
    trail_writes: int = FULL_TRAIL
    journal_notes: int = MOST_NOTES
    raw: bool = False
    """Another program had written some of the records."""
    plain_writes: int = 0
    """How often another program writes one of the records while clients do: then all stores are marked as shared."""
    plain_deletes: float = 0.0
    """The share of these that are deletes."""
    crashes: tuple[tuple[float, int], ...] = ()
    """When which instance ends without a word and is started again."""


def scenario_in_turn(seed: int) -> Scenario:
    """Returns the scenario of ``seed``, now and then one of gathered clients."""
    if seed % _GATHERED_EVERY == _GATHERED_EVERY - 1:
        kinds = sorted(KINDS, key="state.redis".__ne__)
        return gathered_scenario_of(seed, kind=kinds[seed // _GATHERED_EVERY % len(kinds)])
    return scenario_of(seed)


class _Updates(TypedDict):
    updates: float
    forms: Sequence[Form]


def scenario_of(seed: int | str, *, kind: str | None = None) -> Scenario:
    """Returns the scenario of ``seed``, on a store of ``kind`` if that is given."""
    if random.Random(f"crowd {seed}").random() < 0.15:
        return crowded_scenario_of(seed, kind=kind)
    chance = random.Random(f"scenario {seed}")
    stores = _stores(chance, kind)
    if chance.random() < 0.2:
        return hot_scenario_of(seed, kind=stores[0].kind)
    clients = chance.randint(2, 4)
    thinks = chance.choice(((0.002,), (0.02,), (0.02, 0.02, 2.0), (0.02, 1.0, 12.0), (0.02, 0.5, 30.0, 1200.0)))
    faults = chance.choice((0.0, 0.03, 0.1, 0.25))
    network = Network(latency=chance.choice((0.002, 0.01, 0.05)), slow=chance.choice((0.0, 0.0, 0.05)))
    habits = Habits(
        names=_names(chance, stores),
        calls=chance.randint(3, 12 // clients + 3),
        thinks=thinks,
        ttls=chance.choice(((60_000,), (500, 4_000), (1_000, 15_000, 1_000_000))),
        batches=chance.choice((0.0, 0.2, 0.5)),
        transactions=chance.choice((0.0, 0.3, 0.8) if len(stores) == 1 else (0.3, 0.6)),
        snapshots=chance.choice((0.0, 0.1, 0.3)),
        **_updates(chance),
    )
    if faults:
        # Not every run has every fault: where one hides another, both go unseen.
        network = replace(
            network,
            lost=faults * chance.choice((0, 0.5)),
            unheard=faults * chance.choice((0.5, 1)),
            late=faults * chance.choice((0, 1)),
            full=chance.choice((0.0, 0.0, 0.05)),
            broken_off=chance.choice((0.0, 0.2)),
            outages=_outages(chance, clients, stores),
        )
        habits = replace(
            habits,
            patience=chance.choice((1.0, 0.9, 0.6)),
            beside=chance.choice((0.0, 0.1, 0.4)),
            transit=chance.choice((0.005, 0.005, 3.0, 40.0)),
            deadlines=chance.choice(((10.0,), (10.0, 1.0), (10.0, 0.05, 3.5))),
        )
    # Where Dapr encrypts Redis, another program's value is adopted by writing it again, which changes its etag.
    raw = chance.random() < 0.2 and not any(each.encrypted and each.kind == "state.redis" for each in stores)
    return _perhaps_shared(
        Scenario(
            seed=str(seed),
            stores=stores,
            network=network,
            habits=habits,
            clients=clients,
            instances=chance.randint(1, 3),
            gathering=_gathering(seed),
            trail_writes=chance.choice((1, 2, 3, 5, FULL_TRAIL)),
            raw=raw,
            crashes=_crashes(chance, clients) if faults else (),
        ),
        chance,
    )


def _gathering(seed: int | str) -> bool:
    return random.Random(f"gathering {seed}").random() < 0.8


def _perhaps_shared(scenario: Scenario, chance: random.Random) -> Scenario:
    """Returns the scenario, now and then with another program that goes on writing."""
    # Where Dapr encrypts Redis, see above.
    if chance.random() >= 0.15 or any(each.encrypted and each.kind == "state.redis" for each in scenario.stores):
        return scenario
    # Of two attempts at one time the one finds what the other left, and a plain write takes that away: nobody can tell.
    habits = replace(scenario.habits, beside=0.0, patience=1.0)
    scenario = replace(scenario, plain_writes=chance.choice((2, 5, 10)), habits=habits)
    redis = any(each.kind == "state.redis" for each in scenario.stores)
    if redis or not scenario.network.faultless or chance.random() < 0.5:
        return scenario
    # After a delete nothing is left to tell a repeat by, and Redis creates where a write names what is gone.
    habits = replace(scenario.habits, doubts=0.0, batches=0.0)
    return replace(scenario, plain_deletes=0.5, habits=habits)


def _stores(chance: random.Random, kind: str | None) -> Sequence[Component]:
    """Returns one store as a rule, else two, of kinds that may differ."""
    names = ("sim",) if chance.random() < 0.7 else ("sim", "other")
    kinds = [chance.choice(KINDS) if chance.random() < 0.6 else "state.redis" for _ in names]
    if kind is not None:
        kinds[0] = kind
    return [
        Component(name=name, kind=each, encrypted=chance.random() < 0.1)
        for name, each in zip(names, kinds, strict=True)
    ]


def _names(chance: random.Random, stores: Sequence[Component]) -> Sequence[RecordName]:
    keys = ("a", "b", "c")
    if len(stores) == 1:
        return [record(key) for key in keys[: chance.choice((1, 1, 2, 3))]]
    return [record(key, store.name) for store in stores for key in keys[: chance.choice((1, 1, 2))]]


def _updates(chance: random.Random) -> _Updates:
    """Returns how many of the writes are updates, and of what."""
    share = chance.choice((0.0, 0.0, 0.3, 0.7))
    forms = chance.sample((Form.NUMBER, Form.LIST, Form.OBJECT), 2) if share else [Form.TEXT]
    return {"updates": share, "forms": forms}


def _crashes(chance: random.Random, instances: int) -> tuple[tuple[float, int], ...]:
    count = chance.choice((0, 0, 1, 4))
    return tuple((chance.random() * chance.choice((0.1, 3.0, 20.0)), chance.randrange(instances)) for _ in range(count))


def hot_scenario_of(seed: int | str, *, kind: str = "state.redis") -> Scenario:
    """Returns a scenario in which many write one record or two, repeat beside first attempts, and trails are short.

    What needs several rare things at the same time is found in these.
    """
    chance = random.Random(f"hot scenario {seed}")
    share = chance.choice((0.0, 0.5, 0.8))
    stores = [Component(kind=kind, encrypted=share > 0 and chance.random() < 0.15)]
    if share and chance.random() < 0.3:
        stores.append(Component(name="other", kind=chance.choice(KINDS)))
    clients, instances = chance.randint(2, 4), chance.randint(2 if share else 1, 3)
    hot = Scenario(
        seed=f"hot {seed}",
        stores=stores,
        network=Network(
            latency=chance.choice((0.01, 0.1)),
            lost=chance.choice((0.0, 0.1)),
            unheard=chance.choice((0.1, 0.3)),
            late=chance.choice((0.0, 0.1, 0.3)),
            slow=chance.choice((0.0, 0.1)),
        ),
        habits=Habits(
            names=[record("a"), record("b", stores[-1].name), record("c")][: chance.randint(2, 3) if share else 1],
            calls=chance.randint(3, 6),
            thinks=chance.choice(((0.01,), (0.3,), (2.0,), (2.0, 2.0, 6000.0))),
            ttls=(60_000,),
            batches=chance.choice((0.0, 0.3)),
            transactions=share,
            snapshots=share / 4,
            **_updates(chance),
            patience=chance.choice((0.8, 0.4)),
            beside=chance.choice((0.2, 0.6)),
            transit=chance.choice((0.01, 0.5, 3.0)),
            deadlines=(10.0, 1.0),
        ),
        clients=clients,
        instances=instances,
        gathering=_gathering(seed),
        trail_writes=chance.choice((1, 1, 2)),
        crashes=_crashes(chance, instances) if share else (),
    )
    return _perhaps_shared(hot, chance)


def crowded_scenario_of(seed: int | str, *, kind: str | None = None) -> Scenario:
    """Returns a scenario in which several ask one instance at a time, some with little patience, on a record or two.

    What they ask goes out together: here that is put to the test.
    """
    chance = random.Random(f"crowd of {seed}")
    stores = (Component(kind=kind or chance.choice(("state.redis", *KINDS)), encrypted=chance.random() < 0.1),)
    faults = chance.choice((0.0, 0.1, 0.25))
    clients, instances = chance.randint(4, 7), chance.choice((1, 1, 2))
    network = Network(
        latency=chance.choice((0.005, 0.02, 0.1)),
        lost=faults * chance.choice((0, 0.5)),
        unheard=faults * chance.choice((0.5, 1)),
        late=faults * chance.choice((0, 1)),
        slow=chance.choice((0.0, 0.1)),
    )
    habits = Habits(
        names=[record("a"), record("b")][: chance.choice((1, 1, 2))],
        calls=chance.randint(2, 4),
        thinks=chance.choice(((0.0,), (0.01,), (0.05,))),
        ttls=(60_000,),
        batches=chance.choice((0.0, 0.3)),
        transactions=chance.choice((0.0, 0.0, 0.2)),
        **_updates(chance),
        patience=chance.choice((1.0, 0.7)),
        beside=chance.choice((0.0, 0.1)),
        transit=0.005,
        deadlines=chance.choice(((10.0,), (10.0, 0.05), (10.0, 0.3, 0.03))),
    )
    return Scenario(
        seed=f"crowd {seed}",
        stores=stores,
        network=network,
        habits=habits,
        clients=clients,
        instances=instances,
        gathering=_gathering(seed),
        trail_writes=chance.choice((1, 3, FULL_TRAIL)),
        crashes=_crashes(chance, instances) if faults else (),
    )


def gathered_scenario_of(seed: int | str, *, kind: str = "state.redis") -> Scenario:
    """Returns a scenario in which a hundred clients write one record through two instances, without faults."""
    habits = Habits(
        names=[record("a")],
        calls=2,
        thinks=(0.02,),
        ttls=(60_000,),
        slides=0.0,
        batches=0.2,
        updates=0.5,
        forms=(Form.NUMBER,),
        named=1.0,
        doubts=0.0,
    )
    return Scenario(
        seed=f"gathered {seed}",
        stores=(Component(kind=kind),),
        network=Network(),
        habits=habits,
        clients=GATHERED,
        instances=2,
    )


def _outages(chance: random.Random, sidecars: int, stores: Sequence[Component]) -> tuple[Outage, ...]:
    outages = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        begin = chance.random() * chance.choice((0.1, 3.0, 20.0))
        outages.append(
            Outage(
                begin=begin,
                end=begin + chance.choice((0.02, 1.0, 20.0)) * chance.random(),
                paused=chance.random() < 0.6,
                store=chance.choice(stores).name,
                sidecar=chance.choice((None, None, chance.randrange(sidecars))),
            )
        )
    return tuple(outages)
