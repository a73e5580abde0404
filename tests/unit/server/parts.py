"""Operations on one key, performed as one caller's."""

from __future__ import annotations

from collections.abc import Sequence

from keepstate_server.domain.operations import Operation
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Result
from keepstate_server.engine.group import Group
from keepstate_server.engine.part import Part
from keepstate_server.engine.writer import Writer
from tests.unit.server.hand import SETTINGS


async def performed(writer: Writer, operations: Sequence[Operation], deadline: Deadline) -> Sequence[Result]:
    """Has ``writer`` perform operations on one key of the default namespace."""
    part = Part(operations[0].name.key, operations, deadline)
    await writer.run([Group(part.key, [part], SETTINGS)], deadline)
    assert part.results is not None
    return part.results
