"""How both sides go as there are more callers, more keys, and more records in a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.measuring import FAILED, Bench
from bench.outcomes import Point, Series
from bench.rows import Row

__all__ = ["grown"]

CALLERS = (1, 4, 16, 64, 256, 1_024)
KEYS = (1_000, 10_000, 100_000)
MANY_KEYS = 1_000_000
RECORDS = (1, 10, 100, 1_000)


@dataclass(frozen=True, kw_only=True)
class _Growth:
    name: str
    by: str
    sizes: Sequence[int]
    row: Callable[[int], Row]


def _growths(*, many_keys: bool) -> Iterator[_Growth]:
    keys = (*KEYS, MANY_KEYS) if many_keys else KEYS
    get, put = (lambda turn: turn.side.get(turn.key)), (lambda turn: turn.side.put(turn.key, turn.value))
    for name, work in (("get", get), ("put", put)):
        yield _Growth(
            name=name,
            by="callers",
            sizes=CALLERS,
            row=lambda size, name=name, work=work: Row(  # type: ignore[misc]
                name=f"{name} x{size}", label=f"{name} by callers", callers=size, work=work
            ),
        )
    # Gets come first: what is read then was written once.
    for name, work in (("get x64", get), ("put x64", put)):
        yield _Growth(
            name=name,
            by="keys",
            sizes=keys,
            row=lambda size, name=name, work=work: Row(  # type: ignore[misc]
                name=f"{name} of {size} keys", label="by keys", callers=64, work=work, keys=size
            ),
        )
    yield _Growth(
        name="read of many",
        by="records a call",
        sizes=RECORDS,
        row=lambda size: Row(
            name=f"read of {size}",
            label="read of many",
            callers=1,
            counts=size,
            work=lambda turn: turn.side.get_many(turn.some(size)),
        ),
    )
    yield _Growth(
        name="write of many",
        by="records a call",
        sizes=RECORDS,
        row=lambda size: Row(
            name=f"write of {size}",
            label="write of many",
            callers=1,
            counts=size,
            work=lambda turn: turn.side.put_many(turn.some(size), turn.value),
        ),
    )


async def grown(bench: Bench, store: str, *, many_keys: bool) -> list[Series]:
    """Measures all of it on a store, in fewer and shorter rounds than the rows: no bars rest on it.

    A size that fails is left out, and said.
    """
    rounds, seconds = min(3, bench.scale.rounds), bench.scale.seconds / 2
    series = []
    for growth in _growths(many_keys=many_keys):
        points = []
        for size in growth.sizes:
            row = growth.row(size)
            if row.keys > bench.scale.most_keys:
                continue
            try:
                found = await bench.found(row, store, rounds=rounds, seconds=seconds)
            except FAILED as error:
                print(f"{row.name} on {store}: {error!r}")
                continue
            points.append(Point(at=size, rates={side: found.rate(side) for side in found.rates}))
        series.append(Series(name=growth.name, store=store, by=growth.by, points=points))
    return series
