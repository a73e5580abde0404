from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def vega() -> Path:
    """The folder of the tables that the package vega_datasets brings."""
    files = importlib.metadata.files("vega_datasets") or []
    (found,) = [file for file in files if file.name == "airports.csv"]
    return Path(str(found.locate())).parent


def start_tables(*arguments: str | Path, address: str) -> subprocess.Popen[str]:
    """Starts the program."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "DAPR_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.tables", *map(str, arguments)],
        cwd=ROOT,
        env={**inherited, "KEEPSTATE_ADDRESS": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tables(*arguments: str | Path, address: str, code: int = 0) -> str:
    """Runs the program to its end, and returns what it printed."""
    with start_tables(*arguments, address=address) as process:
        try:
            out, errors = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == code, out + errors
    return out + errors
