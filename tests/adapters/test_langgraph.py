"""The checkpointer by LangGraph's own conformance tests, and by graphs that run on it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from keepstate.adapters.langgraph import AsyncKeepstateSaver, KeepstateSaver
from tests.recipes.conftest import View

pytestmark = pytest.mark.containers


def saver_of(view: View, style: str, **named: Any) -> BaseCheckpointSaver[str]:
    if style == "asynchronous":
        return AsyncKeepstateSaver(view.asynchronous, **named)
    return KeepstateSaver(view.synchronous, **named)


@pytest.fixture
def saver(one: View, style: str) -> BaseCheckpointSaver[str]:
    """The checkpointer through one instance."""
    return saver_of(one, style)


@pytest.fixture
def elsewhere(other: View, style: str) -> BaseCheckpointSaver[str]:
    """The checkpointer through the other instance."""
    return saver_of(other, style)


async def test_it_has_every_capability_that_the_conformance_tests_know(saver: BaseCheckpointSaver[str]) -> None:
    @checkpointer_test(name=str(uuid4()))
    async def made() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        yield saver

    report = await validate(made)
    failures = {name: result.failures for name, result in report.results.items() if result.failures}
    assert not failures
    assert {name for name, result in report.results.items() if result.passed} == {
        each.value for each in ALL_CAPABILITIES
    }
    assert sum(result.tests_passed for result in report.results.values()) >= 80
