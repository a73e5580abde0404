"""Codecs: what goes in comes out, and what is something else is said to be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from keepstate import Bytes, Client, Codec, DecodeError, EncodeError, Json, Model, Text
from tests.unit.client.fake_service import FakeService

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=12,
)


class User(BaseModel):
    name: str
    age: int = 0


@given(JSON)
def test_json_comes_back(value: Any) -> None:
    assert Json().decode(Json().encode(value)) == value


async def test_each_codec_writes_its_content_type(state: Client[Any], service: FakeService) -> None:
    cases: list[tuple[Codec[Any], Any, bytes, str]] = [
        (Json(), {"é": 1}, '{"é":1}'.encode(), "application/json"),
        (Bytes(), b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (Bytes(content_type="image/png"), bytearray(b"x"), b"x", "image/png"),
        (Text(), "é", "é".encode(), "text/plain"),
        (Model(User), User(name="Ada", age=3), b'{"name":"Ada","age":3}', "application/json"),
    ]
    for codec, value, data, content_type in cases:
        await state.put("k", value, codec=codec)
        request = service.calls[-1][1]
        assert (request.value, request.content_type) == (data, content_type)
        assert await state.get("k", codec=codec) == value


async def test_a_codec_is_chosen_for_a_client_a_view_or_a_call(address: str) -> None:
    async with Client(address, codec=Text()) as texts:
        await texts.put("a", "hello")
        assert await texts.get("a") == "hello"
        assert await texts.using(Bytes()).get("a") == b"hello"
        assert await texts.using(Json()).namespace("n").get("a") is None
        assert await texts.get("a", codec=Bytes()) == b"hello"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not JSON compliant"),
        ([float("-inf")], "not JSON compliant"),
        ({1, 2}, "set is not JSON serializable"),
        (b"x", "bytes is not JSON serializable"),
        ("\ud800", "surrogates"),
    ],
)
async def test_what_json_cannot_say_is_refused_by_key_and_not_sent(
    state: Client[Any], service: FakeService, value: Any, words: str
) -> None:
    with pytest.raises(EncodeError, match=rf"cannot encode the value of 'user:7' as application/json: .*{words}"):
        await state.put("user:7", value)
    assert service.calls == []


@pytest.mark.parametrize(
    ("codec", "value"), [(Text(), b"x"), (Bytes(), "x"), (Bytes(), 5), (Model(User), {"name": "Ada"})]
)
async def test_a_value_of_another_type_is_refused(state: Client[Any], codec: Codec[Any], value: Any) -> None:
    with pytest.raises(EncodeError, match="cannot encode the value of 'k'"):
        await state.put("k", value, codec=codec)


async def test_a_record_of_another_content_type_is_not_decoded(state: Client[Any]) -> None:
    await state.put("k", "17", codec=Text())
    with pytest.raises(DecodeError, match="'k' is text/plain, which is not read as application/json"):
        await state.get("k")


@pytest.mark.parametrize(
    ("codec", "content_type", "reads"),
    [
        (Json(), "Application/JSON; charset=utf-8", True),
        (Json(), "application/problem+json", True),
        (Json(), "", True),
        (Json(), "text/plain", False),
        (Json(content_type="x/y"), "x/y", True),
        (Text(), "text/html", True),
        (Text(), "", True),
        (Text(), "application/json", False),
        (Bytes(), "whatever/it is", True),
        (Model(User), "application/json", True),
        (Model(User), "text/plain", False),
    ],
)
def test_which_content_types_are_read(codec: Codec[Any], content_type: str, reads: bool) -> None:
    assert codec.reads(content_type) is reads


async def test_what_cannot_be_decoded_is_said_without_the_value(state: Client[Any]) -> None:
    await state.put("k", b'{"name": 5, "secret": "hush"}', codec=Bytes(content_type="application/json"))
    with pytest.raises(
        DecodeError, match="cannot decode the record 'k' as application/json: ValidationError"
    ) as caught:
        await state.get("k", codec=Model(User))
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("data", [b"", b"{", b"NaN", b"[-Infinity]", b"\xff"])
async def test_what_is_no_json_is_a_decode_error(state: Client[Any], data: bytes) -> None:
    await state.put("k", data, codec=Bytes(content_type="application/json"))
    with pytest.raises(DecodeError, match="'k'"):
        await state.get("k")
