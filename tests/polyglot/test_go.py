"""The Go client's documents say what is so, and it speaks TLS with a real service."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.polyglot.programs import PROJECT, blocks, guarded_service, told

CLIENT = PROJECT / "client/go"
SCRIPT = PROJECT / "scripts/client-go.sh"
PAGES = [PROJECT / "docs/clients/go.md", PROJECT / "README.md"]
README = CLIENT / "README.md"
ADDRESS = "localhost:7400"


def go(*arguments: str, folder: Path) -> str:
    """Run the project's Go, and return what it prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(
        [SCRIPT, "go", *arguments], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"go {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


def make_module(folder: Path, program: str) -> None:
    """A module of its own that uses the client as others' do, at the client's own versions."""
    text = (CLIENT / "go.mod").read_text()
    name = re.findall(r"^module (\S+)$", text, re.MULTILINE)[0]
    module = text.replace(f"module {name}", "module keepstate.invalid/program", 1)
    (folder / "go.mod").write_text(f"{module}\nrequire {name} v0.0.0\n\nreplace {name} => {CLIENT}\n")
    (folder / "go.sum").write_text((CLIENT / "go.sum").read_text())
    (folder / "main.go").write_text(program)


def test_the_example_does_each_job_once_as_the_readme_says(service: str) -> None:
    [command] = [line for block in blocks(README, "sh") for line in block.splitlines() if "./example" in line]
    program, *arguments = shlex.split(command.replace(ADDRESS, service))
    assert program == "go"
    assert service in arguments
    said = go(*arguments, folder=CLIENT).splitlines()
    assert said[-1] == "20 of 20 jobs are done, each of them once"
    assert sum(int(line.rpartition(" ")[2]) for line in said[:-1]) == 20


def test_the_machines_own_settings_of_go_do_not_reach_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "env"
    settings.write_text("GOFLAGS=-mod=vendor\n")  # as `go env -w` keeps it
    monkeypatch.setenv("GOENV", str(settings))
    monkeypatch.setenv("GOWORK", str(tmp_path / "go.work"))
    assert go("list", "-m", "google.golang.org/grpc", folder=CLIENT).startswith("google.golang.org/grpc v")


def test_the_readmes_program_runs(service: str, tmp_path: Path) -> None:
    [program] = blocks(README, "go")
    make_module(tmp_path, program.replace(ADDRESS, service))
    assert go("run", ".", folder=tmp_path) == "good morning\n"


def test_the_pages_examples_run(service: str, tmp_path: Path) -> None:
    examples = [example for page in PAGES for example in blocks(page, "go")]
    make_module(tmp_path, program_of(examples).replace(ADDRESS, service))
    said = go("run", ".", folder=tmp_path)
    expected = (
        "true image/png",
        "Grace\n",
        "taken by",
        "failed:",
        "9 left",
        "not enough in stock",
        "70 and 30",
        "hello\n",
    )
    for each in expected:
        assert each in said


def program_of(examples: list[str]) -> str:
    """A program that runs examples one after the other, each with a view of its own."""
    used = {"context", "log", *re.findall(r"\b(errors|fmt|os|strings|time)\.[A-Z]", "".join(examples))}
    imports = "".join(f'\t"{name}"\n' for name in sorted(used))
    functions = "".join(
        f"\nfunc example{number}(ctx context.Context, client *keepstate.Client, state *keepstate.State) error {{\n"
        f"\t{{\n{example}\t}}\n\treturn nil\n}}\n"
        for number, example in enumerate(examples)
    )
    calls = "".join(
        f'\tif err := example{number}(ctx, client, client.Namespace("example-{number}")); err != nil {{\n'
        f'\t\tlog.Fatal("example {number}: ", err)\n\t}}\n'
        for number in range(len(examples))
    )
    return (
        f'package main\n\nimport (\n{imports}\n\tkeepstate "github.com/keepstate/keepstate/client/go"\n)\n'
        f'{functions}\nfunc main() {{\n\tctx := context.Background()\n\tclient, err := keepstate.New("{ADDRESS}")\n'
        f"\tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n{calls}}}\n"
    )


def test_a_client_with_a_certificate_is_let_in_and_one_without_is_not(tmp_path: Path) -> None:
    built = subprocess.run([SCRIPT, "conformance"], capture_output=True, text=True, timeout=600, check=True)
    program = built.stdout.splitlines()
    with guarded_service(tmp_path) as service:
        put = {"do": "put", "key": "k", "value": "AP8=", "timeout_ms": 20_000}
        with_one = told(program, {"address": service.address, "tls": service.showing}, put, {"do": "get", "key": "k"})
        without = told(program, {"address": service.address, "tls": service.trusting, "retry": False}, put)
    assert with_one[1]["ok"]["record"]["value"] == "AP8="
    assert (without[0]["error"]["type"], without[0]["error"]["nothing_sent"]) == ("Unavailable", True)
