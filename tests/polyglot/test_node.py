"""The Node client's documents say what is so, its package works, and it speaks TLS with a real service."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.polyglot.programs import PROJECT, blocks, guarded_service
from tests.support.certificates import Authority

CLIENT = PROJECT / "client/node"
SCRIPT = PROJECT / "scripts/client-node.sh"
PAGES = [PROJECT / "docs/clients/node.md", PROJECT / "README.md"]
README = CLIENT / "README.md"
ADDRESS = "localhost:7400"


def node(*command: str, folder: Path, address: str = "") -> str:
    """Run a command with the project's Node, and return what it prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    environment = ["env", f"KEEPSTATE={address}"] if address else []
    done = subprocess.run(
        [SCRIPT, "run", *environment, *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own that has the package as the registry would give it."""
    folder = tmp_path_factory.mktemp("project")
    packages, ours = folder / "node_modules", CLIENT / "node_modules"
    node("npm", "run", "build", folder=CLIENT)
    node("npm", "pack", "--ignore-scripts", "--pack-destination", str(folder), folder=CLIENT)
    [packed] = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(packages / "@keepstate", filter="data")
    (packages / "@keepstate/package").rename(packages / "@keepstate/client")
    for name in ("@grpc", "@bufbuild", "@types", "undici-types"):
        (packages / name).symlink_to(ours / name)
    (folder / "package.json").write_text('{"type": "module"}')
    settings = json.loads((CLIENT / "tsconfig.json").read_text())
    settings["compilerOptions"] |= {
        "outDir": "build",
        "skipLibCheck": False,
        "noUnusedLocals": False,
        "noUnusedParameters": False,
    }
    (folder / "tsconfig.json").write_text(json.dumps(settings | {"include": ["*.ts"]}))
    return folder


def run_program(program: str, project: Path) -> str:
    """Compile a program as strictly as the client itself, and return what it prints."""
    (project / "program.ts").write_text(program)
    node(str(CLIENT / "node_modules/.bin/tsc"), folder=project)
    return node("node", "build/program.js", folder=project)


def test_the_example_keeps_the_chat_as_the_readme_says(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_ENV", "production")  # makes npm leave out what the build needs, if nothing says otherwise
    copy = tmp_path / "node"
    shutil.copytree(CLIENT, copy, ignore=shutil.ignore_patterns("node_modules", "build", "dist"))
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if "@keepstate/client" not in line]
    assert [shlex.split(line)[0] for line in lines] == ["npm", "npm", "node", "node"]
    said = [node(*shlex.split(line), folder=copy, address=service) for line in lines]
    first, second = ([line.split("  ", 1)[1] for line in each.splitlines()] for each in said[-2:])
    assert first == ["ada: Good morning"]
    assert second == ["ada: Good morning", "charles: Good morning, Ada"]


def test_the_readmes_program_runs_with_the_package(service: str, project: Path) -> None:
    [program] = blocks(README, "ts")
    said = run_program(program.replace(ADDRESS, service), project)
    assert said == "{ name: 'Ada' }\n1n\n"


def test_the_pages_examples_run(service: str, project: Path) -> None:
    authority = Authority(project / "ca")
    shutil.copy(authority.file, project / "ca.pem")
    pair = authority.issue("billing")
    shutil.copy(pair.cert, project / "billing.pem")
    shutil.copy(pair.key, project / "billing.key")
    examples = [example for page in PAGES for example in blocks(page, "ts")]
    said = run_program(program_of(examples).replace(ADDRESS, service), project)
    expected = (
        "undefined\n{ name: 'Ada' } true application/json",
        "taken by",
        "failed: NotFound\nits etag: ",
        "1n\n9n\n[ 'came', 'saw' ]\n{ name: 'Ada' }\nnot enough in stock\n1n ",
        "70 70 30",
        "embedded existence staged",
        "hello\n",
    )
    for each in expected:
        assert each in said


def program_of(examples: list[str]) -> str:
    """A program that runs examples one after the other, each with a view of its own."""
    lines = [line for example in examples for line in example.splitlines() if line.startswith("import ")]
    imported: dict[str, set[str]] = {"@keepstate/client": {"Client", "type State"}}
    for line in lines:
        names, module = re.fullmatch(r'import \{ (.*) \} from "(.*)";', line).groups()  # type: ignore[union-attr]
        imported.setdefault(module, set()).update(names.split(", "))
    imports = "".join(
        f'import {{ {", ".join(sorted(names))} }} from "{module}";\n' for module, names in imported.items()
    )
    functions = calls = ""
    for number, example in enumerate(examples):
        body = "\n".join(line for line in example.splitlines() if not line.startswith("import "))
        makes_one = "const state =" in body
        taken = "" if makes_one else "state: State<unknown>"
        given = "" if makes_one else f"client.namespace('example-{number}')"
        functions += f"\nasync function example{number}({taken}) {{\n{body}\n}}\n"
        calls += f"await example{number}({given});\n"
    return f'{imports}{functions}\nconst client = new Client("{ADDRESS}");\n{calls}await client.close();\n'


def test_a_client_with_a_certificate_is_let_in_and_one_without_is_not(project: Path, tmp_path: Path) -> None:
    with guarded_service(tmp_path) as service:
        program = f"""
            import {{ readFileSync }} from "node:fs";
            import {{ Client, isKeepstateError, UsageError }} from "@keepstate/client";

            const ca = readFileSync({json.dumps(str(service.ca))});
            const cert = readFileSync({json.dumps(str(service.client.cert))});
            const key = readFileSync({json.dumps(str(service.client.key))});
            const other = readFileSync({json.dumps(str(service.server.key))});
            const address = "{service.address}";

            async function said(tls: object): Promise<string> {{
              try {{
                await using state = new Client(address, {{ tls, token: "secret", timeoutMs: 20_000, retry: false }});
                return await state.put("k", 1) === "" ? "nothing" : "let in";
              }} catch (error) {{
                if (error instanceof UsageError) return error.message;
                return isKeepstateError(error) ? `${{error.kind}} ${{error.nothingSent}}` : String(error);
              }}
            }}
            console.log(await said({{ ca, cert, key }}));
            console.log(await said({{ ca }}));
            console.log(await said({{}}));
            console.log(await said({{ ca, cert, key, serverName: "elsewhere" }}));
            console.log(await said({{ ca: key }}));
            console.log(await said({{ ca, cert }}));
            console.log(await said({{ ca, cert, key: other }}));
            console.log(await said({{ ca, cert, key: ca }}));
        """
        told = run_program(program, project).splitlines()
    assert told == [
        "let in",
        "Unavailable true",
        "Unavailable true",
        "Unavailable true",
        "tls.ca holds no certificate in PEM",
        "give both tls.cert and tls.key, or neither",
        "tls.key is not the key of tls.cert",
        "tls.key holds no private key in PEM, or one with a passphrase",
    ]
