"""The suite itself: it finds what a client does wrong, and what is written wrong in a case."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.conformance import program as program_module
from tests.conformance.cases import PROMISES, RULES, Wrong, load, read
from tests.conformance.mistaken_program import MISTAKES
from tests.conformance.notation import Loader, Scene, differences, resolved
from tests.conformance.program import ANSWER_SECONDS, Gone, Program, Programs, command_of
from tests.conformance.running import Failed, Stage, run


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
async def test_a_mistake_in_a_client_is_found(mistake: Callable[[], None], stage: Stage, namespace: str) -> None:
    laws = {case.law: case for case in load()}
    program = await Program.start([sys.executable, "-m", "tests.conformance.mistaken_program", mistake.__name__])
    try:
        for number, law in enumerate(MISTAKES[mistake]):
            with pytest.raises(Failed):
                await run(laws[law], program, stage, f"{namespace}-{number}")
    finally:
        await program.end()


async def test_a_language_that_cannot_be_built_is_no_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program_module, "ROOT", tmp_path)
    with pytest.raises(Gone, match=r"there is no scripts/client-go\.sh"):
        command_of("go")
    script = tmp_path / "scripts" / "client-go.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'error: no Go here' >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(Gone, match="no Go here"):
        command_of("go")


async def test_a_build_that_hangs_ends_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program_module, "ROOT", tmp_path)
    monkeypatch.setattr(program_module, "BUILD_SECONDS", 0.2)
    script = tmp_path / "scripts" / "client-go.sh"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nsleep 100\nsleep 100\n")  # which has the script's outputs, too
    script.chmod(0o755)
    started = time.monotonic()
    with pytest.raises(Gone, match=r"not done within 0\.2 s"):
        command_of("go")
    assert time.monotonic() - started < 50


def program_of(code: str) -> list[str]:
    """The command of a program that is of a language, and then runs some code with each command `c`."""
    loop = "import json, os, sys\nfor n, line in enumerate(sys.stdin):\n c = json.loads(line)\n"
    hello = " if n == 0: print(json.dumps({'id': c['id'], 'ok': {'language': 'go', 'version': '1'}}), flush=True)\n"
    return [sys.executable, "-uc", f"{loop}{hello} else: {code}"]


ANSWER = "print(json.dumps({'id': c['id'], 'ok': {}}))"

BAD_PROGRAMS = {
    "sys.exit(3)": "has ended, with exit code 3",
    "os.kill(os.getpid(), 9)": "has ended, with exit code -9",
    "print('hello')": "no answer",
    "print('{}')": "no answer: to no command",
    "print('[]')": "no answer: to no command",
    "print('{\"id\": [1]}')": "no answer: to no command",
    'print(\'{"id": 77, "ok": {}}\')': "no answer: to no command",
    "print(json.dumps({'id': c['id']}))": "no answer: neither ok nor error",
    "print(json.dumps({'id': c['id'], 'error': 'bad'}))": "no answer: neither ok nor error",
    "print(json.dumps({'id': c['id'], 'ok': {}, 'error': {'type': 'Usage'}}))": "no answer: neither ok nor error",
    "sys.stdout.buffer.write(bytes([255, 10]))": "no answer",
    "print('x' * 100_000)": "no answer",
    "pass": r"no answer to command 2 within 0\.5 s",
}


@pytest.mark.parametrize("code", BAD_PROGRAMS)
async def test_a_program_that_ends_hangs_or_says_what_is_no_answer_is_told_so(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_module, "_LINE_BYTES", 10_000)
    programs = Programs({"go": program_of(code)})
    program = await programs.of("go")
    seconds = 0.5 if code == "pass" else ANSWER_SECONDS
    with pytest.raises(Gone, match=BAD_PROGRAMS[code]):
        await program.do({"do": "stores"}, seconds)
    with pytest.raises(Gone, match=BAD_PROGRAMS[code]):
        await program.do({"do": "stores"})
    assert await programs.of("go") is not program
    await programs.end()


async def test_a_program_that_answers_twice_or_ends_between_two_cases_fails_the_next() -> None:
    for code, why in ((f"{ANSWER}; {ANSWER}", "to no command"), (f"{ANSWER}; sys.exit(3)", "exit code 3")):
        programs = Programs({"go": program_of(code)})
        program = await programs.of("go")
        assert await program.do({"do": "stores"}) == {"id": 2, "ok": {}}
        async with asyncio.timeout(ANSWER_SECONDS):
            while not program.gone:
                await asyncio.sleep(0.01)
        with pytest.raises(Gone, match=f"after the case before.*{why}"):
            await programs.of("go")
        assert await programs.of("go") is not program
        await programs.end()


async def test_a_program_that_goes_after_the_last_case_fails_the_run() -> None:
    for code, why in ((f"{ANSWER}; {ANSWER}", "to no command"), (f"{ANSWER}\nsys.exit(3)", "exit code 3")):
        programs = Programs({"go": program_of(code)})
        await (await programs.of("go")).do({"do": "stores"})
        with pytest.raises(Gone, match=why):
            await programs.end()


async def test_a_program_that_goes_again_and_again_is_not_started_for_each_case() -> None:
    programs = Programs({"go": program_of("sys.exit(3)")})
    for _ in range(3):
        with pytest.raises(Gone, match="exit code 3"):
            await (await programs.of("go")).do({"do": "stores"})
    with pytest.raises(Gone, match="since it went 3 times"):
        await programs.of("go")
    with pytest.raises(Gone, match="as before"):
        await programs.of("go")
    await programs.end()


async def test_a_program_of_another_language_or_of_none_fails_every_case() -> None:
    for command, why in ((program_of(ANSWER), "it answered hello with"), (["/no/such/program"], "No such file")):
        programs = Programs({"java": command})
        for _ in range(2):
            with pytest.raises(Gone, match=why):
                await programs.of("java")
        await programs.end()


async def test_a_fault_that_no_call_meets_fails_its_case(stage: Stage, namespace: str) -> None:
    [case] = read("[{law: a law, promises: [1], steps: [{fault: {of: Put, do: hang}}, {do: get, key: k}]}]", "file")
    program = await Program.start(command_of("python"))
    with pytest.raises(Failed, match=r"there was no call for the fault \{'of': 'Put', 'do': 'hang'\}"):
        await run(case, program, stage, namespace)
    assert await program.end() == 0


async def test_a_function_that_does_not_pause_fails_its_case_with_what_its_call_answered(
    stage: Stage, namespace: str
) -> None:
    steps = "{do: transaction, background: tx, steps: [{do: fail}]}, {paused: tx}, {answer: tx, to: transaction}"
    [case] = read(f"[{{law: a law, promises: [1], steps: [{steps}]}}]", "file")
    program = await Program.start(command_of("python"))
    with pytest.raises(Failed, match=r"step 2 .* the function of tx has not paused; its call answered .*Raised"):
        await run(case, program, stage, namespace)
    assert await program.end() == 0


def test_every_promise_and_every_rule_has_cases() -> None:
    cases = load()
    assert {number for case in cases for number in case.promises} == set(PROMISES)
    assert {rule for case in cases for rule in case.rules} == set(RULES)
    assert len(cases) >= 120


WRITTEN_WRONG = {
    "no such command": "{do: putt, key: k}",
    "no such field of a command": "{do: put, kee: k}",
    "no such field of an answer": "{do: get, key: k, gives: {rekord: null}}",
    "no such field of a record": "{do: get, key: k, gives: {record: {valeu: x}}}",
    "no such field of an error": "{do: get, key: k, fails: {tipe: NotFound}}",
    "no such field within a batch": "{do: batch, operations: [{do: get, kee: k}]}",
    "no such operation in a batch": "{do: batch, operations: [{do: snapshot, names: []}]}",
    "no such step of a function": "{do: transaction, steps: [{do: touch, key: k}]}",
    "gives and fails": "{do: get, key: k, gives: {}, fails: NotFound}",
    "no such step": "{chaos: true}",
    "two steps in one": "{advance_ms: 1, shift_ms: 1}",
    "seen without calls": "{seen: Put}",
    "no such fault": "{fault: {of: Put, do: explode}}",
    "no such field of a fault": "{fault: {on: Put, do: hang}}",
    "no such field of a status": "{fault: {do: status, status: {kode: INTERNAL}}}",
    "no such tag": "{do: get, key: !secret k}",
    "what is expected said where nobody waits": "{do: get, key: k, background: b, gives: {}}, {answer: b, to: get}",
    "in the background, and no answer awaited": "{do: get, key: k, background: b}",
    "an answer of what is not in the background": "{answer: b, to: get}",
    "outcomes and an expectation": "{at_once: [{do: get, key: k, fails: Usage}], outcomes: {ok: 1}}",
    "at once and in the background": "{at_once: [{do: get, key: k, background: b}]}, {answer: b, to: get}",
    "fails with nothing": "{do: get, key: k, fails: null}",
    "a name twice": "{do: get, key: k, key: l}",
}


@pytest.mark.parametrize("what", WRITTEN_WRONG)
def test_what_is_written_wrong_in_a_case_is_an_error(what: str) -> None:
    with pytest.raises(Wrong, match="file"):
        read(f"[{{law: a law, promises: [1], steps: [{WRITTEN_WRONG[what]}]}}]", "file")


@pytest.mark.parametrize(
    "shows", ["promises: [15]", "rules: [Z1]", "rules: []", "clients: {a: {timeot_ms: 5}}, rules: [C1]"]
)
def test_a_case_shows_a_promise_or_a_rule_that_there_is(shows: str) -> None:
    with pytest.raises(Wrong):
        read(f"[{{law: a law, {shows}, steps: [{{do: get, key: k}}]}}]", "file")


NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expected", "found", "fits"),
    [
        ("{a: 1}", {"a": 1, "b": 2}, True),
        ("{a: 1}", {"a": 2}, False),
        ("{a: null}", {}, True),
        ("{a: null}", {"a": 0}, False),
        ("{a: false}", {}, True),
        ("{a: true}", {"a": 1}, False),
        ("[1, 2]", [1, 2], True),
        ("[1, 2]", [1, 2, 3], False),
        ("{value: x}", {"value": "eA=="}, True),
        ("{value: !hex 00ff }", {"value": "AP8="}, True),
        ("{value: x}", {"value": "x"}, False),
        ("{value: !size 1 }", {"value": "eA=="}, True),
        ("!size [1, 2]", ["a", "b"], True),
        ("!size [1, 2]", ["a", "b", "c"], False),
        ("!size [1, 2]", [], False),
        ("!size [1, 2]", None, False),
        ("{value: !holds [x]}", {"value": "eA=="}, True),
        ("{value: !holds [y]}", {"value": "eA=="}, False),
        ("!any x", None, False),
        ("!not 5", 5, False),
        ("!not 5", 6, True),
        ("!one_of [1, null]", None, True),
        ("!one_of [1, 2]", 3, False),
        ("!between [1, 2]", 2, True),
        ("!between [1, 2]", 3, False),
        ("!between [1, 2]", "1", False),
        ("!near [500, 10]", "2030-01-01T00:00:00.505Z", True),
        ("!near [500, 10]", "2030-01-01T00:00:00.515Z", False),
        ("!near [500, 10]", None, False),
        ('"2030-01-01T00:00:00.5Z"', "2030-01-01T01:00:00.500000000+01:00", True),
        ('"2030-01-01T00:00:00.5Z"', "2030-01-01T00:00:00.500000001Z", False),
        ("!matches ^a", "abc", True),
        ("!matches ^a", "bac", False),
        ("!each [2, {a: 1}]", [{"a": 1}, {"a": 1}], True),
        ("!each [2, {a: 1}]", [{"a": 1}], False),
        ("!each [2, {a: 1}]", [{"a": 1}, {"a": 2}], False),
        ("{a: !save x , b: !saved x }", {"a": "s", "b": "s"}, True),
        ("{a: !save x , b: !saved x }", {"a": "s", "b": "t"}, False),
        ("{a: !save x , b: !unlike x }", {"a": "s", "b": "s"}, False),
        ("{a: !save x }", {"a": ""}, False),
    ],
)
def test_what_is_found_is_compared_with_what_is_expected(expected: str, found: object, fits: bool) -> None:
    assert (not list(differences(yaml.load(expected, Loader), found, Scene(now=lambda: NOW)))) is fits


def test_a_command_is_sent_with_its_values_in_their_places() -> None:
    written = yaml.load(
        "{value: !repeat [x, 2], items: [y], key: !join [!saved a , /], expire_time: !in 250, "
        "each: !numbered [2, {key: k#}]}",
        Loader,
    )
    assert resolved(written, Scene(now=lambda: NOW, saved={"a": "b"})) == {
        "value": "eHg=",
        "items": ["eQ=="],
        "key": "b/",
        "expire_time": "2030-01-01T00:00:00.250000Z",
        "each": [{"key": "k0"}, {"key": "k1"}],
    }
