"""Real tables become records in Redis, also while what is between them is killed."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from keepstate import Bytes, Client, key
from tests.examples.conftest import start_tables, tables
from tests.support.containers import Containers
from tests.support.servers import DaprContainer
from tests.support.service import ServiceProcess

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def sidecar(containers: Containers) -> Iterator[DaprContainer]:
    _ = containers.redis, containers.postgres  # all that the components name
    running = containers.sidecar("tables")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(
    sidecar: DaprContainer, tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[ServiceProcess]:
    settings = {
        "DAPR_GRPC_ENDPOINT": sidecar.grpc_target,
        "DAPR_HTTP_ENDPOINT": sidecar.http_endpoint,
        "KEEPSTATE_DEFAULT_STORE": "redis",
    }
    ports = (unused_tcp_port_factory(), unused_tcp_port_factory())
    process = ServiceProcess(tmp_path_factory.mktemp("service"), ports, settings)
    yield process.start()
    process.close()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def records(service: ServiceProcess, names: Iterable[str]) -> dict[str, Any]:
    """Reads back by other means than the program, with every digit."""
    async with Client(service.address, codec=Bytes()) as state:
        found = await state.get_many(names)
    return {name: json.loads(value, parse_float=Decimal) for name, value in found.items()}


def sqlite_table(file: Path, columns: str, rows: Iterable[Sequence[object]]) -> str:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"CREATE TABLE {file.stem} ({columns})")
        database.executemany(f"INSERT INTO {file.stem} VALUES ({','.join('?' * (columns.count(',') + 1))})", rows)
    return f"sqlite:///{file}"


def postgresql_table(containers: Containers, name: str, columns: str, rows: Iterable[Sequence[object]]) -> str:
    url = f"postgresql://postgres:postgres@{containers.postgres.target}/postgres"
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        connection.execute(f"CREATE TABLE {name} ({columns})")
        with cursor.copy(f"COPY {name} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    return url


async def test_a_table_arrives_whole_though_service_sidecar_and_program_are_killed(
    containers: Containers, service: ServiceProcess, sidecar: DaprContainer, vega: Path, tmp_path: Path
) -> None:
    rows = read_csv(vega / "sf-temps.csv")
    source = sqlite_table(tmp_path / "temps.db", "temp REAL, date TEXT", (tuple(row.values()) for row in rows))
    command = (source, "--table", "temps", "--key", "date")
    before = keys_in(containers)
    process = start_tables(*command, address=service.address)

    def when_there_are(count: int) -> None:
        deadline = time.monotonic() + 60
        while (there := keys_in(containers) - before) < count:
            assert time.monotonic() < deadline, f"only {there} records"
            time.sleep(0.01)
        assert there < len(rows), "too late: all are there"
        assert process.poll() is None, process.communicate()

    def kill_them_all() -> None:
        when_there_are(500)
        service.end(signal.SIGKILL)
        service.start()
        when_there_are(2_000)
        sidecar.kill()
        sidecar.start()
        when_there_are(4_000)
        process.kill()

    try:
        await asyncio.to_thread(kill_them_all)
    finally:
        process.kill()
        process.communicate()

    said = await asyncio.to_thread(tables, *command, address=service.address)
    written, there = map(int, re.findall(r"(\d+) written, (\d+) there before", said)[0])
    assert written + there == len(rows) == 8759
    assert there >= 3_500
    await asyncio.to_thread(sidecar.restart)
    await asyncio.to_thread(service.end, signal.SIGKILL)
    await asyncio.to_thread(service.start)
    assert "8759 read back" in await asyncio.to_thread(tables, *command, "--verify-only", address=service.address)
    expected = {key("temps", row["date"]): {"temp": Decimal(row["temp"]), "date": row["date"]} for row in rows}
    assert await records(service, expected) == expected


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A table, and what shall become of it."""

    source: str | Path
    options: Sequence[str]
    expected: Mapping[str, object]


def airports(_: Containers, vega: Path, __: Path) -> Moving:
    rows = read_csv(vega / "airports.csv")
    return Moving(
        source=vega / "airports.csv",
        options=("--key", "iata"),
        expected={key("airports", row["iata"]): row for row in rows},
    )


def cars(_: Containers, vega: Path, folder: Path) -> Moving:
    """Numbers and NULL in SQLite."""
    rows = json.loads((vega / "cars.json").read_text())
    columns = "Name TEXT, Miles_per_Gallon NUMERIC, Cylinders INTEGER, Displacement NUMERIC, Horsepower INTEGER"
    columns += ", Weight_in_lbs INTEGER, Acceleration NUMERIC, Year TEXT, Origin TEXT, number INTEGER"
    numbered = [{**row, "number": number} for number, row in enumerate(rows, start=1)]
    source = sqlite_table(folder / "cars.db", columns, (tuple(row.values()) for row in numbered))
    expected = {key("car", row["number"]): exact(row) for row in numbered}
    return Moving(source=source, options=("--table", "cars", "--key", "number", "--prefix", "car"), expected=expected)


def stocks(containers: Containers, vega: Path, _: Path) -> Moving:
    """Dates and decimals in PostgreSQL, and a key of two columns."""
    rows = read_csv(vega / "stocks.csv")
    columns = "symbol text, date date, price numeric, PRIMARY KEY (symbol, date)"
    source = postgresql_table(containers, "stocks", columns, (tuple(row.values()) for row in rows))
    expected = {}
    for row in rows:
        day = datetime.strptime(row["date"], "%b %d %Y").replace(tzinfo=UTC).date().isoformat()
        name = key("stocks", row["symbol"], day)
        expected[name] = {"symbol": row["symbol"], "date": day, "price": number(row["price"])}
    options = ("--table", "public.stocks", "--prefix", "stocks", "--key", "symbol", "--key", "date")
    return Moving(source=source, options=options, expected=expected)


def employment(containers: Containers, vega: Path, _: Path) -> Moving:
    rows = read_csv(vega / "us-employment.csv")
    columns = "month date, " + ", ".join(f"{name} numeric" for name in list(rows[0])[1:])
    source = postgresql_table(containers, "employment", columns, (tuple(row.values()) for row in rows))
    expected = {
        key("employment", row["month"]): {name: cell if name == "month" else number(cell) for name, cell in row.items()}
        for row in rows
    }
    return Moving(source=source, options=("--table", "employment", "--key", "month"), expected=expected)


@pytest.mark.parametrize("table", [airports, cars, stocks, employment])
async def test_a_table_moved_twice_is_there_once(
    containers: Containers,
    service: ServiceProcess,
    vega: Path,
    tmp_path: Path,
    table: Callable[[Containers, Path, Path], Moving],
) -> None:
    moving = table(containers, vega, tmp_path)
    count = len(moving.expected)
    first = await asyncio.to_thread(tables, moving.source, *moving.options, address=service.address)
    assert f"{count} rows, {count} written, 0 there before, {count} read back" in first
    again = await asyncio.to_thread(tables, moving.source, *moving.options, address=service.address)
    assert f"{count} rows, 0 written, {count} there before, {count} read back" in again
    assert await records(service, moving.expected) == moving.expected
    assert first.splitlines()[1:] == again.splitlines()[1:]  # the checksums


async def test_every_type_of_postgresql_has_its_form_in_json(containers: Containers, service: ServiceProcess) -> None:
    cells = {
        "id": ("bigint", "9007199254740993", "9007199254740993"),
        "amount": ("numeric(30,10)", "123456789012345678.1000000000", "123456789012345678.1000000000"),
        "nothing": ("numeric", None, "null"),
        "no_number": ("numeric", "NaN", '"NaN"'),
        "real": ("double precision", "0.1", "0.1"),
        "flag": ("boolean", "t", "true"),
        "day": ("date", "2012-01-31", '"2012-01-31"'),
        "moment": ("timestamptz", "2012-01-31 12:00:00.5+02", '"2012-01-31T10:00:00.5+00:00"'),
        "ever": ("timestamp", "infinity", '"infinity"'),
        "span": ("interval", "1 month 2 days", '"P1M2D"'),
        "raw": ("bytea", "\\x00ff", '"\\\\x00ff"'),
        "many": ("integer[]", "{1,2}", "[1,2]"),
        "document": ("json", '{"a":1.10}', '{"a":1.10}'),
        "t": ("text", "ä\t:%", '"ä\\t:%"'),
    }
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in cells.items())
    source = postgresql_table(containers, "types", columns, [[given for _, given, _ in cells.values()]])
    key_columns = ("--key", "id", "--key", "moment", "--key", "t")
    await asyncio.to_thread(tables, source, "--table", "types", *key_columns, address=service.address)
    async with Client(service.address, codec=Bytes()) as state:
        record = await state.get_record(key("types", 9007199254740993, "2012-01-31 10:00:00.5+00", "ä\t:%"))
    assert record is not None
    assert record.content_type == "application/json"
    assert record.value.decode() == "{" + ",".join(f'"{name}":{told}' for name, (_, _, told) in cells.items()) + "}"


def number(text: str) -> int | Decimal:
    return Decimal(text) if "." in text else int(text)


def exact(row: Mapping[str, object]) -> dict[str, object]:
    """The row with its fractions as decimals, as its record is read."""
    return {name: Decimal(str(cell)) if isinstance(cell, float) else cell for name, cell in row.items()}


def keys_in(containers: Containers) -> int:
    """Asked past all clients, and many times: so not by a command in the container."""
    return int(containers.redis._ask(b"DBSIZE\r\n", 32)[1:])
