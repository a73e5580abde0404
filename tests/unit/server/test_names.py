from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keepstate_server.domain.names import (
    MAX_KEY_BYTES,
    MAX_NAMESPACE_BYTES,
    internal_key,
    key_fault,
    name_in_store,
    namespace_fault,
    stored_key,
)

# Rich in what the encoding turns on.
_PIECES = ("/", "%", "2F", "25", "%2F", "%25", "%252F", "%keepstate", "%25keepstate", "keepstate/", "|", "a", "\u00e9")
texts = st.lists(
    st.sampled_from(_PIECES) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=2), max_size=8
).map("".join)
keys = texts.filter(lambda text: key_fault(text) is None)
namespaces = texts.filter(lambda text: namespace_fault(text) is None)


@given(namespaces, keys, namespaces, keys)
def test_different_names_have_different_stored_keys(namespace: str, key: str, other: str, other_key: str) -> None:
    same = (namespace, key) == (other, other_key)
    assert (stored_key(namespace, key) == stored_key(other, other_key)) is same


@given(namespaces, keys)
def test_a_stored_key_tells_its_name(namespace: str, key: str) -> None:
    assert name_in_store(stored_key(namespace, key)) == (namespace, key)


@given(texts)
@example("%keepstate")
@example("%25keepstate/")
def test_every_printable_key_of_another_program_has_exactly_one_name(stored: str) -> None:
    if key_fault(stored) is not None or stored.startswith(internal_key("")):
        with pytest.raises(ValueError, match=r"must|own"):
            name_in_store(stored)
    else:
        namespace, key = name_in_store(stored)
        assert (namespace_fault(namespace), key_fault(key)) == (None, None)
        assert stored_key(namespace, key) == stored


@pytest.mark.parametrize(
    ("stored", "namespace", "key"),
    [
        ("user:7", "", "user:7"),
        ("docs/7", "docs", "7"),
        ("docs/2026/11", "docs", "2026/11"),
        ("https://example.com/a%20b", "https:", "/example.com/a%20b"),
        ("/users/7", "", "/users/7"),
        ("/", "", "/"),
        ("folder/", "", "folder/"),
        ("a/b%2Fc", "a", "b%2Fc"),
        ("100%", "", "100%"),
        ("50%25", "", "50%25"),
        ("%2Fusers", "", "%2Fusers"),
        ("users%2F", "", "users%2F"),
        ("users%2F7", "", "users/7"),
        ("users%252F7", "", "users%2F7"),
        ("users%2f7", "", "users%2f7"),
        ("%keepstate", "", "%keepstate"),
        ("%25keepstate/x", "%keepstate", "x"),
        ("a%2Fb/c", "a/b", "c"),
    ],
)
def test_keys_of_other_programs_have_these_names(stored: str, namespace: str, key: str) -> None:
    assert name_in_store(stored) == (namespace, key)
    assert stored_key(namespace, key) == stored


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("", "must not be empty"),
        ("%keepstate/journals", "of the service's own"),
        ("%keepstate/", "of the service's own"),
        ("line\nbreak", "U+000A at 4"),
        ("a||b", '"||"'),
        ("n" * (MAX_NAMESPACE_BYTES + 1) + "/7", "before its first / must be at most 128 bytes"),
        ("x" * (MAX_KEY_BYTES + 1), "at most 512 bytes"),
    ],
)
def test_a_key_without_a_name_says_why(stored: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        name_in_store(stored)


@given(namespaces, keys)
def test_no_name_reaches_an_internal_record(namespace: str, key: str) -> None:
    for name in ("probe", "", "journal/1", key):
        assert stored_key(namespace, key) != internal_key(name)
    assert not stored_key(namespace, key).startswith(internal_key(""))


@pytest.mark.parametrize("key", ["%keepstate/probe", "%25keepstate/probe", "%keepstate%2Fprobe"])
@pytest.mark.parametrize("namespace", ["", "%keepstate", "%25keepstate"])
def test_a_name_that_looks_encoded_reaches_no_internal_record(namespace: str, key: str) -> None:
    assert not stored_key(namespace, key).startswith(internal_key(""))


@pytest.mark.parametrize(
    ("namespace", "key", "other", "other_key"),
    [
        ("a", "b", "", "a/b"),
        ("a", "b", "", "a%2Fb"),
        ("a/b", "c", "a", "b/c"),
        ("a%2Fb", "c", "a/b", "c"),
        ("%", "a", "", "%/a"),
        ("", "%2F", "", "/"),
        ("a", "/b", "a/", "b"),
        ("", "a/", "a", "a"),
        ("", "%keepstate/", "", "%25keepstate/"),
        ("", "/a/b", "/a", "b"),
    ],
)
def test_a_separator_in_a_name_reaches_no_other_namespace(namespace: str, key: str, other: str, other_key: str) -> None:
    assert stored_key(namespace, key) != stored_key(other, other_key)


@given(namespaces, keys)
def test_a_stored_key_never_holds_what_dapr_splits_at(namespace: str, key: str) -> None:
    assert "||" not in stored_key(namespace, key)


def test_pipes_on_both_sides_of_the_separator_stay_apart() -> None:
    assert "||" not in stored_key("a|", "|b")


def test_a_plain_key_in_the_default_namespace_stands_as_it_is() -> None:
    assert stored_key("", "shop:cart:7") == "shop:cart:7"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "empty"),
        ("a||b", '"||"'),
        ("a\0b", "U+0000 at 1"),
        ("line\nbreak", "U+000A at 4"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\u2029", "U+2029"),
        ("\ud800", "U+D800"),
        ("x" * (MAX_KEY_BYTES + 1), "at most 512 bytes, not 513"),
        ("\u00e9" * 257, "at most 512 bytes, not 514"),
    ],
)
def test_each_fault_of_a_key_is_said(key: str, words: str) -> None:
    assert words in (key_fault(key) or "")


@pytest.mark.parametrize("key", ["x", " ", "\u00e9" * 256, "x" * MAX_KEY_BYTES, "a|b", "\U0001f600", "\u0378", "a/b%c"])
def test_a_printable_key_of_up_to_512_bytes_has_no_fault(key: str) -> None:
    assert key_fault(key) is None


def test_the_default_namespace_has_no_fault() -> None:
    assert namespace_fault("") is None


@pytest.mark.parametrize(
    ("namespace", "words"),
    [("a||b", '"||"'), ("\0", "U+0000"), ("n" * (MAX_NAMESPACE_BYTES + 1), "at most 128 bytes, not 129")],
)
def test_each_fault_of_a_namespace_is_said(namespace: str, words: str) -> None:
    assert words in (namespace_fault(namespace) or "")


@given(st.text())
def test_a_key_without_fault_can_always_be_encoded(key: str) -> None:
    if key_fault(key) is None:
        assert 1 <= len(key.encode()) <= MAX_KEY_BYTES
