from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench.load import Measured
from bench.rounds import take_turns


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
