"""What goes with every call beside its message: the token, and metadata of the caller's own."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from keepstate import Cancelled, Client, DeadlineExceeded, OutcomeUnknown, Tls, Unauthenticated, sync
from tests.support.certificates import Authority, server_credentials
from tests.unit.client.fake_service import FakeService, refusal
from tests.unit.client.program import Run

UNAVAILABLE = refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

SECRET = "s3cret-token"


def tokens(service: FakeService) -> list[str | bytes | None]:
    return [each.get("authorization") for each in service.metadata]


async def test_every_call_carries_the_token(address: str, service: FakeService) -> None:
    async with Client(address, token=SECRET) as state:
        await state.put("a", 1)
        await state.namespace("n").get("a")
        await state.get_many(["a"])
        await state.stores()
    assert service.metadata
    assert set(tokens(service)) == {f"Bearer {SECRET}"}


async def test_without_a_token_none_is_sent(state: Client[Any], service: FakeService) -> None:
    await state.put("a", 1)
    assert set(tokens(service)) == {None}


@pytest.fixture(params=["function", "asynchronous function"])
def numbered(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """Gives another token each time."""
    numbers: Iterator[int] = iter(range(100))

    def give() -> str:
        return f"t{next(numbers)}"

    async def give_later() -> str:
        await asyncio.sleep(0)
        return give()

    return give if request.param == "function" else give_later


async def test_a_function_is_asked_before_each_attempt(
    address: str, service: FakeService, pauses: list[float], numbered: Callable[[], Any]
) -> None:
    async with Client(address, token=numbered) as state:
        await state.get("a")
        service.script.extend([UNAVAILABLE] * 2)
        await state.get("a")
    assert tokens(service) == ["Bearer t0", "Bearer t1", "Bearer t2", "Bearer t3"]


async def test_the_synchronous_client_sends_them_too(
    address: str, service: FakeService, numbered: Callable[[], Any]
) -> None:
    def get() -> None:
        with sync.Client(address, token=numbered, metadata={"dapr-app-id": "other"}) as state:
            state.get("a")
            state.get("a")

    await asyncio.to_thread(get)
    assert tokens(service) == ["Bearer t0", "Bearer t1"]
    assert [each["dapr-app-id"] for each in service.metadata] == ["other", "other"]


class Broken(Exception):
    pass


def raises() -> str:
    raise Broken(SECRET)


async def raises_later() -> str:
    raise Broken(SECRET)


GIVE_NONE: dict[str, Callable[[], Any]] = {
    "raises": raises,
    "raises later": raises_later,
    "gives a number": lambda: 7,
    "gives nothing": lambda: "",
    "gives a line": lambda: f"{SECRET}\n",
}


@pytest.mark.parametrize("case", GIVE_NONE)
async def test_without_what_the_function_should_give_nothing_is_sent(
    address: str, service: FakeService, pauses: list[float], case: str
) -> None:
    function = GIVE_NONE[case]
    async with Client(address, token=function) as state:
        for call in (state.get("a"), state.put("a", 1)):
            with pytest.raises(Unauthenticated, match="there is no token: the function") as caught:
                await call
            assert caught.value.nothing_sent
            assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
            assert SECRET not in str(caught.value) + repr(caught.value)
            assert isinstance(caught.value.__cause__, Broken if function in (raises, raises_later) else type(None))
    assert service.metadata == []
    assert pauses == []


async def test_a_write_in_doubt_stays_so_where_there_is_no_token_for_its_repeat(
    address: str, service: FakeService, pauses: list[float]
) -> None:
    given = iter([SECRET, SECRET])  # for the time, and for the first attempt

    async with Client(address, token=lambda: next(given)) as state:
        service.lose_replies()
        with pytest.raises(OutcomeUnknown) as caught:
            await state.put("a", 1)
    assert isinstance(caught.value.__cause__, Unauthenticated)
    assert len(service.calls) == 1


async def test_a_token_that_takes_too_long_is_waited_for_no_longer_than_the_call_may_take(
    address: str, service: FakeService
) -> None:
    async def give() -> str:
        await asyncio.Event().wait()
        return SECRET

    async with Client(address, token=give) as state, asyncio.timeout(10):
        for call in (
            state.get("a", timeout=timedelta(milliseconds=50)),
            state.put("a", 1, timeout=timedelta(0.000001)),
        ):
            with pytest.raises(DeadlineExceeded) as caught:
                await call
            assert caught.value.nothing_sent
    assert service.metadata == []


async def test_a_client_that_is_closed_while_a_token_is_waited_for_sends_nothing(
    address: str, service: FakeService
) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def give() -> str:
        asked.set()
        await over.wait()
        return SECRET

    state = Client(address, token=give)
    call = asyncio.create_task(state.get("a"))
    await asked.wait()
    await state.close()
    over.set()
    with pytest.raises(Cancelled) as caught:
        await call
    assert caught.value.nothing_sent
    assert service.metadata == []


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n", "tökén"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_told(token: str) -> None:
    with pytest.raises(ValueError, match=r"^token: must be of visible ASCII characters, at least one$"):
        Client("localhost:7400", token=token)


def test_a_token_is_a_text_or_a_function() -> None:
    with pytest.raises(TypeError, match="token must be a str or a function, not a bytes"):
        Client(token=b"token")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "address",
    [
        "example.com:7400",
        "128.0.0.1:7400",
        "127.example.com:7400",
        "[::2]:7400",
        "localhost.example.com:7400",
        "0.0.0.0:1",
    ],
)
def test_a_token_leaves_the_machine_by_tls_alone(address: str) -> None:
    for token in (SECRET, lambda: SECRET):
        with pytest.raises(ValueError, match=r"^token: without TLS") as caught:
            Client(address, token=token)
        assert SECRET not in str(caught.value)
        Client(address, token=token, tls=Tls())


@pytest.mark.parametrize("address", ["localhost:7400", "127.0.0.1:7400", "127.255.1.2:7400", "[::1]:7400"])
def test_on_loopback_a_token_needs_no_tls(address: str) -> None:
    Client(address, token=SECRET)


async def test_a_token_goes_by_tls(tmp_path: Path) -> None:
    authority, service = Authority(tmp_path / "ca"), FakeService()
    server, address = await service.serve(server_credentials(authority.issue("localhost"), None))
    async with Client(address, tls=Tls(ca=authority.file), token=SECRET) as state:
        await state.get("a")
    await server.stop(None)
    assert tokens(service) == [f"Bearer {SECRET}"]


async def test_a_token_and_metadata_are_in_no_representation_log_or_failure(
    address: str, service: FakeService, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.script.extend([UNAVAILABLE] * 1000)
    state = Client(address, token=SECRET, metadata={"dapr-api-token": SECRET})
    async with state:
        with pytest.raises(Exception, match="refused") as refused:
            await state.put("a", 1)
        there = [
            repr(state),
            repr(vars(state)),
            repr(vars(state._connection)),
            *traceback.format_exception(refused.value),
        ]
    async with Client("localhost:1", retry=None, token=SECRET) as nobody:
        with pytest.raises(Exception, match="failed to connect") as away:
            await nobody.get("a")
    there += [repr(away.value), *traceback.format_exception(away.value), caplog.text]
    assert SECRET not in "".join(there)


# Metadata


async def test_every_call_carries_the_metadata(address: str, service: FakeService) -> None:
    own: dict[str, str | bytes] = {"dapr-app-id": "keep state", "x-y_z.0": "", "x-bin": b"\x00\xff"}
    async with Client(address, metadata=own, token=SECRET) as state:
        own.clear()  # what a caller does with its own afterwards is its business
        await state.put("a", 1)
        await state.stores()
    assert len(service.metadata) == 3
    for each in service.metadata:
        assert (each["dapr-app-id"], each["x-y_z.0"], each["x-bin"]) == ("keep state", "", b"\x00\xff")
        assert each["authorization"] == f"Bearer {SECRET}"


WRONG: dict[str, tuple[str, Any]] = {
    "a name has lower-case": ("Dapr-App-Id", "a"),
    "a name has lower-case ": ("a b", "a"),
    "a name has lower-case  ": ("", "a"),
    "give it as the token": ("authorization", "a"),
    "names with grpc- or keepstate- are taken": ("grpc-timeout", "1S"),
    "names with grpc- or keepstate- are taken ": ("keepstate-time", "a"),
    "it is HTTP's own": ("user-agent", "a"),
    "it is HTTP's own ": ("te", "a"),
    "it is HTTP's own  ": ("connection", "a"),
    "values are bytes where the name ends in -bin": ("a-bin", SECRET),
    "values are bytes where the name ends in -bin ": ("a", SECRET.encode()),
    "values are bytes where the name ends in -bin  ": ("a", 1),
    "a text has printable ASCII": ("a", f"{SECRET}\n"),
    "a text has printable ASCII ": ("a", f"{SECRET}ö"),
}


@pytest.mark.parametrize("words", WRONG)
def test_metadata_that_cannot_be_sent_is_refused_by_its_name(words: str) -> None:
    name, value = WRONG[words]
    with pytest.raises(ValueError, match=words.strip()) as caught:
        Client(metadata={name: value})
    assert f"metadata[{name!r}]" in str(caught.value)
    assert SECRET not in str(caught.value)


# The command line


async def test_the_command_line_takes_the_token_from_the_environment_or_a_file(
    run: Run, service: FakeService, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    await run("put", "a", "1", KEEPSTATE_TOKEN="from-environment")
    await run("get", "a", "--token-file", str(file), KEEPSTATE_TOKEN="from-environment")
    await run("stores", KEEPSTATE_TOKEN_FILE=str(file))
    await run("get", "a", KEEPSTATE_TOKEN="")
    assert tokens(service) == ["Bearer from-environment"] * 2 + ["Bearer from-file"] * 2 + [None]


async def test_a_token_that_cannot_be_used_is_wrong_usage(run: Run, service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    told = {
        "no file": await run("get", "a", "--token-file", str(tmp_path / "none")),
        "bytes": await run("get", "a", "--token-file", str(tmp_path / "bytes")),
        "empty": await run("get", "a", "--token-file", str(tmp_path / "empty")),
        "far": await run("get", "a", "--address", "example.com:7400", KEEPSTATE_TOKEN=SECRET),
    }
    assert {each.exit_code for each in told.values()} == {2}
    words = {name: " ".join(result.output.split()) for name, result in told.items()}
    assert "--token-file: cannot read" in words["no file"]
    assert "No such file" in words["no file"]
    assert "it is not a text" in words["bytes"]
    assert "token: must be of visible ASCII" in words["empty"]
    assert "token: without TLS" in words["far"]
    assert SECRET not in words["far"]
    assert service.metadata == []
