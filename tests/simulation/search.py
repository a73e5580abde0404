"""Is there an order in which all this happened? Wing and Gong's search, as Lowe made it quick: with a memory.

Knows nothing of records: an event says which states it leads to from one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Event", "in_some_order"]

S = TypeVar("S")


@dataclass(frozen=True, kw_only=True)
class Event(Generic[S]):
    """Something that took effect at one moment between its begin and its end."""

    begin: float
    end: float
    must: bool
    """Else it may never have taken effect; its end is then infinite."""
    reads: bool
    """It changes nothing."""
    step: Callable[[S, float], Sequence[S]]
    """The states after it, given that before and the time that it cannot be earlier than; none: impossible."""
    likely: float = math.inf
    """When it took effect, as far as can be guessed: what is tried first."""
    after: int = 0
    """The events (bits, by their place in what is searched) that must have happened before it."""
    what: Callable[[], str] = str
    """For people."""


def in_some_order(events: Sequence[Event[S]], start: S, *, budget: int) -> tuple[bool | None, Sequence[str]]:
    """Says whether the events, in order of their begin, can have happened one after the other; None: too much to try.

    An event that only reads, and can come next, may as well: it changes nothing for the others, not even how late it
    is. Also returns the longest beginning of such an order.
    """
    must = sum(1 << place for place, event in enumerate(events) if event.must)
    by_end = sorted((event.end, place) for place, event in enumerate(events) if event.must)
    # The least likely first: what is put on the stack last is tried first.
    preferred = sorted(range(len(events)), key=lambda place: (events[place].must, -events[place].likely))
    stack: list[tuple[int, S, float, tuple[int, ...]]] = [(0, start, 0.0, ())]
    seen: set[tuple[int, S]] = set()
    longest: tuple[int, ...] = ()
    while stack:
        done, state, low, order = stack.pop()
        if done & must == must:
            return True, ()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > budget:
            return None, ()
        if len(order) > len(longest):
            longest = order
        until = next(end for end, place in by_end if not done >> place & 1)
        top = len(stack)
        for place in preferred:
            event = events[place]
            if done >> place & 1 or event.begin > until or event.after & ~done:
                continue
            now = max(low, event.begin)
            after = event.step(state, now)
            if event.reads and after:
                del stack[top:]
                stack.append((done | 1 << place, state, low, (*order, place)))
                break
            # What need not have happened and changes nothing may as well not have.
            stack.extend(
                (done | 1 << place, each, now, (*order, place)) for each in after if event.must or each != state
            )
    return False, [events[place].what() for place in longest]
