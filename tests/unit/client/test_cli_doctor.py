"""What `keepstate doctor` prints, and its exit codes."""

from __future__ import annotations

import json

import grpc

from tests.unit.client.fake_service import FakeService, refusal
from tests.unit.client.program import Run


async def test_the_table_has_a_line_for_each_check(run: Run) -> None:
    result = await run("doctor")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "store\tmemory",
        "type\tstate.memory",
        "version\tv1",
        "compare-and-set\tyes\tyes\tkept\tof two one won",
        "rollback\tno\t\tmended\thalf; in stages",
        "eviction\tnot seen\t\tnot seen\t",
    ]


async def test_json_has_all_that_was_seen(run: Run) -> None:
    document = json.loads((await run("doctor", "memory", "-o", "json")).stdout)
    assert (document["store"]["name"], document["satisfied"]) == ("memory", True)
    assert document["findings"][0] == {
        "name": "compare-and-set",
        "seen": "yes",
        "expected": "yes",
        "verdict": "kept",
        "detail": "of two one won",
        "consequence": "",
        "seconds": 1.5,
    }


async def test_what_is_missing_is_exit_code_1_and_all_that_value_prints(run: Run) -> None:
    for output in ("table", "json"):
        assert (await run("doctor", "redis", "-o", output)).exit_code == 1
    result = await run("doctor", "redis", "-o", "value")
    assert result.exit_code == 1
    assert result.stdout == "compare-and-set\n"
    sound = await run("doctor", "-o", "value")
    assert (sound.exit_code, sound.stdout) == (0, "")


async def test_a_failure_is_not_taken_for_what_is_missing(run: Run, service: FakeService) -> None:
    service.script.append(refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", message="no answer"))
    assert (await run("doctor")).exit_code == 69


async def test_the_exit_code_is_in_the_help(run: Run) -> None:
    shown = (await run("doctor", "--help")).stdout
    assert "Exit code 1: something is missing" in " ".join(shown.split())
