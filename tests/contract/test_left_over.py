"""A transaction whose instance dies at any moment leaves nothing that blocks or misleads (promises 9 and 11)."""

from __future__ import annotations

import pytest

from tests.contract.api import Api
from tests.contract.conftest import Backend
from tests.contract.left_over import MEETINGS, Scenario

pytestmark = pytest.mark.promise(9, 11)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_whoever_meets_what_was_left_finds_all_of_it_or_nothing(
    api: Api, backend: Backend, store: str, meeting: str
) -> None:
    states = await Scenario(backend, (store, store), api.prefix).dies_everywhere(meeting=meeting)
    assert states[0] == "before"
    assert "after" in states
