"""Real input: every row of airports.csv goes in through the client, and comes back after restarts."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from keepstate import Client, key
from tests.support.containers import Containers
from tests.support.service import ServiceProcess

ROWS = 3376


def airports() -> dict[str, dict[str, str]]:
    """The table of the package vega_datasets, by airport code."""
    files = importlib.metadata.files("vega_datasets") or []
    (found,) = [file for file in files if file.name == "airports.csv"]
    with Path(str(found.locate())).open(newline="") as file:
        return {row["iata"]: row for row in csv.DictReader(file)}


def checksum(rows: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


@pytest.mark.containers
async def test_a_table_survives_restarts_of_service_and_sidecar(
    containers: Containers, tmp_path: Path, unused_tcp_port_factory: object
) -> None:
    assert callable(unused_tcp_port_factory)
    rows = airports()
    assert len(rows) == ROWS
    _ = containers.redis, containers.postgres  # all that the components name
    sidecar = containers.sidecar("airports")
    service = ServiceProcess(
        tmp_path,
        (unused_tcp_port_factory(), unused_tcp_port_factory()),
        {"DAPR_GRPC_ENDPOINT": sidecar.grpc_target, "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint},
    )
    try:
        await asyncio.to_thread(service.start)
        async with Client(service.address, store="redis", namespace="airports") as state:
            etags = await state.put_many({key("airport", code): row for code, row in rows.items()})
            assert len(etags) == ROWS
            await asyncio.to_thread(sidecar.restart)
            await asyncio.to_thread(service.end)
            await asyncio.to_thread(service.start)
            back = await state.get_many([key("airport", code) for code in rows])
    finally:
        service.close()
        sidecar.stop()
    assert len(back) == ROWS
    assert checksum({name.removeprefix("airport:"): row for name, row in back.items()}) == checksum(rows)
