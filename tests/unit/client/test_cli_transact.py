"""What a transaction's file holds, and what the command makes of it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from keepstate.cli._read import read_document
from keepstate.cli._transaction_file import FORM, operations
from tests.unit.client.fake_service import FakeService
from tests.unit.client.program import Run

EVERYTHING = """
checks:
  - {key: absent, if_absent: true}
puts:
  - key: "user:1"
    value: {name: Ada, tags: [no, 1:30, 2027-01-31, 0.5, ~]}
    if_absent: true
    ttl: 1h30m
  - {key: note, text: "12", namespace: chat, store: redis, expire_at: 2030-01-01T00:00:00+01:00}
  - {key: photo, base64: /9j/4A==, content_type: image/jpeg, keep_expiry: true}
deletes:
  - {key: gone}
updates:
  - {key: hits, increment: {delta: 2, initial: 5, minimum: 0, maximum: 9}}
  - {key: log, append: {items: [came, {a: null}], max_length: 10}, ttl: 90s}
  - {key: "user:7", merge_patch: {city: null, name: Ada}, namespace: ""}
"""


async def transact(run: Run, text: str, *flags: str) -> Result:
    return await run("transact", "-f", "-", *flags, stdin=text.encode())


async def test_every_field_reaches_the_service(run: Run, service: FakeService) -> None:
    result = await transact(run, EVERYTHING, "--namespace", "n")
    assert (result.exit_code, result.stderr) == (0, "")
    (request,) = service.requests("Transact")
    assert request.checks[0].precondition.absent
    user, note, photo = request.puts
    assert json.loads(user.value) == {"name": "Ada", "tags": ["no", "1:30", "2027-01-31", 0.5, None]}
    assert (user.content_type, user.name.namespace, user.precondition.absent) == ("application/json", "n", True)
    assert user.ttl.ToTimedelta() == timedelta(minutes=90)
    assert (note.value, note.content_type, note.name.namespace, note.name.store) == (
        b"12",
        "text/plain",
        "chat",
        "redis",
    )
    assert note.expire_time.ToDatetime(tzinfo=UTC) == datetime(2029, 12, 31, 23, tzinfo=UTC)
    assert (photo.value, photo.content_type, photo.keep_expiry) == (b"\xff\xd8\xff\xe0", "image/jpeg", True)
    assert request.deletes[0].name.key == "gone"
    hits, log, patched = request.updates
    increment = hits.increment
    assert (increment.delta, increment.initial, increment.minimum, increment.maximum) == (2, 5, 0, 9)
    assert ([json.loads(item) for item in log.append.items], log.append.max_length) == (["came", {"a": None}], 10)
    assert log.ttl.ToTimedelta() == timedelta(seconds=90)
    assert json.loads(patched.merge_patch.patch) == {"city": None, "name": "Ada"}
    assert patched.name.namespace == "", "an empty name is the default namespace, whatever the flag says"


async def test_what_was_done_is_printed_in_the_files_order(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "work.json"
    file.write_text(
        '{\n\t"puts": [{"key": "a", "value": 1}, {"key": "b", "text": "x"}], "deletes": [{"key": "c"}],'
        ' "updates": [{"key": "n", "increment": {}}, {"key": "u", "merge_patch": {"a": "\\u00e4"}}]}'
    )
    table = await run("transact", "--file", str(file))
    assert table.stdout == 'put\ta\tv1\nput\tb\tv2\ndelete\tc\tfalse\nupdate\tn\t1\nupdate\tu\t{"a": "ä"}\n'
    assert (await run("transact", "-f", str(file), "-o", "value")).stdout == 'v5\nv6\nfalse\n2\n{"a": "ä"}\n'
    assert json.loads((await run("transact", "-f", str(file), "-o", "json")).stdout) == {
        "puts": [{"key": "a", "etag": "v9"}, {"key": "b", "etag": "v10"}],
        "deletes": [{"key": "c", "existed": False}],
        "updates": [
            {"key": "n", "value": 3, "etag": "v11", "expire_time": None},
            {"key": "u", "value": {"a": "ä"}, "etag": "v12", "expire_time": None},
        ],
    }


async def test_a_condition_that_fails_names_its_record_and_nothing_is_written(run: Run, service: FakeService) -> None:
    await run("put", "b", "1")
    result = await transact(run, "puts: [{key: a, text: x}, {key: b, text: y, if_absent: true}]")
    assert result.exit_code == 70
    assert result.stderr == "keepstate: already exists: refused: 'b' (its etag is v1)\n"
    assert (await run("get", "a")).exit_code == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must have at least one of checks, puts, deletes, updates"),
        ("- a", "must have at least one of checks, puts, deletes, updates"),
        ("puts: []", "there is no item in it"),
        ("put: []", "put: there is no such part; there are checks, puts, deletes, updates"),
        ("puts: {key: a}", "puts: must be a list"),
        ("puts: [a]", "puts[0]: must be an object"),
        ("deletes: [{key: a}, {if_exists: true}]", "deletes[1].key: must be given"),
        ("deletes: [{key: 7}]", "deletes[0].key: must be a text"),
        ("puts: [{key: a}]", "puts[0]: give one of value, text, base64"),
        ("puts: [{key: a, value: 1, text: x}]", "puts[0]: give only one of value, text"),
        ("puts: [{key: a, value: 1, vlaue: 2}]", "puts[0].vlaue: there is no such field here"),
        ("puts: [{key: a, text: 7}]", "puts[0].text: must be a text"),
        ("puts: [{key: a, base64: _}]", "puts[0].base64: must be base64"),
        ("puts: [{key: a, value: 1, ttl: 1x}]", "puts[0].ttl: '1x' is not a duration such as 1h30m"),
        ("puts: [{key: a, value: 1, ttl: 60}]", "puts[0].ttl: '60' is not a duration such as 1h30m"),
        ("puts: [{key: a, value: 1, expire_at: soon}]", "puts[0].expire_at: 'soon' is not a time such as"),
        ("puts: [{key: a, value: 1, expire_at: 2030-01-01}]", "puts[0]: expire_at must be an aware datetime"),
        ("puts: [{key: a, value: 1, ttl: 1h, keep_expiry: true}]", "puts[0]: give only one of ttl, keep_expiry"),
        ("puts: [{key: a, value: 1, if_exists: yes}]", "puts[0].if_exists: must be true, or left out"),
        ("checks: [{key: a}]", "checks[0]: give one of if_absent, if_exists, if_etag"),
        ("checks: [{key: a, if_exists: true, ttl: 1h}]", "checks[0].ttl: there is no such field here"),
        ("deletes: [{key: a, if_absent: true}]", "deletes[0].if_absent: there is no such field here"),
        ("updates: [{key: a}]", "updates[0]: give one of increment, append, merge_patch"),
        ("updates: [{key: a, increment: 1}]", "updates[0].increment: must be an object"),
        ("updates: [{key: a, increment: {delta: true}}]", "updates[0].increment.delta: must be a whole number"),
        ("updates: [{key: a, increment: {by: 1}}]", "updates[0].increment.by: there is no such field here"),
        ("updates: [{key: a, increment: {delta: 9223372036854775808}}]", "updates[0]: delta must be a number of 64"),
        ("updates: [{key: a, append: {max_length: 1}}]", "updates[0].append.items: must be given"),
        ("updates: [{key: a, append: {items: x}}]", "updates[0].append.items: must be a list"),
        ("updates: [{key: a, append: {items: [], max_length: 0}}]", "updates[0]: max_length must be at least 1"),
        ('{"puts": [}', "Expecting value: line 1 column 11"),
        ("puts: [", "not YAML"),
        ("puts: !!python/name:os.system []", "not YAML"),
        ("puts: []\nputs: []", "'puts' is there twice"),
        ("puts: [{key: a, value: {1: 2}}]", "1 is no name: put it into quotes"),
        ("puts: [{key: a, value: 0.10000000000000000001}]", "would lose digits"),
        ("puts: [{key: a, value: -.inf}]", "-.inf is not JSON"),
        ("puts: [{key: a, value: .NaN}]", ".NaN is not JSON"),
        ("puts: [{key: a, value: " + "[" * 5000 + "]" * 5000 + "}]", "nested too deeply"),
    ],
)
async def test_what_is_wrong_with_a_file_is_named_and_nothing_is_sent(
    run: Run, service: FakeService, text: str, words: str
) -> None:
    result = await transact(run, text)
    shown = " ".join(result.stderr.split())
    assert result.exit_code == 2
    assert f"Invalid value for --file: {words}" in shown or words in shown
    assert service.calls == []


async def test_all_wrong_items_are_named_at_once(run: Run, service: FakeService) -> None:
    result = await transact(run, "puts: [{key: a}, {key: b, value: 1}, {key: c, value: 1, ttl: x}]\ndeletes: [7]")
    assert (
        "--file: puts[0]: give one of value, text, base64; puts[2].ttl: 'x' is not a duration such as 1h30m, 90s or "
        "500ms; deletes[0]: must be an object"
    ) in result.stderr
    assert service.calls == []


async def test_a_file_must_be_there_and_be_text(run: Run) -> None:
    assert (await run("transact")).exit_code == 2
    assert (await run("transact", "-f", "/nowhere")).exit_code == 2
    result = await run("transact", "-f", "-", stdin=b"\xff")
    assert result.exit_code == 2
    assert "it is not UTF-8" in result.stderr


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -7, 2**70, 0.1, 1e300, "", "no", "007a", "ä\U0001f600", [], {}, {"a": [1, {"b": None}]}],
)
def test_json_is_read_alike_in_both_forms(value: Any) -> None:
    text = json.dumps({"puts": [{"value": value}]}, ensure_ascii=False)
    as_json, as_yaml = read_document(text), read_document(f"# A comment makes it YAML.\n{text}")
    assert repr(as_json) == repr(as_yaml) == repr({"puts": [{"value": value}]})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("True", True),
        ("1:30", "1:30"),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("1_000", "1_000"),
        ("2027-01-31", "2027-01-31"),
        ("1e3", 1000.0),
    ],
)
def test_plain_words_are_what_yaml_1_2_takes_them_for(text: str, value: Any) -> None:
    assert read_document(f"a: {text}") == {"a": value}
    assert type(read_document(f"a: {text}")["a"]) is type(value)


def test_the_form_in_the_help_is_a_file() -> None:
    example = re.split(r"\n\x08\n", FORM.partition("JSON:\n")[2])[0]
    made = operations(read_document(example))
    assert (len(made.checks), len(made.puts), len(made.deletes), len(made.updates)) == (1, 3, 1, 3)
