"""The fixtures, as another project has them: in a run of pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.project import documented, run_pytest

CONFTEST = 'pytest_plugins = ["keepstate.testing.fixtures"]\n'

WITHOUT_PLUGIN = """
import asyncio

def test_a_loop_of_its_own(keepstate):
    async def count():
        return await keepstate.increment("count")
    assert asyncio.run(count()) == 1
"""

ALONE = """
import pytest

@pytest.mark.parametrize("number", range(3))
async def test_every_test_has_a_store_of_its_own(keepstate, keepstate_service, number):
    assert keepstate_service.address
    assert await keepstate.increment("count") == 1

def test_a_client_that_nobody_calls_is_closed(keepstate):
    pass

def test_both_clients_call_one_service(keepstate_sync, keepstate_service):
    keepstate_sync.put("greeting", "hello")
    import asyncio
    from keepstate import Client

    async def get():
        async with Client(keepstate_service.address) as state:
            return await state.get("greeting")
    assert asyncio.run(get()) == "hello"
"""


def test_the_documented_project_passes(tmp_path: Path) -> None:
    files = documented()
    wanted = {name: files[name] for name in ("conftest.py", "test_sessions.py", "test_shop.py")}
    assert run_pytest(tmp_path, wanted).startswith("4 passed")


def test_the_documented_measurement_of_a_start_runs() -> None:
    command = [sys.executable, "-c", documented()["start_time.py"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    measured = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"a start takes \d+ ms, the median of 20", measured)
    print(measured)  # noqa: T201 - for who runs it with -s


def test_they_work_without_a_plugin_for_asynchronous_tests(tmp_path: Path) -> None:
    files = {"conftest.py": CONFTEST, "test_plain.py": WITHOUT_PLUGIN}
    arguments = ("-p", "no:asyncio", "-o", "addopts=", "-W", "ignore::pytest.PytestConfigWarning")
    assert run_pytest(tmp_path, files, *arguments).startswith("1 passed")


def test_no_test_sees_what_another_one_wrote(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, {"conftest.py": CONFTEST, "test_alone.py": ALONE}).startswith("5 passed")


def test_they_are_not_loaded_unless_asked_for(tmp_path: Path) -> None:
    text = (
        "import sys\n\ndef test_it():\n    assert not [name for name in sys.modules if name.startswith('keepstate')]\n"
    )
    assert run_pytest(tmp_path, {"test_it.py": text}).startswith("1 passed")
