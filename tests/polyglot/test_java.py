"""The Java client's documents say what is so, and it speaks TLS with a real service."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.polyglot.programs import PROJECT, blocks, guarded_service, told

CLIENT = PROJECT / "client/java"
SCRIPT = PROJECT / "scripts/client-java.sh"
PAGES = [PROJECT / "docs/clients/java.md", PROJECT / "README.md"]
README = CLIENT / "README.md"
ADDRESS = "localhost:7400"


@pytest.fixture(scope="module")
def conformance() -> list[str]:
    """The command that runs the program of the conformance suite."""
    return run(str(SCRIPT), "conformance").splitlines()


def run(*command: str, folder: Path = PROJECT, seconds: float = 600) -> str:
    """Run a command, and return what it prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_source(source: str, conformance: list[str], file: Path) -> str:
    """Compile and run a class that uses the client, with every warning an error, and return what it prints."""
    file.write_text(source)
    classes = conformance[conformance.index("-cp") + 1]
    compiler = str(Path(conformance[0]).with_name("javac"))
    run(compiler, "-Xlint:all,-processing", "-Werror", "-cp", classes, "-d", str(file.parent), str(file))
    return run(conformance[0], "-cp", f"{file.parent}:{classes}", file.stem, seconds=120)


def test_the_example_sells_each_ticket_once_as_the_readme_says(service: str, conformance: list[str]) -> None:
    """The program of the suite is built before, since the build leaves all that Maven needs."""
    assert conformance
    said = ""
    for line in [line for block in blocks(README, "sh") for line in block.splitlines()]:
        program, *arguments = shlex.split(line.replace(ADDRESS, service))
        assert program == "mvn"
        said = run(program, *arguments, folder=CLIENT)
    assert "5 of 20 buyers have a ticket, 0 are left" in said.splitlines()
    assert "`5 of 20 buyers have a ticket, 0 are left`" in README.read_text()


def test_the_readmes_program_runs(service: str, conformance: list[str], tmp_path: Path) -> None:
    [program] = blocks(README, "java")
    assert run_source(program.replace(ADDRESS, service), conformance, tmp_path / "Greeting.java") == "good morning\n"


def test_the_pages_examples_run(service: str, conformance: list[str], tmp_path: Path) -> None:
    examples = [example for page in PAGES for example in blocks(page, "java")]
    source = program_of(examples).replace(ADDRESS, service)
    said = run_source(source, conformance, tmp_path / "Examples.java")
    for expected in (
        "true image/png",
        "deleted: true",
        "taken by",
        "failed:",
        "read: Ada",
        "9 left",
        "not enough in stock",
        "70 and 30",
        "[false] 1",
        "transaction: ",
        "hello\n",
    ):
        assert expected in said


def program_of(examples: list[str]) -> str:
    """A class that runs examples one after the other, each with a view of its own."""
    methods = "".join(
        f"  static void example{number}(State state) throws Exception {{\n{example}  }}\n\n"
        for number, example in enumerate(examples)
    )
    calls = "".join(f'      example{each}(client.namespace("example-{each}"));\n' for each in range(len(examples)))
    return (
        "import io.github.keepstate.*;\nimport java.io.IOException;\nimport java.time.Duration;\n"
        "import java.util.List;\nimport java.util.Optional;\n\npublic final class Examples {\n"
        f"{methods}  public static void main(String[] arguments) throws Exception {{\n"
        f'    try (KeepstateClient client = KeepstateClient.connect("{ADDRESS}")) {{\n{calls}    }}\n  }}\n}}\n'
    )


def test_a_client_with_a_certificate_is_let_in_and_one_without_is_not(tmp_path: Path, conformance: list[str]) -> None:
    with guarded_service(tmp_path) as service:
        put = {"do": "put", "key": "k", "value": "AP8=", "timeout_ms": 20_000}
        with_one = told(
            conformance, {"address": service.address, "tls": service.showing}, put, {"do": "get", "key": "k"}
        )
        without = told(conformance, {"address": service.address, "tls": service.trusting, "retry": False}, put)
    assert with_one[1]["ok"]["record"]["value"] == "AP8="
    assert without[0]["error"]["type"] in ("Unavailable", "OutcomeUnknown")
