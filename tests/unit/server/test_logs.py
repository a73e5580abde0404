"""The log: what is said of a fault, and that no secret is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from keepstate_server import logs

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def configure(form: str) -> None:
    logs.configure(level="info", as_json=form == "json")


def inner(value: str) -> None:
    password = value
    raise ValueError(f"cannot use {password}")


def outer(value: str) -> None:
    try:
        inner(value)
    except ValueError as error:
        raise RuntimeError(f"about {value}") from error


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_fault_is_told_by_types_and_frames_without_text_and_variables(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(form)
    try:
        outer(SECRET)
    except RuntimeError:
        structlog.get_logger().exception("call failed", call="Put")
    said = capsys.readouterr().err
    assert SECRET not in said
    assert said.count("\n") == 1
    for part in ("call failed", "Put", "RuntimeError", "ValueError", "server/test_logs.py:", ":outer", ":inner"):
        assert part in said


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_fault_that_a_library_tells_of_is_told_so_too(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(form)
    log = logging.getLogger("library")
    try:
        inner(SECRET)
    except ValueError as error:
        log.exception("it failed\nwith %r", error)  # noqa: TRY401 - as some do
        log.error("it failed: %s", error)  # noqa: TRY400 - and others
    said = capsys.readouterr().err
    assert SECRET not in said
    assert said.count("\n") == 2
    assert ":inner" in said
    assert said.count("ValueError") == 2


@pytest.mark.parametrize("form", ["console", "json"])
async def test_a_task_that_nobody_awaits_gives_no_secret_away(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure(form)

    async def fail() -> None:
        inner(SECRET)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    del task  # the log is written when it is forgotten
    said = capsys.readouterr().err
    assert "Task exception was never retrieved" in said
    assert SECRET not in said
    assert ":inner" in said


def test_as_json_each_line_is_an_object_also_those_of_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger().info("own", a=1)
    logging.getLogger("library").warning("theirs: %s", "x")
    own, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (own["event"], own["a"], own["level"]) == ("own", 1, "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("theirs: x", "library", "warning")
