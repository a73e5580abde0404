"""The cases, each by the client of each language."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.conformance.cases import Case
from tests.conformance.program import Program
from tests.conformance.running import Stage, run


async def test_case(
    case: Case, language: str, programs: Callable[[str], Awaitable[Program]], stage: Stage, namespace: str
) -> None:
    await run(case, await programs(language), stage, namespace)
