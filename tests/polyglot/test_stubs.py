"""The service called by generated stubs alone, in languages in which nothing of ours is between."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest

from keepstate.testing import KeepstateService
from tests.polyglot.programs import GO, NODE, PROJECT, SEEN, build, run
from tests.unit.client.fake_service import FakeService, refusal

PROGRAMS = {"go": GO / "plain/main.go", "ts": NODE / "plain.ts"}


@pytest.fixture(params=["go", "node"])
def plain(request: pytest.FixtureRequest) -> list[str]:
    """The command of a program."""
    command: list[str] = request.getfixturevalue(f"plain_{request.param}")
    return command


async def test_stubs_alone_read_write_repeat_and_tell_refusals_apart(plain: list[str]) -> None:
    async with KeepstateService() as service:
        assert await asyncio.to_thread(run, plain, service.address) == SEEN


async def test_a_reason_that_a_program_does_not_know_leaves_it_the_code(plain: list[str]) -> None:
    service = FakeService()
    server, address = await service.serve()
    service.script.append(refusal(grpc.StatusCode.ABORTED, "OF_A_LATER_VERSION"))
    try:
        seen = await asyncio.to_thread(run, plain, address)
    finally:
        await server.stop(None)
    assert seen["missing"].upper() == "ABORTED"


def test_the_documents_examples_are_of_these_programs() -> None:
    page = (PROJECT / "docs/clients/another.md").read_text()
    found = re.findall("^```(go|ts)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"go", "ts"}
    for language, example in found:
        assert _plain(example) in _plain(PROGRAMS[language].read_text()), example


def _plain(text: str) -> str:
    """Without indentation."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("language", ["go", "node"])
def test_the_programs_pass_what_checks_the_clients_of_their_languages(language: str) -> None:
    if language == "go":
        build("client-go.sh", "go", "vet", "./...", folder=GO)
        build("client-go.sh", "go", "mod", "tidy", "-diff", folder=GO)
    else:
        node = PROJECT / "client/node"
        prettier = (
            str(node / "node_modules/.bin/prettier"),
            "--config",
            str(node / ".prettierrc.json"),
            "--check",
            ".",
        )
        build("client-node.sh", "run", *prettier, folder=NODE)
