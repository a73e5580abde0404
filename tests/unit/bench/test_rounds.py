from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from bench.load import Load, Measured, run
from bench.measuring import work
from bench.rounds import take_turns
from bench.rows import Row
from bench.sides import Side


async def test_sides_take_turns_and_another_begins_each_round() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], Awaitable[Measured]]:
        async def work() -> Measured:
            order.append(name)
            return Measured(operations=10, seconds=2.0, latency=0.1)

        return work

    found = await take_turns({name: side(name) for name in "abc"}, rounds=4)
    assert "".join(order) == "abcbcacababc"
    assert found.rates == {name: [5.0] * 4 for name in "abc"}


async def test_processor_time_is_an_operations_and_that_of_its_own_side() -> None:
    clock = {"service": 0.0}

    async def cheap() -> Measured:
        clock["service"] += 0.001
        return Measured(operations=100, seconds=1.0, latency=0.01)

    async def dear() -> Measured:
        clock["service"] += 0.5
        return Measured(operations=50, seconds=1.0, latency=0.01)

    found = await take_turns({"cheap": cheap, "dear": dear}, rounds=2, spent=lambda: dict(clock))
    assert [round(each) for each in found.microseconds["cheap"]["service"]] == [10, 10]
    assert [round(each) for each in found.microseconds["dear"]["service"]] == [10_000, 10_000]


async def test_a_round_goes_on_where_the_one_before_ended_so_that_cold_keys_stay_cold() -> None:
    used: list[str] = []

    async def put(key: str) -> None:
        used.append(key)

    row = Row(name="put to cold keys", callers=4, work=lambda turn: put(turn.key))
    keys = [str(number) for number in range(100_000)]
    load = Load(operation=work(row, cast("Side", None), keys, b""), callers=row.callers, seconds=0)
    for _ in range(3):
        await run(load)
    assert len(used) == 3 * 4
    assert len(set(used)) == len(used)
