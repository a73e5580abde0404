"""What is measured side by side, and what it has to reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from bench.outcomes import Bar, Measure, ceiling, floor
from bench.sides import Side

__all__ = ["ROWS", "Row", "Turn"]

VALUE = 256
KEYS = 1_000
COLD = 100_000


@dataclass(slots=True)
class Turn:
    """What a caller does next: the call of this number of the caller of that."""

    side: Side
    keys: list[str]
    value: bytes
    caller: int = 0
    number: int = 0

    @property
    def key(self) -> str:
        """Another key each time, of all in turn, in an order that jumps about."""
        return self.keys[(self.caller * 7919 + self.number * 104_729) % len(self.keys)]

    @property
    def own(self) -> str:
        """The caller's own key; where there are fewer, shared by some."""
        return self.keys[self.caller % len(self.keys)]

    def some(self, count: int) -> list[str]:
        """So many keys, other ones each time."""
        begin = (self.caller + self.number) * count
        return [self.keys[(begin + each) % len(self.keys)] for each in range(count)]

    def block(self, count: int) -> list[str]:
        """So many keys of the caller's own, the same each time."""
        return self.keys[self.caller * count : (self.caller + 1) * count]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of work, by so many callers."""

    name: str
    callers: int
    work: Callable[[Turn], Awaitable[object]]

    keys: int = KEYS
    size: int = VALUE
    """Bytes of a value."""

    counts: int = 1
    """What one call counts as: the records of a bulk read, say."""

    bars: Mapping[str, Bar] = field(default_factory=dict)
    """By store. Where there is none, the row is shown alone."""

    measure: Measure = Measure.RATE

    filled: bool = True
    """Whether its records are there to begin with."""

    label: str = ""
    """Rows with one label have the same records, if their values are as large; else each has its own."""


def _mixed(turn: Turn) -> Awaitable[object]:
    if (turn.caller + turn.number) % 10 == 0:
        return turn.side.put(turn.key, turn.value)
    return turn.side.get(turn.key)


ROWS = (
    Row(
        name="get x1",
        callers=1,
        work=lambda turn: turn.side.get(turn.key),
        measure=Measure.LATENCY,
        bars={"redis": ceiling(2.6, 2)},
    ),
    Row(
        name="get x64",
        callers=64,
        work=lambda turn: turn.side.get(turn.key),
        bars={"redis": floor(2.5, 3.5), "postgresql": floor(4.5, 8)},
    ),
    Row(
        name="get x256",
        callers=256,
        work=lambda turn: turn.side.get(turn.key),
        bars={"redis": floor(3, 4), "postgresql": floor(7, 12)},
    ),
    Row(
        name="put x1",
        callers=1,
        work=lambda turn: turn.side.put(turn.key, turn.value),
        measure=Measure.LATENCY,
        bars={"redis": ceiling(2.6, 2)},
    ),
    Row(
        name="put x64",
        callers=64,
        work=lambda turn: turn.side.put(turn.key, turn.value),
        bars={"redis": floor(3, 4.5), "postgresql": floor(2, 3.5)},
    ),
    Row(
        name="put x256",
        callers=256,
        work=lambda turn: turn.side.put(turn.key, turn.value),
        bars={"redis": floor(4, 7), "postgresql": floor(3.5, 6)},
    ),
    Row(
        name="put to cold keys x64",
        callers=64,
        work=lambda turn: turn.side.put(turn.key, turn.value),
        keys=COLD,
        bars={"redis": floor(1.5, 2.5)},
    ),
    Row(
        name="put-if x64",
        callers=64,
        work=lambda turn: turn.side.put_if(turn.own, turn.value),
        bars={"redis": floor(2.5, 4)},
    ),
    Row(name="mixed 90/10 x64", callers=64, work=_mixed),
    Row(
        name="hot key get x64",
        callers=64,
        work=lambda turn: turn.side.get(turn.own),
        keys=1,
        bars={"redis": floor(6, 12), "postgresql": floor(6, 12)},
    ),
    Row(
        name="hot counter x64",
        callers=64,
        work=lambda turn: turn.side.count(turn.own),
        keys=1,
        filled=False,
        bars={"redis": floor(60, 200), "postgresql": floor(60, 200)},
    ),
    Row(
        name="bulk read of 100",
        callers=1,
        work=lambda turn: turn.side.get_many(turn.some(100)),
        counts=100,
        bars={"redis": floor(1, 1.2), "postgresql": floor(1, 1.2)},
    ),
    Row(name="transaction of 10 x8", callers=8, work=lambda turn: turn.side.transaction(turn.block(10), turn.value)),
    Row(
        name="append x64 on 16 keys",
        callers=64,
        work=lambda turn: turn.side.append(turn.own, turn.value.hex()[:64]),
        keys=16,
        filled=False,
    ),
    Row(name="get 64 KiB x64", callers=64, work=lambda turn: turn.side.get(turn.key), keys=100, size=64 * 1024),
    Row(
        name="put 64 KiB x64",
        callers=64,
        work=lambda turn: turn.side.put(turn.key, turn.value),
        keys=100,
        size=64 * 1024,
    ),
    Row(name="get 1 MiB x8", callers=8, work=lambda turn: turn.side.get(turn.key), keys=20, size=1024 * 1024),
    Row(
        name="put 1 MiB x8", callers=8, work=lambda turn: turn.side.put(turn.key, turn.value), keys=20, size=1024 * 1024
    ),
)
