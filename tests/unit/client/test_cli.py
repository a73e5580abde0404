"""The command line: what it sends, what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pty
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from typer.core import TyperGroup, TyperOption
from typer.testing import CliRunner

from keepstate import Client, Conflict, DecodeError, Internal, NotFound, OutcomeUnknown, StoreNotFound, Unavailable
from keepstate.cli import _extensions
from keepstate.cli._app import app
from keepstate.cli._calls import exit_code
from tests.unit.client.fake_service import FakeService, refusal
from tests.unit.client.program import Run, command, process

CODE = grpc.StatusCode
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_a_text_is_put_and_got_back_to_the_byte(run: Run, service: FakeService) -> None:
    assert (await run("put", "greeting", "hello")).exit_code == 0
    assert service.calls[0][1].content_type == "text/plain"
    got = await run("get", "greeting", "-o", "value")
    assert (got.exit_code, got.stdout_bytes) == (0, b"hello")


async def test_values_come_from_standard_input_and_files(run: Run, service: FakeService, tmp_path: Path) -> None:
    data = b"\x00\xff\n"
    assert (await run("put", "a", "-", stdin=data)).exit_code == 0
    assert service.calls[-1][1].content_type == "application/octet-stream"
    assert (await run("get", "a", "-o", "value")).stdout_bytes == data
    file = tmp_path / "value"
    file.write_text('{"a": 1}')
    assert (await run("put", "b", "--file", str(file), "--content-type", "application/json")).exit_code == 0
    assert json.loads((await run("get", "b", "-o", "json")).stdout)["value"] == {"a": 1}


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "--file", __file__], ["a", "--file", "/nowhere"], []])
async def test_there_is_exactly_one_value(run: Run, service: FakeService, arguments: list[str]) -> None:
    assert (await run("put", *arguments)).exit_code == 2
    assert service.calls == []


async def test_the_formats_of_a_record(run: Run, state: Client[Any], service: FakeService) -> None:
    service.clock = NOW.timestamp
    await run("put", "a", "one\ntwo\x1b[31m", "--ttl", "1h30m", "--namespace", "n")
    expected = {
        "key": "a",
        "namespace": "n",
        "store": "memory",
        "content_type": "text/plain",
        "etag": "v1",
        "create_time": "2026-11-22T12:00:00.000Z",
        "update_time": "2026-11-22T12:00:00.000Z",
        "expire_time": "2026-11-22T13:30:00.000Z",
    }
    document = json.loads((await run("get", "a", "--namespace", "n", "-o", "json")).stdout)
    assert document == {**expected, "value": "one\ntwo\x1b[31m"}
    lines = (await run("get", "a", "--namespace", "n")).stdout.splitlines()
    assert dict(line.split("\t") for line in lines) == {**expected, "value": "one\\ntwo\\\\x1b[31m"}


async def test_bytes_that_are_no_text_are_base64_in_json(run: Run) -> None:
    await run("put", "a", "-", stdin=b"\xff\x00")
    document = json.loads((await run("get", "a", "-o", "json")).stdout)
    assert base64.b64decode(document["value_base64"]) == b"\xff\x00"
    assert "2 bytes that are not text" in (await run("get", "a")).stdout


async def test_json_that_utf8_cannot_say_is_shown_escaped(run: Run) -> None:
    value = '{"a": "\\ud800\u00e4"}'
    await run("put", "a", value, "--content-type", "application/json")
    shown = (await run("get", "a", "-o", "json")).stdout
    assert shown.endswith(f'"value": {value}}}\n')
    assert (await run("patch", "a", "{}", "-o", "value")).stdout == value + "\n"
    file = b'{"updates": [{"key": "a", "merge_patch": {}}]}'
    assert (await run("transact", "-f", "-", "-o", "value", stdin=file)).stdout == value + "\n"


async def test_what_is_said_to_be_json_and_is_not_is_shown_as_text(run: Run) -> None:
    await run("put", "a", "{", "--content-type", "application/json")
    assert json.loads((await run("get", "a", "-o", "json")).stdout)["value"] == "{"


async def test_every_flag_of_put_reaches_the_service(run: Run, service: FakeService) -> None:
    first = (await run("put", "a", "1", "--if-absent", "-o", "value")).stdout.strip()
    await run("put", "a", "2", "--if-exists", "--expire-at", "2030-01-01T00:00:00+01:00", "--consistency", "eventual")
    await run("put", "a", "3", "--if-etag", first, "--keep-expiry", "--store", "redis", "--namespace", "n")
    absent, exists, etag = (request for _, request in service.calls)
    assert absent.precondition.absent
    assert exists.precondition.exists
    assert exists.expire_time.ToDatetime(tzinfo=UTC) == datetime(2029, 12, 31, 23, tzinfo=UTC)
    assert exists.consistency == 2
    assert etag.precondition.etag == first
    assert etag.keep_expiry
    assert (etag.name.store, etag.name.namespace) == ("redis", "n")


async def test_the_environment_mirrors_the_flags(run: Run, service: FakeService) -> None:
    await run(
        "put",
        "a",
        "1",
        KEEPSTATE_STORE="redis",
        KEEPSTATE_NAMESPACE="n",
        KEEPSTATE_CONTENT_TYPE="x/y",
        KEEPSTATE_TTL="90s",
        KEEPSTATE_IF_ETAG="e",
        KEEPSTATE_OUTPUT="json",
        KEEPSTATE_TIMEOUT="5s",
        KEEPSTATE_CONSISTENCY="eventual",
    )
    request = service.calls[-1][1]
    assert (request.name.store, request.name.namespace, request.content_type) == ("redis", "n", "x/y")
    assert (request.ttl.ToTimedelta(), request.precondition.etag) == (timedelta(seconds=90), "e")


def test_every_flag_has_its_variable_and_none_that_kubernetes_sets() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    extensions = {entry_point.name for entry_point in entry_points(group=_extensions.GROUP)}
    for name in group.commands.keys() - extensions:
        for parameter in group.commands[name].params:
            if isinstance(parameter, TyperOption) and parameter.name not in (None, "help"):
                flag = max(parameter.opts, key=len).removeprefix("--")
                assert parameter.envvar == f"KEEPSTATE_{flag.replace('-', '_').upper()}"
                assert not parameter.envvar.startswith(("KEEPSTATE_PORT", "KEEPSTATE_SERVICE"))


async def test_delete_and_touch(run: Run, service: FakeService) -> None:
    service.clock = NOW.timestamp
    await run("put", "a", "1")
    touched = await run("touch", "a", "--ttl", "1d", "-o", "json")
    assert json.loads(touched.stdout) == {"key": "a", "etag": "v1", "expire_time": "2026-11-23T12:00:00.000Z"}
    assert (await run("touch", "a", "--never", "-o", "value")).stdout == "never\n"
    assert (await run("delete", "a", "-o", "json")).stdout == '{"key": "a", "existed": true}\n'
    assert (await run("delete", "a", "-o", "value")).stdout == "false\n"
    assert (await run("delete", "a")).stdout == "key\ta\nexisted\tfalse\n"


async def test_stores_are_listed_and_shown(run: Run) -> None:
    assert (await run("stores", "-o", "value")).stdout == "memory\nredis\n"
    assert (await run("stores")).stdout.splitlines()[0] == "memory\tstate.memory\tv1\ttrue\t1\t\t9"
    assert [store["name"] for store in json.loads((await run("stores", "-o", "json")).stdout)] == ["memory", "redis"]
    shown = (await run("stores", "redis")).stdout
    assert "durability\teverything\n" in shown
    assert "9\ttransaction\trefused\tno rollback\n" in shown
    assert json.loads((await run("stores", "redis", "-o", "json")).stdout)["promises"][1]["keeping"] == "refused"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["get", "nope"], 1, "not found: there is no such record: 'nope'"),
        (["put", "nope", "1", "--if-exists"], 1, "not found: refused"),
        (["touch", "nope", "--never"], 1, "not found: there is no such record"),
        (["stores", "nope"], 1, "store not found: there is no such store"),
        (["put", "a", "2", "--if-absent"], 70, "already exists: refused (its etag is v1)"),
        (["put", "a", "2", "--if-etag", "old"], 74, "conflict: refused (its etag is v1)"),
        (["put", "||", "2"], 67, 'invalid argument: name.key must not contain "||"'),
    ],
)
async def test_a_failure_is_one_line_and_an_exit_code(run: Run, arguments: list[str], code: int, reason: str) -> None:
    await run("put", "a", "1")
    result = await run(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"keepstate: {reason}\n", "")


async def test_an_outage_is_69_and_is_not_waited_out(run: Run, service: FakeService) -> None:
    nobody = await run("get", "a", "--address", "localhost:1")
    assert nobody.exit_code == 69
    assert nobody.stderr.startswith("keepstate: unavailable: no answer from localhost:1: ")
    assert nobody.stderr.count("\n") == 1
    service.script.append(refusal(CODE.UNAVAILABLE, "STORE_UNAVAILABLE", message="store 'redis' does not answer"))
    down = await run("get", "a")
    assert (down.exit_code, down.stderr) == (69, "keepstate: unavailable: store 'redis' does not answer\n")


def test_exit_codes() -> None:
    assert exit_code(NotFound(code=CODE.NOT_FOUND)) == 1
    assert exit_code(StoreNotFound(code=CODE.NOT_FOUND)) == 1
    assert exit_code(StoreNotFound(code=CODE.INVALID_ARGUMENT)) == 67
    assert exit_code(DecodeError()) == 1
    assert exit_code(Conflict(code=CODE.ABORTED)) == 74
    assert exit_code(Internal(code=CODE.INTERNAL)) == 77
    assert exit_code(Unavailable(code=CODE.UNAVAILABLE)) == 69
    assert exit_code(OutcomeUnknown(code=CODE.UNKNOWN)) == 66
    assert exit_code(OutcomeUnknown(code=CODE.UNAVAILABLE)) == 66
    assert exit_code(OutcomeUnknown(code=CODE.DEADLINE_EXCEEDED)) == 66


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["touch", "a"], "give one of --ttl, --expire-at, --never"),
        (["put", "a", "1", "--if-absent", "--if-exists"], "give only one of --if-absent, --if-exists"),
        (["put", "a", "1", "--ttl", "1x"], "'1x' is not a duration such as 1h30m"),
        (["put", "a", "1", "--expire-at", "2030-01-01"], "has no timezone"),
        (["put", "a", "1", "--expire-at", "soon"], "'soon' is not a time such as"),
        (["get", "a", "--address", "http://x"], "host:port, without a scheme"),
        (["get", "a", "--address", "localhost"], "address must be host:port: 'localhost'"),
        (["get", "a", "--address", ""], "address must be host:port: ''"),
        (["get"], "Missing argument 'KEY'"),
        (["frobnicate"], "No such command"),
        (["get", "a", "-o", "yaml"], "yaml"),
    ],
)
async def test_wrong_usage_is_2(run: Run, service: FakeService, arguments: list[str], words: str) -> None:
    result = await run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert service.calls == []


async def test_help_says_the_exit_codes_and_does_not_load_the_service(run: Run) -> None:
    shown = (await run("--help")).stdout
    assert "69  the service or its store is unavailable" in shown
    assert "serve" in shown
    assert "sidecar" in shown


async def test_the_client_commands_do_not_import_the_service(address: str) -> None:
    # What is printed last is whether any module of the service was imported.
    code = (
        "import atexit, sys; from keepstate.cli import main; sys.argv[0] = 'keepstate'\n"
        "atexit.register(lambda: print(any(name.startswith('keepstate_server') for name in sys.modules)))\n"
        "main()"
    )
    returned, out, err = await process(
        sys.executable, "-c", code, "put", "a", "1", "-o", "value", KEEPSTATE_ADDRESS=address
    )
    assert (returned, out, err) == (0, b"v1\nFalse\n", b"")


async def test_the_entry_point_prints_the_version() -> None:
    returned, out, _ = await process(*command("--version"))
    assert returned == 0
    assert out.startswith(b"keepstate 0.")


@pytest.mark.parametrize("missing", ["typer", "yaml"])
async def test_without_the_extra_one_line_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from keepstate.cli import main; main()"
    returned, out, err = await process(sys.executable, "-c", code, "get", "a")
    assert (returned, out) == (1, b"")
    assert err.decode() == f"keepstate: the command line needs {missing}: pip install 'keepstate[cli]'\n"


async def test_on_a_terminal_there_is_a_table_and_an_end_of_line(address: str, service: FakeService) -> None:
    async def at_terminal(*arguments: str) -> str:
        shown, terminal = pty.openpty()
        environment = {**os.environ, "KEEPSTATE_ADDRESS": address, "TERM": "dumb"}
        running = await asyncio.create_subprocess_exec(*command(*arguments), stdout=terminal, env=environment)
        os.close(terminal)
        assert await running.wait() == 0
        with os.fdopen(shown, "rb") as reader:
            return os.read(reader.fileno(), 100_000).decode()

    await at_terminal("put", "a", "[bold]hello[/bold]")
    assert await at_terminal("get", "a", "-o", "value") == "[bold]hello[/bold]\r\n"
    table = await at_terminal("get", "a")
    assert "field" in table
    assert "─" in table
    assert "[bold]hello[/bold]" in table


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], typer.Typer]:
    """Makes an app with one command from an entry point."""

    def add(name: str, value: str) -> typer.Typer:
        def found(**_: str) -> list[EntryPoint]:
            return [EntryPoint(name=name, value=value, group=_extensions.GROUP)]

        monkeypatch.setattr(_extensions, "entry_points", found)
        extended = typer.Typer(add_completion=False, rich_markup_mode=None)
        extended.callback()(lambda: None)
        _extensions.add_extensions(extended)
        return extended

    return add


def greet(name: str, *, loudly: bool = False) -> None:
    """Greet NAME."""
    typer.echo(f"hello {name}{'!' if loudly else ''}")


async def test_an_added_command_gets_its_own_arguments_and_help(added: Callable[[str, str], typer.Typer]) -> None:
    extended = added("greet", f"{__name__}:greet")
    run = CliRunner().invoke
    assert run(extended, ["greet", "--loudly", "Ada"]).stdout == "hello Ada!\n"
    shown = run(extended, ["greet", "--help"]).stdout
    assert shown.startswith("Usage: keepstate greet ")
    assert "Greet NAME." in shown
    assert run(extended, ["greet", "--nope"]).exit_code == 2


async def test_an_added_command_whose_package_is_missing_says_what_to_install(
    added: Callable[[str, str], typer.Typer],
) -> None:
    result = CliRunner().invoke(added("serve", "keepstate_nowhere.cli:serve"), ["serve", "--listen", "x"])
    assert result.exit_code == 1
    assert result.stderr == "keepstate: serve needs keepstate_nowhere: pip install 'keepstate[server]'\n"
