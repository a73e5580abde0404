"""Every sort of scenario, and who acts in each."""

from __future__ import annotations

from tests.simulation.collecting import Collecting, collecting_clients, collecting_scenario_of
from tests.simulation.locking import Locking, locking_clients, locking_scenario_of
from tests.simulation.perform import Run, perform, random_clients
from tests.simulation.scenario import Scenario, scenario_in_turn

__all__ = ["any_scenario_of", "perform_any"]

# One history of so many is of collection: it takes as long as three others.
_COLLECTING_EVERY = 7

# One of so many is of a lock, if it is not of collection.
_LOCKING_EVERY = 17


def any_scenario_of(seed: int) -> Scenario:
    """Returns the scenario of ``seed``: one of seven is of collection, about one of twenty of a lock."""
    if seed % _COLLECTING_EVERY == 3:
        return collecting_scenario_of(seed)
    return locking_scenario_of(seed) if seed % _LOCKING_EVERY == 5 else scenario_in_turn(seed)


def perform_any(scenario: Scenario, *, trace: bool = False) -> Run:
    """Runs ``scenario``, of whatever sort."""
    match scenario:
        case Collecting():
            script = collecting_clients
        case Locking():
            script = locking_clients
        case _:
            script = random_clients
    return perform(scenario, script=script, trace=trace)
