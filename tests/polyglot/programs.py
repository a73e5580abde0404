"""Programs in other languages, as the tests build and run them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
