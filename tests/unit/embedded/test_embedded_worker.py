"""The storage threads: what shares a commit, and what happens to the others when one fails or goes away."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from keepstate_server.embedded.database import Database
from keepstate_server.embedded.errors import StorageError
from keepstate_server.embedded.operations import ETAG_MISMATCH, Deletion, Unit, Upsert
from tests.unit.embedded.driver import Clock


class Connection(sqlite3.Connection):
    """Counts commits, and fails where the test says so."""

    commits = 0
    fail_commits = False
    fail_on_value: bytes | None = None
    begins = 0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "BEGIN IMMEDIATE":
            Connection.begins += 1
        if sql == "COMMIT":
            Connection.commits += 1
            if Connection.fail_commits:
                raise sqlite3.OperationalError("disk I/O error on secret")
        if Connection.fail_on_value is not None and Connection.fail_on_value in parameters:
            raise ValueError("cannot bind secret")
        return super().execute(sql, parameters)


@pytest.fixture
async def database(path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, **more, factory=Connection))
    for name, value in (("commits", 0), ("fail_commits", False), ("fail_on_value", None)):
        monkeypatch.setattr(Connection, name, value)
    database = await Database.open(path, clock=clock)
    yield database
    await database.close()


class Gate:
    """Another program that holds the file's lock."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def put(key: str, value: bytes = b"x", **conditions: Any) -> tuple[Upsert]:
    return (Upsert(key=key, value=value, **conditions),)


async def begun(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """Lets a task run up to its first wait."""
    await asyncio.sleep(0)
    return task


async def held(database: Database) -> asyncio.Task[Any]:
    """A write that the worker has taken and cannot begin, while a Gate is closed."""
    before = Connection.begins
    task = await begun(asyncio.create_task(database.write([put("first")])))
    # Once it tries to begin, it has chosen what goes together: what comes later does not join.
    while Connection.begins == before:
        await asyncio.sleep(0)
    return task


async def test_waiting_writes_share_commits_of_at_most_256(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        Connection.commits = 0
        writes = [await begun(asyncio.create_task(database.write([put(f"k{number}")]))) for number in range(300)]
    results = await asyncio.gather(first, *writes)
    assert results == [[None]] * 301
    assert Connection.commits == 3


async def test_a_commit_takes_no_more_once_it_is_large(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        Connection.commits = 0
        unit = [operation for number in range(600) for operation in put(f"k{number}")]
        writes = [await begun(asyncio.create_task(database.write([unit]))) for _ in range(4)]
    await asyncio.gather(first, *writes)
    assert Connection.commits == 3


async def test_each_of_those_that_share_a_commit_keeps_its_own_result(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        calls: list[list[Unit]] = [
            [put("a", first_write=True), put("a", first_write=True)],
            [(*put("b"), *put("a", etag="stale")), put("c")],
            [(*put("d"), Deletion(key="c")), (Deletion(key="none", etag="x"),)],
        ]
        writes = [await begun(asyncio.create_task(database.write(call))) for call in calls]
    results = await asyncio.gather(*writes)
    await first
    assert results == [[None, ETAG_MISMATCH], [ETAG_MISMATCH, None], [None, ETAG_MISMATCH]]
    assert set(await database.read(["a", "b", "c", "d"])) == {"a", "d"}


async def test_a_failed_commit_fails_all_and_applies_none(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        writes = [await begun(asyncio.create_task(database.write([put(f"k{number}")]))) for number in range(3)]
        Connection.fail_commits = True
    results = await asyncio.gather(first, *writes, return_exceptions=True)
    assert all(isinstance(result, StorageError) for result in results)
    Connection.fail_commits = False
    assert await database.read(["first", "k0", "k1", "k2"]) == {}
    assert await database.write([put("k0")]) == [None]


async def test_a_faulty_write_fails_alone(path: Path, database: Database) -> None:
    Connection.fail_on_value = b"bad"
    with Gate(path):
        first = await held(database)
        calls = [put("a"), put("b", b"bad"), put("c"), put("a", first_write=True)]
        writes = [await begun(asyncio.create_task(database.write([call]))) for call in calls]
    results = await asyncio.gather(*writes, return_exceptions=True)
    await first
    assert [results[0], results[2], results[3]] == [[None], [None], [ETAG_MISMATCH]]
    assert isinstance(results[1], StorageError)
    assert set(await database.read(["a", "b", "c"])) == {"a", "c"}


async def test_neither_texts_nor_logs_tell_keys_or_values(database: Database) -> None:
    Connection.fail_on_value = b"bad"
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(StorageError, match="storage failure"):
            await database.write([put("secret key", b"bad")])
        Connection.fail_commits = True
        with pytest.raises(StorageError):
            await database.write([put("secret key", b"secret")])
    assert len(logs) == 2
    assert "secret" not in str(logs)


async def test_a_write_whose_caller_has_gone_before_its_turn_is_dropped(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        gone = await begun(asyncio.create_task(database.write([put("gone")])))
        stays = await begun(asyncio.create_task(database.write([put("stays")])))
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    assert await stays == [None]
    assert await first == [None]
    assert set(await database.read(["first", "gone", "stays"])) == {"first", "stays"}


async def test_a_write_that_has_begun_is_finished_when_its_caller_goes(path: Path, database: Database) -> None:
    with Gate(path):
        first = await held(database)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert await database.write([put("next")]) == [None]
    assert set(await database.read(["first", "next"])) == {"first", "next"}


async def test_a_file_that_stays_locked_fails_the_write(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepstate_server.embedded.worker.BUSY_TIMEOUT_SECONDS", 0.01)
    with Gate(path), pytest.raises(StorageError, match="database is locked"):
        await database.write([put("a")])
    assert await database.write([put("a")]) == [None]


async def test_closing_finishes_what_was_begun_and_refuses_more(path: Path, database: Database) -> None:
    writes = [await begun(asyncio.create_task(database.write([put(f"k{number}")]))) for number in range(300)]
    await database.close()
    assert await asyncio.gather(*writes) == [[None]] * 300
    for call in (database.write([put("a")]), database.read(["a"]), database.purge()):
        with pytest.raises(StorageError, match="the store is closed"):
            await call
    await database.close()


async def test_purging_removes_all_that_has_expired_and_nothing_else(database: Database, clock: Clock) -> None:
    await database.write([put(f"old{number}", ttl_seconds=10) for number in range(1_234)])
    await database.write([put("later", ttl_seconds=11), put("always"), put("old0")])
    assert await database.purge() == 0
    clock.advance(10)
    Connection.commits = 0
    assert await database.purge() == 1_233
    assert Connection.commits == 3
    assert set(await database.read(["later", "always", "old0", "old1"])) == {"later", "always", "old0"}
