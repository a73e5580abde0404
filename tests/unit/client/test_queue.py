"""What a queue refuses when it is made, and how it looks for what is free."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import Client, recipes
from keepstate.recipes.queue import _portions


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"limit": 0}, "limit must be from 1 to 10000, not 0"),
        ({"limit": 10_001}, "limit must be from 1 to 10000, not 10001"),
        ({"lease": timedelta()}, "lease must be positive, not 0:00:00"),
        ({"name": ""}, "is empty"),
    ],
)
def test_what_cannot_be_a_queue_is_refused_when_it_is_made(arguments: dict[str, Any], complaint: str) -> None:
    for kind in (recipes.Queue, recipes.Outbox):
        with pytest.raises(ValueError, match=complaint):
            kind(Client(), **({"name": "jobs"} | arguments))


@given(st.integers(min_value=0, max_value=10_000))
def test_leases_are_looked_at_in_order_a_few_at_first_and_never_more_than_fit_a_batch(count: int) -> None:
    ids = [str(number) for number in range(count)]
    portions = list(_portions(ids))
    assert [each for portion in portions for each in portion] == ids
    assert all(1 <= len(portion) <= 256 for portion in portions)
    assert not portions or len(portions[0]) <= 4
