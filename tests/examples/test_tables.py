"""What the program does with rows that cannot become records, and with records that are not the rows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from examples.tables import __main__ as program
from examples.tables.moving import Item, Progress, Tally, check, items
from examples.tables.sources import SourceError, open_source
from keepstate import Bytes, Client
from keepstate.testing import KeepstateService
from keepstate_server.app import Service
from keepstate_server.config import Settings, SidecarKind
from tests.examples.conftest import ROOT, tables
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a service."""
    with KeepstateService() as service:
        yield service.address


def ignore(_: int) -> None:
    """Progress that nobody looks at."""


def read(source: str | Path, *key: str, table: str | None = None) -> list[Item]:
    """Checks the source as the program does, and returns its rows."""
    with open_source(str(source), table, key) as rows:
        check(items(rows(), "t"), ignore)
        return list(items(rows(), "t"))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("a,b\n1,x\n2,y\n1,z\n", ["a"], r"line 4: the same key as line 2, 't:1'"),
        ("a,b\n1,x\n,y\n", ["a"], r"line 3: part 2 of the key is empty"),
        ("a,b\n1,x\n2,\n", ["a", "b"], r"line 3: part 3 of the key is empty"),
        (f"a,b\n{'k' * 600},x\n", ["a"], r"line 2: the key has 602 bytes"),
        ("a,b\n1,x\n2\n", ["a"], r"line 3: 1 fields, but 2 columns"),
        ("a,b\n1,x,y\n", ["a"], r"line 2: 3 fields, but 2 columns"),
        ("a,b\n1,x\n", ["c"], r"no column 'c', only a, b"),
        ("a,a\n1,x\n", ["a"], r"two columns have the same name: a, a"),
        ("", ["a"], r"no column 'a', only none"),
        (b"a,b\n1,\xff\n", ["a"], r"t.csv, after line 0: .*utf-8"),
        ('a,b\n1,x\n2,"y\n', ["a"], r"t.csv, after line 2: unexpected end of data"),
    ],
)
def test_a_row_of_a_file_that_cannot_be_a_record_is_named(
    tmp_path: Path, text: str | bytes, key: list[str], reason: str
) -> None:
    with pytest.raises(SourceError, match=reason):
        read(write(tmp_path / "t.csv", text), *key)


def test_cells_of_a_file_stay_texts(tmp_path: Path) -> None:
    text = '\ufeffcode,name\r\n007,"two\nlines, ""quoted"""\r\n\r\n1e3,\r\n'
    found = read(write(tmp_path / "t.csv", text), "code")
    assert [(item.place, item.key) for item in found] == [("line 3", "t:007"), ("line 5", "t:1e3")]
    assert [item.value.decode() for item in found] == [
        r'{"code":"007","name":"two\nlines, \"quoted\""}',
        '{"code":"1e3","name":""}',
    ]


def make_table(tmp_path: Path, *rows: tuple[object, object]) -> str:
    with closing(sqlite3.connect(tmp_path / "data.db")) as database, database:
        database.execute('CREATE TABLE "a ""table" (id, "a value")')
        database.executemany('INSERT INTO "a ""table" VALUES (?, ?)', rows)
    return f"sqlite:///{tmp_path}/data.db"


def test_cells_of_sqlite_keep_their_types(tmp_path: Path) -> None:
    cells = (2**63 - 1, 0.1, float("inf"), "ä:\x00", b"\x00\xff", b"", None)
    source = make_table(tmp_path, *enumerate(cells))
    found = [item.value.decode() for item in read(source, "id", table='a "table')]
    told = ("9223372036854775807", "0.1", '"Infinity"', r'"ä:\u0000"', r'"\\x00ff"', r'"\\x"', "null")
    assert found == [f'{{"id":{number},"a value":{each}}}' for number, each in enumerate(told)]


@pytest.mark.parametrize(
    ("cell", "reason"), [(None, "row 1: a column of the key is NULL"), (b"x", "row 1, id: a blob cannot be part")]
)
def test_a_row_of_a_table_whose_key_is_no_text_is_named(tmp_path: Path, cell: object, reason: str) -> None:
    source = make_table(tmp_path, (cell, 1))
    with pytest.raises(SourceError, match=reason):
        read(source, "id", table='a "table')


@pytest.mark.parametrize(
    ("source", "table", "reason"),
    [
        ("{}/none.csv", None, "No such file"),
        ("{}/none.csv", "t", "a CSV file has no tables"),
        ("sqlite:///{}/none.db", "t", "unable to open database file"),
        ("sqlite:///{}/data.db", "none", "no such table"),
        ("sqlite:///{}/data.db", None, "name the table"),
        ("mysql://localhost/data", "t", "mysql:// is neither"),
        ("postgresql://127.0.0.1:1/data", "t", "Connection refused"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, source: str, table: str | None, reason: str) -> None:
    make_table(tmp_path)
    with pytest.raises(SourceError, match=reason):
        read(source.format(tmp_path), "id", table=table)


def test_a_checksum_does_not_depend_on_the_order_but_on_everything_else() -> None:
    def checksum(*records: tuple[str, bytes]) -> str:
        tally = Tally()
        for record in records:
            tally.add(*record)
        return tally.checksum

    a, b = ("a", b"1"), ("b", b"2")
    assert checksum(a, b) == checksum(b, a)
    others = [checksum(*some) for some in ([], [a], [a, a], [b], [("a", b"2"), ("b", b"1")], [("a1", b""), b])]
    assert len({checksum(a, b), *others}) == len(others) + 1


async def test_of_a_source_with_a_wrong_row_nothing_is_written(address: str, tmp_path: Path) -> None:
    source = write(tmp_path / "wrong.csv", "id\n1\n2\n1\n")
    said = await asyncio.to_thread(tables, source, "--key", "id", address=address, code=1)
    assert said == "tables: line 4: the same key as line 2, 'wrong:1'\n"
    async with Client(address) as state:
        assert await state.get_many(["wrong:1", "wrong:2"]) == {}


async def test_every_record_that_is_not_its_row_is_found_and_left_alone_unless_told_otherwise(
    address: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "t.csv", "id,name\n" + "".join(f"{number},n{number}\n" for number in range(30)))
    command = (source, "--key", "id", "--prefix", "p", "--namespace", "planted")
    async with Client(address, namespace="planted", codec=Bytes()) as state:
        theirs = await state.put("p:7", b'{"id":"7","name":"theirs"}')
        said = await asyncio.to_thread(tables, *command, address=address, code=1)
        assert "p: 30 rows, 29 written, 1 there before, 30 read back" in said
        assert "line 9, 'p:7': the record is not the row\ntables: 1 of 30 rows are not their records\n" in said
        record = await state.get_record("p:7")
        assert record is not None
        assert record.etag == theirs

        await state.delete("p:8")
        await state.put("p:9", b'{"id":"9","name":"n9" }')  # the same JSON, another value
        said = await asyncio.to_thread(tables, *command, "--verify-only", address=address, code=1)
        assert "p: 30 rows, 29 read back" in said
        assert "line 10, 'p:8': there is no record\n" in said
        assert "tables: 3 of 30 rows are not their records\n" in said
        assert await state.get("p:8") is None

        said = await asyncio.to_thread(tables, *command, "--overwrite", address=address)
        assert "p: 30 rows, 1 written, 29 there before of which 2 written over, 30 read back" in said
        assert await state.get("p:7") == b'{"id":"7","name":"n7"}'

        await state.put_many({f"p:{number}": b"{}" for number in range(30)})
        said = await asyncio.to_thread(tables, *command, "--verify-only", address=address, code=1)
        assert said.count("the record is not the row") == 10
        assert "and 20 more\n" in said


def test_a_service_that_is_away_ends_the_program_in_time(tmp_path: Path, unused_tcp_port: int) -> None:
    source = write(tmp_path / "t.csv", "id\n1\n")
    said = tables(source, "--key", "id", "--timeout", "1", address=f"127.0.0.1:{unused_tcp_port}", code=69)
    assert said.endswith("run it again to go on\n")


async def test_a_file_that_changes_meanwhile_is_found_out(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "changing.csv", "id\n1\n2\n")

    def check_and_change(found: Iterable[Item], progress: Progress) -> Tally:
        tally = check(found, progress)
        write(source, "id\n1\n3\n")
        return tally

    monkeypatch.setattr(program, "check", check_and_change)
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(program.app, [str(source), "--key", "id", "--address", address])
    assert ended.value.code == 1
    assert "the source changed" in capsys.readouterr().err


async def test_the_commands_of_the_readme_run(address: str, tmp_path: Path) -> None:
    readme = (ROOT / "examples" / "tables" / "README.md").read_text()
    block, *_ = re.findall(r"^```sh\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    script = block.replace("/tmp/", f"{tmp_path}/").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-ec", script),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "KEEPSTATE_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await shell.communicate()
    assert shell.returncode == 0
    assert out.endswith(b'{"code":"AMS","name":"Schiphol"}')


async def test_progress_is_shown_on_a_terminal(address: str, tmp_path: Path) -> None:
    source = write(tmp_path / "t.csv", "id\n" + "".join(f"{number}\n" for number in range(2_500)))
    terminal, end = os.openpty()
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.tables", source, "--key", "id", "--prefix", "shown"),
        cwd=ROOT,
        env={"KEEPSTATE_ADDRESS": address, "TERM": "xterm", "COLUMNS": "120"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=end,
    )
    os.close(end)
    limit = asyncio.get_running_loop().call_later(60, program.kill)
    shown = await asyncio.to_thread(read_all, terminal)
    limit.cancel()
    assert await program.wait() == 0, shown
    for step in ("check", "move", "verify"):
        assert step in shown
    assert "2500/2500" in shown


def read_all(terminal: int) -> str:
    """What is written to a terminal until nobody is left who could."""
    text = b""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as file:
        while some := file.read(1 << 12):
            text += some
    return text.decode()


async def test_the_service_may_demand_tls_and_a_certificate_of_the_callers_own(tmp_path: Path) -> None:
    authority, callers = Authority(tmp_path / "ca"), Authority(tmp_path / "callers")
    own, caller = authority.issue("127.0.0.1"), callers.issue("tables")
    running = Service(
        Settings(
            listen="127.0.0.1:0",
            http_listen=None,
            sidecar=SidecarKind.EMBEDDED,
            data=tmp_path,
            tls_cert=own.cert,
            tls_key=own.key,
            tls_client_ca=callers.file,
        )
    )
    await running.start()
    await running.wait_ready()
    source = write(tmp_path / "t.csv", "id\n1\n")
    command = (source, "--key", "id", "--tls-ca", authority.file)
    identity = ("--tls-client-cert", caller.cert, "--tls-client-key", caller.key)
    try:
        address = f"127.0.0.1:{running.port}"  # by the name gRPC would try, and tell of, ::1 too
        said = await asyncio.to_thread(tables, *command, *identity, address=address)
        assert "1 written" in said
        said = await asyncio.to_thread(tables, *command, "--timeout", "1", address=address, code=69)
        assert "it may demand a client certificate" in said
    finally:
        await running.stop()
