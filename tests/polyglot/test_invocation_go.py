"""Go through Dapr's service invocation. What it shows of Dapr itself is in test_invocation_python.py."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from tests.polyglot.invocation import APP, Invoked
from tests.polyglot.programs import GO, SEEN, build, run

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a program with the Go client: it takes the sidecar's address, the app id and what to do."""
    file = tmp_path_factory.mktemp("go") / "invoked"
    build("client-go.sh", "go", "build", "-o", str(file), "./invoked", folder=GO)
    return [str(file)]


async def test_stubs_alone_see_through_dapr_what_they_see_without(invoked: Invoked, plain_go: list[str]) -> None:
    assert await asyncio.to_thread(run, plain_go, invoked.address, "dapr-app-id", APP) == SEEN


async def test_records_errors_and_large_batches_come_through(invoked: Invoked, program: list[str]) -> None:
    seen = await asyncio.to_thread(run, program, invoked.address, APP, "calls")
    conflict, second = seen.pop("conflict"), seen.pop("second")
    assert seen == {"value": "AP8=", "etag": True, "expires": True, "is a conflict": True, "large batch": 15}
    assert (conflict["kind"], conflict["code"], conflict["reason"]) == ("conflict", "Aborted", "ETAG_MISMATCH")
    assert (conflict["record"], conflict["etag"]) == (["redis", "invoked-go", "a"], second)


async def test_of_an_app_that_is_not_there_a_writes_outcome_is_unknown(invoked: Invoked, program: list[str]) -> None:
    seen = await asyncio.to_thread(run, program, invoked.address, "nobody-there", "once")
    assert _kinds(seen) == {"read": ("internal", "Unknown", False), "written": ("outcome unknown", "Unknown", False)}
    assert "app id nobody-there" in seen["read"]["message"]


async def test_while_the_service_is_away_a_writes_outcome_is_unknown(invoked: Invoked, program: list[str]) -> None:
    await asyncio.to_thread(invoked.service.end)
    try:
        seen = await asyncio.to_thread(run, program, invoked.address, APP, "once")
    finally:
        await asyncio.to_thread(invoked.service.start)
    down = "Unavailable"
    assert _kinds(seen) == {"read": ("unavailable", down, False), "written": ("outcome unknown", down, False)}


async def test_nothing_is_lost_or_doubled_while_the_service_is_killed_and_comes_back(
    invoked: Invoked, program: list[str]
) -> None:
    pipe = asyncio.subprocess.PIPE
    counting = await asyncio.create_subprocess_exec(
        *program, invoked.address, APP, "count", stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert counting.stdin is not None
    assert counting.stdout is not None
    counted: list[bytes] = []
    try:
        async with asyncio.timeout(180):
            for _ in range(2):
                counted += [await counting.stdout.readline() for _ in range(20)]
                await asyncio.to_thread(invoked.service.end, signal.SIGKILL)
                await asyncio.to_thread(invoked.service.start)
            counting.stdin.close()
            rest, said = await counting.communicate()
    finally:
        if counting.returncode is None:
            counting.kill()
    assert counting.returncode == 0, said
    assert {*counted, *rest.splitlines(keepends=True)} == {b"1\n"}


def _kinds(seen: Any) -> dict[str, tuple[str, str, bool]]:
    return {which: (told["kind"], told["code"], told["nothing sent"]) for which, told in seen.items()}
