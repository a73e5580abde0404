"""The data file: what is kept, who may share it, and which files are refused."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate_server.embedded import DataFileError, EmbeddedSidecar
from tests.unit.embedded.driver import Caller, Clock, failure_of, item


@asynccontextmanager
async def serving(path: Path | None, **settings: Any) -> AsyncIterator[Caller]:
    sidecar = EmbeddedSidecar(path=path, http_port=None, **settings)
    await sidecar.start()
    try:
        async with grpc.aio.insecure_channel(sidecar.grpc_address) as channel:
            yield Caller.on(channel, store=settings.get("store_name", "embedded"))
    finally:
        await sidecar.stop()


@asynccontextmanager
async def serving_elsewhere(path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Caller]]:
    """A sidecar in a process of its own, killed at the end."""
    script = Path(__file__).with_name("killed_sidecar.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        # Log lines come before the address.
        while not (line := (await process.stdout.readline()).decode()).startswith("address="):
            assert line, "the sidecar did not start"
        async with grpc.aio.insecure_channel(line.strip().removeprefix("address=")) as channel:
            yield process, Caller.on(channel)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_restart_keeps_values_etags_and_expiry(path: Path, clock: Clock) -> None:
    async with serving(path, clock=clock) as caller:
        await caller.save(item("a", b"1"), item("b", b"2", ttl="100"))
        before = await caller.get_many("ab")
    async with serving(path, clock=clock) as caller:
        assert await caller.get_many("ab") == before
        clock.advance(100)
        assert [entry.key for entry in await caller.get_many("ab") if entry.etag] == ["a"]


async def test_memory_is_private_and_gone_at_the_stop() -> None:
    async with serving(None) as caller, serving(None) as other:
        await caller.save(item("a", b"1"))
        assert (await other.get("a")).etag == ""
    async with serving(None) as caller:
        assert (await caller.get("a")).etag == ""


async def test_a_stop_leaves_one_file_that_only_its_owner_may_read(path: Path) -> None:
    async with serving(path) as caller:
        await caller.save(item("a", b"1"))
        assert {entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()} == {0o600}
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_the_mode_of_a_folder_that_was_there_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    async with serving(tmp_path / "state.db"):
        assert tmp_path.stat().st_mode & 0o777 == 0o755


async def test_an_acknowledged_write_survives_kill_9(path: Path) -> None:
    acknowledged: dict[str, bytes] = {}
    enough = asyncio.Event()

    async def write(caller: Caller, writer: int) -> None:
        for number in range(100_000):
            key, value = f"{writer}/{number}", f"{writer}:{number}".encode() * 50
            try:
                if number % 2:
                    await caller.save(item(key, value))
                else:
                    await caller.transact(("upsert", item(key, value)), ("upsert", item(key + "+", value)))
                    acknowledged[key + "+"] = value
            except grpc.aio.AioRpcError:
                return
            acknowledged[key] = value
            if len(acknowledged) > 500:
                enough.set()

    async with serving_elsewhere(path) as (process, caller):
        writers = [asyncio.create_task(write(caller, writer)) for writer in range(16)]
        await enough.wait()
        process.kill()
        await asyncio.gather(*writers)
    assert Path(f"{path}-wal").exists(), "it was stopped, not killed"
    async with serving(path) as caller:
        found = {entry.key: entry.data for entry in await caller.get_many(acknowledged)}
        assert found == acknowledged
        # A transaction that was cut off is there as a whole or not at all.
        pairs = [f"{writer}/{number}" for writer in range(16) for number in range(0, 2_000, 2)]
        present = {entry.key for entry in await caller.get_many(pairs + [f"{key}+" for key in pairs]) if entry.etag}
        assert {key for key in pairs if key in present} == {key for key in pairs if f"{key}+" in present}


async def test_sidecars_share_one_file(path: Path) -> None:
    async with serving(path) as first, serving(path) as second, serving_elsewhere(path) as (_, third):
        callers = [first, second, third]
        for writer in callers:
            await writer.save(item("k", b"1"))
            etags = {(await reader.get("k")).etag for reader in callers}
            assert len(etags) == 1
            saves = (callers[number % 3].save(item("k", b"2", etag=etags.copy().pop())) for number in range(63))
            results = await asyncio.gather(*saves, return_exceptions=True)
            assert results.count(None) == 1


async def test_sidecars_on_one_file_do_not_starve_each_other(path: Path) -> None:
    async def write(caller: Caller, writer: int) -> None:
        for number in range(50):
            await caller.save(item(f"{writer}/{number}", b"x"), timeout=10)

    async with serving(path) as first, serving_elsewhere(path) as (_, second):
        await asyncio.gather(*(write((first, second)[writer % 2], writer) for writer in range(32)))
        keys = [f"{writer}/{number}" for writer in range(32) for number in range(50)]
        assert all(entry.etag for entry in await first.get_many(keys))


async def test_many_may_create_one_file_at_once(path: Path) -> None:
    sidecars = [EmbeddedSidecar(path=path, http_port=None) for _ in range(8)]
    await asyncio.gather(*(sidecar.start() for sidecar in sidecars))
    await asyncio.gather(*(sidecar.stop() for sidecar in sidecars))
    async with serving(path) as caller:
        await caller.save(item("k", b"1"))


async def test_stores_of_two_names_in_one_file_do_not_mix(path: Path) -> None:
    async with serving(path, store_name="one") as one, serving(path, store_name="two") as two:
        await one.save(item("k", b"1"))
        assert (await two.get("k")).etag == ""
        await two.delete("k")
        assert (await one.get("k")).data == b"1"


async def test_reads_go_on_while_another_program_writes(path: Path) -> None:
    async with serving(path) as caller:
        await caller.save(item("k", b"1"))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        save = asyncio.create_task(caller.save(item("k", b"2")))
        for _ in range(20):
            assert (await caller.get("k")).data == b"1"
        assert not save.done()
        other.execute("ROLLBACK")
        other.close()
        await save
        assert (await caller.get("k")).data == b"2"


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my dear diary " * 1_000)
    before = path.read_bytes()
    with pytest.raises(DataFileError, match=r"state\.db cannot be used: it is not a database"):
        await EmbeddedSidecar(path=path).start()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE state (key TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(DataFileError, match="it is a database of another program"):
        await EmbeddedSidecar(path=path).start()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    async with serving(path) as caller:
        await caller.save(item("k", b"1"))
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 2")
    newer.close()
    with pytest.raises(DataFileError, match=r"a newer version of Keepstate wrote it \(schema 2; this one knows 1\)"):
        await EmbeddedSidecar(path=path).start()


async def test_an_empty_file_is_taken_for_a_new_one(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    async with serving(path) as caller:
        await caller.save(item("k", b"1"))


@pytest.mark.parametrize(
    ("name", "reason"), [("folder", "Is a directory"), ("file/state.db", "Not a directory|exists")]
)
async def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataFileError, match=reason) as caught:
        await EmbeddedSidecar(path=tmp_path / name).start()
    assert caught.value.path == tmp_path / name


async def test_a_damaged_file_fails_calls_without_telling_what_is_in_it(path: Path) -> None:
    async with serving(path) as caller:
        await caller.save(*(item(f"k{number}", b"secret" * 1_000) for number in range(200)))
    content = bytearray(path.read_bytes())
    content[4096:] = b"secret" * (len(content[4096:]) // 6)
    path.write_bytes(content)
    async with serving(path) as caller:
        for call in (caller.get("k7"), caller.get_many(["k7"]), caller.save(item("k7", b"x")), caller.delete("k7")):
            failure = await failure_of(call)
            assert failure.code == grpc.StatusCode.INTERNAL
            assert "database disk image is malformed" in failure.text
            assert "secret" not in failure.text
