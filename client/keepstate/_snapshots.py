"""Several records as of one moment."""

from __future__ import annotations

__all__ = ["read_snapshot"]

from collections.abc import Sequence
from datetime import timedelta

from keepstate._connection import Connection
from keepstate.errors import Internal
from keepstate.v1 import record_pb2
from keepstate.v1 import state_service_pb2 as pb


async def read_snapshot(
    connection: Connection, names: Sequence[record_pb2.RecordName], timeout: timedelta | None
) -> list[record_pb2.Record | None]:
    """Read the records of these names, 1 to 100, in their order. None: there is none."""
    response = await connection.call(
        lambda channel: channel.state.Snapshot, pb.SnapshotRequest(names=names), timeout=timeout, writes=False
    )
    if len(response.items) != len(names):
        raise Internal(f"the service gave {len(response.items)} records for {len(names)} names")
    return [item.record if item.HasField("record") else None for item in response.items]
