"""Another project that tests with `keepstate.testing`, made of the files that docs/testing.md shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"

_SETTINGS = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"


def documented() -> dict[str, str]:
    """The files of the page, by name: each says it in its first line."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    files = {}
    for block in blocks:
        if named := re.match(r"# (\w+\.py)\b", block):
            files[named[1]] = block
    return files


def run_pytest(folder: Path, files: Mapping[str, str], *arguments: str, seconds: float = 120) -> str:
    """Runs pytest on the files, in a process and a folder of their own, and returns its last line.

    Raises:
        AssertionError: a test failed.
    """
    for name, text in {"pytest.ini": _SETTINGS, **files}.items():
        (folder / name).write_text(text)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTATE_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=inherited, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]
