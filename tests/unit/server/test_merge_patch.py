"""JSON merge patches: RFC 7396, and what it leaves open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.operations import MergePatch
from keepstate_server.engine.merge_patch import read_patch
from keepstate_server.engine.updates import NotApplicable, changed
from tests.support.merging import merged
from tests.unit.server.test_updates import VALUES, nested, read, written


def after(value: bytes | None, patch: bytes) -> bytes:
    return changed(MergePatch(patch=patch), value, most_bytes=16 * 1024 * 1024)


# Appendix A of the RFC, all of it
APPENDIX = [
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("value", "patch", "expected"), APPENDIX)
def test_the_rfcs_examples_hold(value: str, patch: str, expected: str) -> None:
    assert after(value.encode(), patch.encode()).decode() == expected


def test_the_rfcs_long_example_holds() -> None:
    value = {
        "title": "Goodbye!",
        "author": {"givenName": "John", "familyName": "Doe"},
        "tags": ["example", "sample"],
        "content": "This will be unchanged",
    }
    patch = {"title": "Hello!", "phoneNumber": "+01-123-456-7890", "author": {"familyName": None}, "tags": ["example"]}
    assert json.loads(after(json.dumps(value, indent=2).encode(), json.dumps(patch, indent=2).encode())) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["example"],
        "content": "This will be unchanged",
        "phoneNumber": "+01-123-456-7890",
    }


@pytest.mark.parametrize(
    ("value", "patch", "expected"),
    [
        (None, b'{"a": {"b": null, "c": 1}}', b'{"a":{"c":1}}'),
        (None, b"null", b"null"),
        (None, b" 7 ", b"7"),
        (b'{"a": {"x": 1}}', b"{}", b'{"a":{"x": 1}}'),
        (
            b'{ "big" : 123456789012345678901234567890, "a":1 }',
            b'{"a":2}',
            b'{"big":123456789012345678901234567890,"a":2}',
        ),
        (b'{"x": [1.10, 1e400, -0.0], "a": 1}', b'{"a": 1.50e-400}', b'{"x":[1.10, 1e400, -0.0],"a":1.50e-400}'),
        (b'{"x": {"k": 1, "k": 2}, "y": 1, "y": 2}', b'{"a": 0}', b'{"x":{"k": 1, "k": 2},"y":1,"y":2,"a":0}'),
        (b'{"\\u00e9": 1, "b": "\\ud800"}', '{"é": 2}'.encode(), b'{"\\u00e9":2,"b":"\\ud800"}'),
        (b'{"b":1}', b'{"\\ud83d\\ude00":"\\/"}', b'{"b":1,"\\ud83d\\ude00":"\\/"}'),
        (b'{"":{"":1}}', b'{"":{"":null}}', b'{"":{}}'),
        (b'{"a":[{"b":null}]}', b'{"c":[{"d":null}]}', b'{"a":[{"b":null}],"c":[{"d":null}]}'),
    ],
)
def test_what_a_patch_does_not_name_stays_to_the_letter(value: bytes | None, patch: bytes, expected: bytes) -> None:
    assert after(value, patch) == expected


def test_a_member_that_is_there_twice_is_not_changed_by_guess() -> None:
    value = b'{"o": {"a": 1, "a": 2}}'
    assert after(value, b'{"p": 1}') == b'{"o":{"a": 1, "a": 2},"p":1}'
    assert after(value, b'{"o": 1}') == b'{"o":1}'
    for patch in (b'{"o": {"a": 3}}', b'{"o": {"a": null}}', b'{"o": {"a": {"b": 1}}}', b'{"o": {"\\u0061": 1}}'):
        with pytest.raises(NotApplicable) as refused:
            after(value, patch)
        assert str(refused.value) == "the value has a member twice that the patch names"


@pytest.mark.parametrize("patch", [b'{"a":1,"a":1}', b'{"a":{"b":1,"\\u0062":2}}', b'{"a":null,"b":1,"a":null}'])
def test_a_patch_that_names_a_member_twice_is_none(patch: bytes) -> None:
    with pytest.raises(ValueError, match="names a member twice"):
        read_patch(patch)


@pytest.mark.parametrize(
    "patch", [b"", b"{", b"{a:1}", b'{"a":NaN}', b'{"a":1,}', b'{"a":\xff}', b'{"a" 1}', nested(101)]
)
def test_what_is_no_json_is_no_patch(patch: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not|has "):
        read_patch(patch)


def test_a_patch_of_a_hundred_levels_changes_a_value_of_a_hundred_levels() -> None:
    def deep(last: bytes) -> bytes:
        return b'{"a":' * 99 + b"{" + last + b"}" + b"}" * 99

    assert after(deep(b'"x":1'), deep(b'"x":2,"y":null')) == deep(b'"x":2')
    with pytest.raises(ValueError, match="levels"):
        read_patch(b'{"a":' + deep(b"") + b"}")


FEW_NAMES = st.recursive(
    VALUES, lambda inner: st.dictionaries(st.sampled_from(["a", "b", "\u00e9", "\n"]), inner, max_size=4), max_leaves=20
)


@given(FEW_NAMES, FEW_NAMES, st.booleans())
def test_a_merge_is_what_the_rfc_says(value: object, patch: object, spaces: bool) -> None:
    expected = merged(read(written(value)), read(written(patch)))
    assert read(after(written(value, spaces), written(patch, spaces))) == expected
