"""The documents say what is so: their examples run, and what they name is there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory

from keepstate import Client, errors
from keepstate.testing import KeepstateService
from keepstate_server.config import Settings
from keepstate_server.domain.promises import TITLES
from keepstate_server.embedded import EmbeddedSidecar

ROOT = Path(__file__).parents[2]
FOLDERS = ["docs", "examples", "components"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [page for folder in FOLDERS for page in sorted((ROOT / folder).rglob("*.md"))]
PAGES += sorted((ROOT / "client").glob("*/README.md"))
TUTORIALS = [ROOT / "README.md", ROOT / "docs" / "start.md"]
ADDRESS = "localhost:7400"
KEEPSTATE = Path(sys.executable).with_name("keepstate")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path, program: str) -> list[str]:
    """The lines of a page's shell blocks that begin with the program."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    return [line for line in lines if line.startswith(f"{program} ")]


WITH_A_CLIENT = [ROOT / "docs" / "clients" / "python.md", ROOT / "docs" / "adapters.md"]
WITH_A_CLIENT += sorted((ROOT / "docs" / "recipes").glob("*.md"))
EXAMPLES = [
    pytest.param(page.name, block, id=f"{page.stem}-{number}")
    for page in WITH_A_CLIENT
    for number, block in enumerate(blocks(page, "python"))
]


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a service."""
    with KeepstateService() as running:
        yield running.address


@pytest.fixture(scope="module")
async def sidecar() -> AsyncIterator[EmbeddedSidecar]:
    """What `keepstate sidecar --store statestore` starts."""
    running = EmbeddedSidecar(path=None, store_name="statestore")
    await running.start()
    yield running
    await running.stop()


async def run(*command: str | Path, folder: Path | None = None, **environment: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=inherited | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, f"{command[-1]}\n{output.decode()}"


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
async def test_programs_run(page: Path, service: str, sidecar: EmbeddedSidecar) -> None:
    grpc_port, http_port = (f"{each}".rpartition(":")[2] for each in (sidecar.grpc_address, sidecar.http_address))
    programs = blocks(page, "python")
    assert programs
    for program in programs:
        code = program.replace(ADDRESS, service)
        await run(sys.executable, "-c", code, DAPR_GRPC_PORT=grpc_port, DAPR_HTTP_PORT=http_port)


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
async def test_commands_run(page: Path, service: str, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        if named := re.match(r"# (\w+\.yaml)\n", text):
            (tmp_path / named[1]).write_text(text)
    calls = [shlex.split(command)[1:] for command in commands(page, ".venv/bin/keepstate")]
    calls = [call for call in calls if call[0] not in ("serve", "sidecar")]
    assert calls
    for call in calls:
        await run(KEEPSTATE, *call, folder=tmp_path, KEEPSTATE_ADDRESS=service)


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
async def test_what_grpcurl_is_told_to_send_is_answered(page: Path, service: str) -> None:
    """Sent as grpcurl would: JSON into the message that the API's descriptor names."""
    calls = [shlex.split(command)[2:] for command in commands(page, "grpcurl -plaintext")]
    assert [ADDRESS, "list"] in calls
    async with grpc.aio.insecure_channel(service) as channel:
        for call in calls:
            document = call[1] if call[0] == "-d" else "{}"
            address, target = call[-2:]
            assert address == ADDRESS
            if target == "list":
                continue
            name, _, method_name = target.partition("/")
            service_type: Any = descriptor_pool.Default().FindServiceByName(name)
            method = service_type.methods_by_name[method_name]
            request_type: Any = message_factory.GetMessageClass(method.input_type)
            answer: Any = channel.unary_unary(
                f"/{target}",
                request_serializer=request_type.SerializeToString,
                response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
            )
            await answer(json_format.Parse(document, request_type()), timeout=10)


@pytest.mark.parametrize(("page", "block"), EXAMPLES)
async def test_examples_of_the_client_run(page: str, block: str, service: str, request: pytest.FixtureRequest) -> None:
    source = block.replace(ADDRESS, service)
    if re.search(r"keepstate\.(recipes\.)?sync", source):  # a program of its own: it would block this loop
        await run(sys.executable, "-c", source)
        return
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    # A namespace for each, so that no example meets another's records.
    async with Client(service, namespace=request.node.name) as state:
        running = eval(code, {"state": state, "__name__": page})
        if inspect.isawaitable(running):  # not where nothing in it is awaited
            await running


def settings_in_the_document() -> dict[str, str]:
    page = (ROOT / "docs" / "operate.md").read_text()
    return dict(re.findall(r"^\| `((?:KEEPSTATE|DAPR|APP)_\w+)` \| (.+?) \|", page, re.MULTILINE))


def variable_of(name: str) -> str:
    """The environment's variable for a setting."""
    return name.upper() if Settings.model_fields[name].validation_alias else f"KEEPSTATE_{name.upper()}"


def test_every_setting_is_documented_and_no_other() -> None:
    assert set(settings_in_the_document()) == {"KEEPSTATE_CONFIG", *map(variable_of, Settings.model_fields)}


@pytest.mark.parametrize("name", sorted(Settings.model_fields.keys() - {"data", "workers"}))
def test_the_documented_default_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith(("KEEPSTATE_", "DAPR_", "APP_"))]:
        monkeypatch.delenv(variable)
    told = settings_in_the_document()[variable_of(name)]
    if told == "unset":
        assert getattr(Settings(), name) is None
    elif told == "none":
        assert getattr(Settings(), name) == frozenset()
    else:
        given: dict[str, Any] = {name: told.strip("`")}
        assert getattr(Settings(**given), name) == getattr(Settings(), name)


def test_every_error_of_the_client_is_documented() -> None:
    page = (ROOT / "docs" / "clients" / "python.md").read_text()
    others = {"KeepstateError", "FieldViolation"}
    assert {name for name in errors.__all__ if f"`{name}`" not in page} <= others


def test_every_promise_has_its_place_in_the_contract() -> None:
    headings = re.findall(r"^### (\d+)\. (.+)$", (ROOT / "docs" / "contract.md").read_text(), re.MULTILINE)
    assert {int(number): title.lower() for number, title in headings} == TITLES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = re.sub(r"^```(?:python|go|java|ts)\n.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), f"the link to {link}"
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for test in set(re.findall(r"\btest_\w+\b(?!\.py)", text)):
        assert f"def {test}(" in sources, f"the test {test}"
    for file in set(re.findall(r"\b(test_\w+\.py)\b", text)):
        assert list((ROOT / "tests").rglob(file)), f"the file {file}"
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make (\w+)", text)):
        assert f"\n{target}:" in makefile, f"make {target}"
