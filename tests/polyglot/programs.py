"""Programs in other languages, as the tests build and run them."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority, Pair
from tests.support.service import ServiceProcess

PROJECT = Path(__file__).parents[2]

GO, NODE = (Path(__file__).parent / language for language in ("go", "node"))
"""The folders of the programs."""

SEEN = {
    "missing": "RECORD_NOT_FOUND",
    "put again": "RECORD_ALREADY_EXISTS",
    "its etag is told": True,
    "value": "AP8=",
    "put with an old etag": "ETAG_MISMATCH",
    "repeats": ["1 false", "1 true", "1 true"],
    "batch": ["put", "RECORD_NOT_FOUND", "1"],
    "transaction": [True, True],
    "transaction again": "RECORD_ALREADY_EXISTS",
    "its record is told": "b",
}
"""What each of them shall see, on a service that has no records of its namespace yet."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A service over TLS that lets callers in by their certificates."""

    address: str
    ca: Path
    server: Pair
    client: Pair

    @property
    def trusting(self) -> dict[str, str]:
        """The conformance programs' TLS of a client without a certificate."""
        return {"ca": str(self.ca)}

    @property
    def showing(self) -> dict[str, str]:
        """The same with one."""
        return {**self.trusting, "client_cert": str(self.client.cert), "client_key": str(self.client.key)}


def build(script: str, *arguments: str, folder: Path) -> None:
    """Run a language's script in a folder.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(
        [PROJECT / "scripts" / script, *arguments], cwd=folder, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}{done.stderr}"


def run(command: Sequence[str], *arguments: str) -> Any:
    """Run a program, and return the JSON that it prints.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def blocks(page: Path, language: str) -> list[str]:
    """The examples in a language on a page.

    Raises:
        AssertionError: there is none.
    """
    found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no examples in {language}"
    return found


def told(program: Sequence[str], options: dict[str, Any], *commands: dict[str, Any]) -> list[dict[str, Any]]:
    """What a program of the suite answers to commands, one after the other, by a client with options."""
    answers = []
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        connect = {"do": "connect", **options}
        for number, command in enumerate((connect, *commands)):
            running.stdin.write(json.dumps({"id": number, "client": "a", **command}) + "\n")
            running.stdin.flush()
            answers.append(json.loads(running.stdout.readline()))
        running.stdin.close()
        assert running.wait(timeout=20) == 0
    return answers[1:]


@contextmanager
def guarded_service(folder: Path) -> Iterator[Guarded]:
    """Runs a service over TLS that asks its callers for certificates."""
    authority = Authority(folder / "ca")
    server, client = authority.issue("127.0.0.1"), authority.issue("billing")
    settings = {
        "KEEPSTATE_TLS_CERT": str(server.cert),
        "KEEPSTATE_TLS_KEY": str(server.key),
        "KEEPSTATE_TLS_CLIENT_CA": str(authority.file),
    }
    with closing(ServiceProcess(folder, free_ports(), settings)) as service:
        service.start()
        yield Guarded(address=service.address, ca=authority.file, server=server, client=client)


def free_ports() -> tuple[int, int]:
    """Two ports of this machine that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
