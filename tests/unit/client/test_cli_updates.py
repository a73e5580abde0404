"""The commands that change values at the service, and the one that reads several records."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keepstate.v1 import state_service_pb2 as pb
from tests.unit.client.fake_service import FakeService
from tests.unit.client.program import Run

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_a_number_is_added_to(run: Run, service: FakeService) -> None:
    service.clock = NOW.timestamp
    assert (await run("incr", "hits")).stdout == "key\thits\nvalue\t1\netag\tv1\nexpire_time\tnever\n"
    assert (await run("incr", "hits", "4", "-o", "value")).stdout == "5\n"
    assert (await run("incr", "hits", "-2", "-o", "value")).stdout == "3\n"
    shown = json.loads((await run("incr", "hits", "--ttl", "1h", "-o", "json")).stdout)
    assert shown == {"key": "hits", "value": 4, "etag": "v4", "expire_time": "2026-11-22T13:00:00.000Z"}


async def test_every_flag_of_an_update_reaches_the_service(run: Run, service: FakeService) -> None:
    await run("incr", "n", "-1", "--initial", "10", "--min", "-5", "--max", "9", "--if-absent", "--ttl", "90s")
    await run("incr", "n", "--if-exists", "--keep-expiry", "--consistency", "eventual", KEEPSTATE_NAMESPACE="c")
    await run("append", "log", "1", "--if-etag", "e", "--expire-at", "2030-01-01T00:00:00Z", "--max-length", "7")
    first, second, third = (request for _, request in service.calls)
    increment = first.increment
    assert (increment.delta, increment.initial, increment.minimum, increment.maximum) == (-1, 10, -5, 9)
    assert first.precondition.absent
    assert first.ttl.ToTimedelta() == timedelta(seconds=90)
    assert second.precondition.exists
    assert second.keep_expiry
    assert (second.name.namespace, second.consistency) == ("c", 2)
    assert not second.increment.HasField("initial")
    assert (third.append.max_length, third.precondition.etag) == (7, "e")
    assert third.expire_time.ToDatetime(tzinfo=UTC) == datetime(2030, 1, 1, tzinfo=UTC)


async def test_values_are_appended_as_json_or_as_texts(run: Run, service: FakeService) -> None:
    assert (await run("append", "log", "-o", "value", "--", "-1", '{"a": [1.5, null]}', '"ä"')).exit_code == 0
    assert [json.loads(item) for item in service.calls[-1][1].append.items] == [-1, {"a": [1.5, None]}, "ä"]
    shown = await run("append", "log", "--text", "came", "12", "--max-length", "3", "-o", "value")
    assert shown.stdout == '["ä", "came", "12"]\n'
    assert json.loads((await run("append", "log", "3", "-o", "json")).stdout)["value"] == ["ä", "came", "12", 3]


async def test_a_value_is_patched(run: Run, service: FakeService) -> None:
    await run("put", "user", '{"name": "Ada", "city": "Paris"}', "--content-type", "application/json")
    shown = await run("patch", "user", '{"city": null, "age": 36}', "-o", "value")
    assert shown.stdout == '{"name": "Ada", "age": 36}\n'
    assert (await run("patch", "user", "{}")).stdout.splitlines()[1] == 'value\t{"name": "Ada", "age": 36}'


async def test_an_update_that_does_not_fit_is_73(run: Run) -> None:
    await run("incr", "stock", "--initial", "3")
    result = await run("incr", "stock", "-9", "--min", "0")
    assert (result.exit_code, result.stdout) == (73, "")
    assert result.stderr == "keepstate: update not applicable: less than the minimum\n"


async def test_an_update_whose_record_has_gone_since_says_so(run: Run, service: FakeService) -> None:
    """Only something between that sends calls again makes it so: the command itself sends none twice."""

    async def gone(request: Any, context: Any) -> Any:
        return pb.UpdateResponse(repeated=True)

    service.script.append(gone)
    result = await run("incr", "n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "keepstate: not found: 'n' was updated, and has gone since\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["incr"], "Missing argument 'KEY'"),
        (["incr", "n", "many"], "'many' is not a whole number"),
        (["incr", "n", "1.5"], "'1.5' is not a whole number"),
        (["incr", "n", str(2**63)], "needs more than 64 bits"),
        (["incr", "n", "--min", "low"], "'--min' (env var: 'KEEPSTATE_MIN'): 'low' is not a whole"),
        (["incr", "n", "--nope", "3"], "--nope"),
        (["incr", "n", "1", "2"], "unexpected extra argument"),
        (["incr", "n", "--if-absent", "--if-exists"], "give only one of --if-absent, --if-exists"),
        (["incr", "n", "--ttl", "1h", "--keep-expiry"], "give only one of --ttl, --keep-expiry"),
        (["append", "log"], "Missing argument 'VALUE"),
        (["append", "log", "1", "came"], "Invalid value for VALUE: 'came' is not a JSON value"),
        (["append", "log", "--text", "--max-lenght", "3", "came"], "No such option: --max-lenght"),
        (["append", "log", "1", "--max-length", "0"], "--max-length must be at least 1"),
        (["patch", "user", "{"], "Invalid value for JSON: '{' is not a JSON value"),
        (["patch", "user", '{"a": NaN}'], "NaN is not JSON"),
        (["patch", "user", '{"a": 1, "a": 2}'], "'a' is there twice"),
        (["patch", "user", "0.10000000000000000001"], "0.10000000000000000001 would lose digits"),
        (["patch", "user", "1e999"], "1e999 would lose digits"),
        (["patch", "user", "[" * 100_000], "nested too deeply"),
        (["snapshot"], "Missing argument 'KEY"),
    ],
)
async def test_wrong_usage_is_2_and_sends_nothing(
    run: Run, service: FakeService, arguments: list[str], words: str
) -> None:
    result = await run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert service.calls == []


async def test_several_records_are_read_as_of_one_moment(run: Run, service: FakeService) -> None:
    await run("put", "a", "one\ntwo")
    await run("put", "b", '{"n": 1}', "--content-type", "application/json", "--namespace", "n")
    await run("put", "b", "[1]", "--content-type", "application/json")
    assert (await run("snapshot", "b", "nobody", "a")).stdout == "b\tv3\tnever\t[1]\na\tv1\tnever\tone\\ntwo\n"
    assert service.names.count("Snapshot") == 1
    shown = json.loads((await run("snapshot", "a", "b", "-o", "json")).stdout)
    assert [(each["key"], each["value"]) for each in shown] == [("a", "one\ntwo"), ("b", [1])]
    assert (await run("snapshot", "b", "--namespace", "n", "-o", "value")).stdout == '{"n": 1}\n'
    assert (await run("snapshot", "nobody", "-o", "json")).stdout == "[]\n"
