"""The command line as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from typer.testing import Result

Run: TypeAlias = Callable[..., Awaitable[Result]]
"""Runs a command in the test's own process: the fixture ``run``."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from keepstate_program import main; main()", *arguments]


async def process(*arguments: str, **environment: str) -> tuple[int | None, bytes, bytes]:
    running = await asyncio.create_subprocess_exec(
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    out, err = await running.communicate()
    return running.returncode, out, err
