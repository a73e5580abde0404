"""A cache whose service fails at each of its calls. What several instances make of it: tests/recipes/test_cache.py."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import islice

import grpc
import pytest

import keepstate.recipes.sync
from keepstate import Client, Internal, Retry, Unavailable, sync
from keepstate.recipes import Cache
from keepstate.recipes.cache import _pauses
from tests.unit.client.fake_service import FakeService, Refusal, refusal

CODE = grpc.StatusCode
OUTAGE = refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE")


class Source:
    """Counts how often it was asked; before it answers it lets the service's next calls fail so."""

    def __init__(self, service: FakeService, *then: Refusal) -> None:
        self.service = service
        self.then = then
        self.asked = 0

    async def read(self) -> str:
        self.asked += 1
        self.service.script.extend(self.then)
        return "value"


async def test_where_the_service_is_away_the_source_is_not_asked(address: str, service: FakeService) -> None:
    async with Client(address, retry=None) as state:
        source = Source(service)
        service.script.append(OUTAGE)
        with pytest.raises(Unavailable):
            await Cache(state, "cache").get_or_fill("a", source.read)
        assert source.asked == 0


@pytest.mark.parametrize(
    "failure",
    [
        OUTAGE,
        refusal(CODE.UNKNOWN, "OUTCOME_UNKNOWN"),
        refusal(CODE.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        refusal(CODE.RESOURCE_EXHAUSTED, "OVERLOADED"),
        refusal(CODE.ABORTED, "ETAG_MISMATCH"),
    ],
    ids=lambda status: CODE(next(code for code in CODE if code.value[0] == status.code)).name,
)
async def test_what_was_filled_is_returned_though_it_cannot_be_kept(
    address: str, service: FakeService, failure: Refusal
) -> None:
    async with Client(address, retry=None) as state:
        assert await Cache(state, "cache").get_or_fill("a", Source(service, failure).read) == "value"


@pytest.mark.parametrize("failures", [1, 2])
async def test_what_the_service_refuses_for_good_is_raised_and_the_marker_removed_if_that_is_possible(
    address: str, service: FakeService, failures: int
) -> None:
    async with Client(address, retry=None) as state:
        refused = refusal(CODE.INTERNAL, "INTERNAL")
        with pytest.raises(Internal):
            await Cache(state, "cache").get_or_fill("a", Source(service, *[refused] * failures).read)
        assert service.names == ["Get", "Put", "Put", "Delete"]
        assert (len(service.records) == 0) == (failures == 1), "otherwise it expires"


async def test_where_answers_are_lost_the_source_is_asked_once_and_the_value_kept(
    address: str, service: FakeService
) -> None:
    async with Client(address, retry=Retry(initial=timedelta(milliseconds=1))) as state:

        async def fill() -> str:
            service.lose_replies()  # of the put of the value
            return await source.read()

        source = Source(service)
        cache = Cache(state, "cache")
        assert await cache.find("a") is None
        service.lose_replies(2)  # of the look, and of the put of the marker
        assert await cache.get_or_fill("a", fill) == "value"
        found = await cache.find("a")
        assert found is not None
        assert (found.value, source.asked) == ("value", 1)


async def test_an_interrupt_of_a_fill_leaves_no_marker_though_its_client_is_closed_then(
    address: str, service: FakeService
) -> None:
    """As by Ctrl-C, which ends the program."""

    def interrupt() -> str:
        raise KeyboardInterrupt

    def story() -> None:
        with pytest.raises(KeyboardInterrupt), sync.Client(address) as state:
            keepstate.recipes.sync.Cache(state, "cache").get_or_fill("a", interrupt)

    await asyncio.wait_for(asyncio.to_thread(story), 20)
    assert "Delete" in service.names
    assert not service.records


def test_pauses_grow_to_half_a_second_and_differ() -> None:
    first, second = list(islice(_pauses(), 12)), list(islice(_pauses(), 12))
    assert first != second
    for pause, ceiling in zip(first, [0.02, 0.04, 0.08, 0.16, 0.32, *[0.5] * 7], strict=True):
        assert ceiling / 2 <= pause <= ceiling
