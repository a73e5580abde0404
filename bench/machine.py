"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.rig import Rig, processor

__all__ = ["describe"]

ROOT = Path(__file__).parents[1]


def describe(on: Rig) -> dict[str, str]:
    """The machine, and the versions of all that takes part."""
    return {
        "processors": processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("grpcio", "protobuf", "dapr", "uvloop")},
        **on.versions(),
        "PostgreSQL": on.containers.postgres.sql("SHOW server_version").split()[0],
        "keepstate": _commit(),
    }


def _commit() -> str:
    """The commit that was measured, and whether anything was changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"{version('keepstate')}, no commit"
