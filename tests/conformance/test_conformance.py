"""The cases, each by the client of each language."""

from __future__ import annotations

from tests.conformance.cases import Case
from tests.conformance.program import Program
from tests.conformance.running import Stage, run


async def test_case(case: Case, program: Program, stage: Stage, namespace: str) -> None:
    await run(case, program, stage, namespace)
