"""The key builder: no two names become one key, and every key is one that the service accepts."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate import key, parse_key

PARTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=4)


def test_parts_are_joined_as_the_convention_has_it() -> None:
    assert key("chat", "history", 42) == "chat:history:42"
    assert key("task", UUID(int=7)) == "task:00000000-0000-0000-0000-000000000007"


def test_what_would_be_mistaken_is_escaped() -> None:
    assert key("a:b", "c||d", "100%", "line\nfeed\u2028") == "a%3Ab:c%7C%7Cd:100%25:line%0Afeed%E2%80%A8"


@given(PARTS)
def test_a_key_comes_apart_into_its_parts(parts: list[str]) -> None:
    try:
        built = key(*parts)
    except ValueError:
        assert len(":".join(parts).encode()) > 512 / 3
        return
    assert parse_key(built) == tuple(parts)


@given(PARTS)
def test_a_key_is_one_that_the_service_accepts(parts: list[str]) -> None:
    try:
        built = key(*parts)
    except ValueError:
        return
    assert 0 < len(built.encode()) <= 512
    assert "||" not in built
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in built)


@given(PARTS, PARTS)
def test_two_names_have_two_keys(one: list[str], other: list[str]) -> None:
    try:
        keys = key(*one), key(*other)
    except ValueError:
        return
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((), "at least one part"),
        (("a", ""), "part 2 of the key is empty"),
        (("x" * 513,), "513 bytes"),
        (("é" * 257,), "514 bytes"),
        (("\ud800",), "UTF-8"),
    ],
)
def test_what_is_no_key_is_refused(parts: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        key(*parts)


def test_512_bytes_are_a_key() -> None:
    assert len(key("x" * 512)) == 512


@pytest.mark.parametrize("part", [True, 1.5, None, b"a"])
def test_other_types_are_refused(part: object) -> None:
    with pytest.raises(TypeError, match="part 2"):
        key("a", part)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a::b", ":", "50%", "%zz", "%C3%28", "%FF"])
def test_what_the_builder_cannot_have_built_does_not_parse(text: str) -> None:
    with pytest.raises(ValueError, match="the key"):
        parse_key(text)


@given(st.text(max_size=40))
def test_parsing_gives_parts_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert all(parse_key(text))
