"""Sides that take turns, all of them in each round, so that what the machine does meanwhile hits all alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from bench.load import Measured
from bench.outcomes import Found

__all__ = ["take_turns"]


async def take_turns(
    sides: Mapping[str, Callable[[], Awaitable[Measured]]],
    *,
    rounds: int,
    spent: Callable[[], Mapping[str, float]] = dict,
) -> Found:
    """Runs the rounds; another side begins each.

    Args:
        sides: one round's work of each, by name.
        rounds: how many.
        spent: seconds of processor time so far, by where they were spent.
    """
    found, names = Found(), list(sides)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before = spent()
            measured = await sides[name]()
            after = spent()
            found.rates.setdefault(name, []).append(measured.rate)
            found.latencies.setdefault(name, []).append(measured.latency)
            places = found.microseconds.setdefault(name, {})
            for place, seconds in after.items():
                places.setdefault(place, []).append(1e6 * (seconds - before[place]) / measured.operations)
    return found
