"""Shell completion, as a real bash asks for it; of zsh and fish what their scripts are answered."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.client.fake_service import FakeService

KEEPSTATE = Path(sys.executable).with_name("keepstate")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bash is to source."""
    file = tmp_path_factory.mktemp("completion") / "keepstate.sh"
    environment = {**os.environ, "_KEEPSTATE_COMPLETE": "source_bash"}
    file.write_bytes(subprocess.run([KEEPSTATE], env=environment, check=True, capture_output=True, timeout=30).stdout)
    return file


@pytest.fixture
def environment(address: str, script: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
    own = {
        "PATH": f"{KEEPSTATE.parent}:{os.environ['PATH']}",
        "KEEPSTATE_ADDRESS": address,
        "TERM": "dumb",
        "SCRIPT": str(script),
    }
    return {**inherited, **own, "INPUTRC": "/dev/null", "PS1": "> "}


async def run(environment: dict[str, str], *command: str) -> tuple[list[str], str]:
    """The lines that a command prints, and what it complains of."""
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(30):
        out, err = await running.communicate()
    return out.decode().splitlines(), err.decode()


async def offered(environment: dict[str, str], *words: str) -> list[str]:
    """What bash offers for the last of these words, taken apart as it takes them apart."""
    code = (
        'source "$SCRIPT"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "_keepstate_completion keepstate; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    lines, complaints = await run(environment, "bash", "--norc", "-c", code, "bash", *words)
    assert complaints == ""
    return [line for line in lines if line]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["s"], {"serve", "sidecar", "snapshot", "stores"}),
        (["transact", "--f"], {"--file"}),
        (["put", "a", "1", "--if-"], {"--if-absent", "--if-exists", "--if-etag"}),
        (["get", "a", "-o", ""], {"table", "json", "value"}),
        (["get", "a", "--consistency", "e"], {"eventual"}),
        (["get", "a", "--output", "=", "j"], {"json"}),
        (["get", "user", ":", "7", "--names"], {"--namespace"}),
        (["get", "a", "--store", ""], {"memory", "redis"}),
        (["get", "a", "--store", "re"], {"redis"}),
        (["stores", "m"], {"memory"}),
        (["serve", "--l"], {"--listen", "--log-format", "--log-level"}),
        (["sidecar", "--listen", "x", "--g"], {"--grpc-port"}),
        (["get", ""], set()),
        (["put", "a", "--file", "pyp"], set()),  # bash offers files then
        (["transact", "-f", "pyp"], set()),
    ],
)
async def test_bash_is_offered_what_fits(environment: dict[str, str], words: list[str], expected: set[str]) -> None:
    shown = set(await offered(environment, "keepstate", *words))
    assert shown >= expected
    if words != ["s"]:  # there may be other commands
        assert shown == expected


async def test_the_lines_own_address_is_asked_for_stores(environment: dict[str, str], address: str) -> None:
    host, _, port = address.partition(":")
    environment["KEEPSTATE_ADDRESS"] = "localhost:1"
    assert await offered(environment, "keepstate", "stores", "--address", host, ":", port, "m") == ["memory"]


async def test_where_nobody_answers_nothing_is_offered_and_nothing_said(environment: dict[str, str]) -> None:
    environment["KEEPSTATE_ADDRESS"] = "localhost:1"
    assert await offered(environment, "keepstate", "get", "a", "--store", "") == []
    environment["KEEPSTATE_TLS_CA"] = "/nowhere"
    assert await offered(environment, "keepstate", "stores", "") == []


async def test_who_asks_for_stores_shows_the_token(
    environment: dict[str, str], service: FakeService, tmp_path: Path
) -> None:
    environment["KEEPSTATE_TOKEN"] = "t0"
    assert await offered(environment, "keepstate", "stores", "mem") == ["memory"]
    (tmp_path / "token").write_text("t1")
    line = ("keepstate", "get", "a", "--token-file", str(tmp_path / "token"), "--store", "mem")
    assert await offered(environment, *line) == ["memory"]
    assert [each["authorization"] for each in service.metadata] == ["Bearer t0", "Bearer t1"]


class Terminal:
    """An interactive bash that knows the completions."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._shown = ""
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(end, self._read)

    def _read(self) -> None:
        self._shown += os.read(self._end, 10_000).decode(errors="replace")
        self._changed.set()

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    async def shows(self, words: str) -> None:
        """Waits until it does."""
        async with asyncio.timeout(30):
            while words not in self._shown:
                self._changed.clear()
                await self._changed.wait()
        self._shown = ""

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)


@pytest.fixture
async def terminal(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Terminal]:
    (tmp_path / "order.yaml").write_text("puts: []")
    mine, its = pty.openpty()
    shell = await asyncio.create_subprocess_exec(
        "bash", "--norc", "-i", env=environment, cwd=tmp_path, stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    terminal = Terminal(mine)
    terminal.press("source $SCRIPT; echo rea''dy\n")
    await terminal.shows("ready")
    yield terminal
    terminal.close()
    shell.kill()
    await shell.wait()
    os.close(mine)


async def test_the_tab_key_completes_words_that_bash_takes_apart_and_files(terminal: Terminal, address: str) -> None:
    for line, completed in (
        ("keepstate transact -f ord", "order.yaml "),
        ("keepstate put user:7 --file=ord", "--file=order.yaml "),
        ("keepstate get user:7 --output=j", "--output=json "),
        (f"keepstate get a:b --address {address} --store=mem", "--store=memory "),
        ("keepstate sto", "keepstate stores "),
    ):
        terminal.press(f"{line}\t")
        await terminal.shows(completed)
        terminal.press("\x15")  # clear the line


async def test_it_is_installed_for_the_shell_that_asks(environment: dict[str, str], tmp_path: Path) -> None:
    environment["HOME"] = str(tmp_path)
    told, complaints = await run(environment, "bash", "--norc", "-c", "keepstate --install-completion; exit $?")
    assert "bash completion installed" in told[0]
    assert complaints == ""
    shown, _ = await run(
        environment, "bash", "--rcfile", str(tmp_path / ".bashrc"), "-i", "-c", "complete -p keepstate"
    )
    assert shown == ["complete -o default -F _keepstate_completion keepstate"]


@pytest.mark.parametrize(("shell", "expected"), [("zsh", """_arguments '*: :(("json"))'"""), ("fish", "json")])
async def test_other_shells_are_answered_in_their_form(environment: dict[str, str], shell: str, expected: str) -> None:
    asked = {"_KEEPSTATE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "keepstate get user:7 --output=j"}
    answer, complaints = await run({**environment, **asked, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, str(KEEPSTATE))
    assert (answer, complaints) == ([expected], "")
    asked["_TYPER_COMPLETE_ARGS"] = "keepstate serve --lis"
    answer, complaints = await run({**environment, **asked, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}, str(KEEPSTATE))
    assert "--listen" in answer[0]
    assert complaints == ""
    script, _ = await run({**environment, "_KEEPSTATE_COMPLETE": f"source_{shell}"}, str(KEEPSTATE))
    assert f"_KEEPSTATE_COMPLETE=complete_{shell}" in "\n".join(script)
