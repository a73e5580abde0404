"""What increments and appends make of values; merge patches are in test_merge_patch.py."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.json_text import MOST_LEVELS, read_json
from keepstate_server.domain.operations import Append, Change, Increment, MergePatch
from keepstate_server.engine.updates import NotApplicable, changed

LEAST, GREATEST = -(2**63), 2**63 - 1
PLENTY = 16 * 1024 * 1024


def after(change: Change, value: bytes | None, *, most_bytes: int = PLENTY) -> bytes:
    return changed(change, value, most_bytes=most_bytes)


def fault(change: Change, value: bytes | None, *, most_bytes: int = PLENTY) -> str:
    with pytest.raises(NotApplicable) as refused:
        changed(change, value, most_bytes=most_bytes)
    return str(refused.value)


# Increments


@pytest.mark.parametrize(
    ("change", "value", "expected"),
    [
        (Increment(delta=5), None, b"5"),
        (Increment(delta=5, initial=10), None, b"15"),
        (Increment(delta=-5, initial=0), None, b"-5"),
        (Increment(delta=5, initial=10), b"1", b"6"),
        (Increment(delta=0), b"-0", b"0"),
        (Increment(delta=1), b" \t41\r\n", b"42"),
        (Increment(delta=GREATEST), b"0", str(GREATEST).encode()),
        (Increment(delta=LEAST), str(GREATEST).encode(), b"-1"),
        (Increment(delta=1), str(LEAST).encode(), str(LEAST + 1).encode()),
        (Increment(delta=2, maximum=3), b"1", b"3"),
        (Increment(delta=-2, minimum=-1), b"1", b"-1"),
        (Increment(delta=-5, maximum=100), b"105", b"100"),
    ],
)
def test_an_increment_adds(change: Increment, value: bytes | None, expected: bytes) -> None:
    assert after(change, value) == expected


@pytest.mark.parametrize(
    ("change", "value", "word"),
    [
        (Increment(delta=1), str(GREATEST).encode(), "maximum"),
        (Increment(delta=-1), str(LEAST).encode(), "minimum"),
        (Increment(delta=3, maximum=3), b"1", "maximum"),
        (Increment(delta=-3, minimum=-1), b"1", "minimum"),
        (Increment(delta=GREATEST, initial=GREATEST), None, "maximum"),
        (Increment(delta=-5, maximum=100), b"106", "maximum"),
    ],
)
def test_an_increment_out_of_its_bounds_is_refused(change: Increment, value: bytes | None, word: str) -> None:
    assert word in fault(change, value)


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b" ", b"+1", b"01", b"--1", b"1.0", b"1e3", b"0x1", b"1_000", b"1 2", b'"1"', b"null", b"[1]", b"\xff"),
        "\u0661".encode(),
        str(GREATEST + 1).encode(),
        str(LEAST - 1).encode(),
        b"9" * 100_000,
    ],
)
def test_what_is_no_whole_number_of_64_bits_is_not_added_to(value: bytes) -> None:
    assert fault(Increment(delta=0), value) == "the value is not a whole number of 64 bits"


INT64 = st.integers(LEAST, GREATEST)


@given(INT64, INT64, st.none() | INT64, st.none() | INT64)
def test_an_increment_is_the_sum_or_is_refused(
    value: int, delta: int, minimum: int | None, maximum: int | None
) -> None:
    change = Increment(delta=delta, minimum=minimum, maximum=maximum)
    least, greatest = LEAST if minimum is None else minimum, GREATEST if maximum is None else maximum
    if least <= value + delta <= greatest:
        assert after(change, str(value).encode()) == str(value + delta).encode()
    else:
        assert fault(change, str(value).encode()).startswith("the number would be")


# Appends


@pytest.mark.parametrize(
    ("items", "most", "value", "expected"),
    [
        ([b"1"], 0, None, b"[1]"),
        ([b"1"], 0, b"[]", b"[1]"),
        ([b"1"], 0, b" [ \n] ", b"[1]"),
        ([b"3", b' {"a" : 4} '], 0, b" [1, 2 ] ", b'[1, 2,3,{"a" : 4}]'),
        ([b"3"], 2, b"[1, 2]", b"[2,3]"),
        ([b"3"], 3, b"[1, 2]", b"[1, 2,3]"),
        ([b"4"], 2, b"[ [1] , [[2]], [3 ] ]", b"[[3 ],4]"),
        ([b"4"], 1, b"[1,2,3]", b"[4]"),
        ([b"4", b"5", b"6"], 2, b"[1,2,3]", b"[5,6]"),
        ([b"4", b"5", b"6"], 2, None, b"[5,6]"),
        ([b"4"], 2, b'[",", "]" , "\\"]"]', b'["\\"]",4]'),
        ([b"0"], 0, b"[1e400, 1.10, -0, 1E+2, 123456789012345678901234567890]", None),
        ([b"1e400", b"1.10", b"-0.0", b"9" * 5000], 0, b"[]", b"[1e400,1.10,-0.0," + b"9" * 5000 + b"]"),
        ([b"0"], 0, b'[{"a": 1, "a": 2}, "\\ud800", "\\u00e9", "\xc3\xa9"]', None),
    ],
)
def test_an_append_leaves_every_other_byte_as_it_is(
    items: list[bytes], most: int, value: bytes | None, expected: bytes | None
) -> None:
    """None: what is there, and a nought at its end."""
    if expected is None:
        assert value is not None
        expected = value[:-1] + b",0]"
    assert after(Append(items=items, max_length=most), value) == expected


@pytest.mark.parametrize("value", [b"{}", b'"[]"', b"1", b"null"])
def test_what_is_no_list_is_not_appended_to(value: bytes) -> None:
    assert fault(Append(items=[b"1"]), value) == "the value is not a JSON list"


NO_JSON = {
    "nothing": b"",
    "space": b" ",
    "not closed": b"[1",
    "closed twice": b"[1]]",
    "comma at the end": b"[1,]",
    "comma alone": b"[,]",
    "two values": b"[1][2]",
    "nought before a number": b"[01]",
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "one quote": b"['1']",
    "comment": b"[1/**/]",
    "control character in a string": b'["\n"]',
    "string not ended": b'["1]',
    "no UTF-8": b'["\xff"]',
    "half a surrogate pair in UTF-8": b'["\xed\xa0\x80"]',
    "byte order mark": b"\xef\xbb\xbf[]",
    "other space": b"\x0b[]",
    "another's bytes": bytes(range(256)),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json_is_neither_appended_to_nor_merged_into(name: str) -> None:
    for change in (Append(items=[b"1"]), MergePatch(patch=b'{"a":1}')):
        assert fault(change, NO_JSON[name]).startswith("the value ")


def nested(levels: int) -> bytes:
    return b'[{"a":' * (levels // 2) + b"[]" + b"}]" * (levels // 2)


def test_lists_and_objects_lie_in_each_other_up_to_a_hundred_levels() -> None:
    assert nested(99).count(b"[") + nested(99).count(b"{") == 99
    assert after(Append(items=[nested(99)]), None) == b"[" + nested(99) + b"]"
    assert after(Append(items=[b"1"]), b"[" + nested(99) + b"]") == b"[" + nested(99) + b",1]"
    assert "levels" in fault(Append(items=[b"1"]), b"[" + nested(101) + b"]")


@pytest.mark.parametrize(
    "deep", [b"[" * 1_000_000, b'{"a":' * 200_000, nested(900_001)], ids=["lists", "objects", "both"]
)
def test_a_value_as_deep_as_it_is_long_is_refused(deep: bytes) -> None:
    assert fault(Append(items=[b"1"]), deep) == f"the value has more than {MOST_LEVELS} levels of lists and objects"


@pytest.mark.parametrize(
    "text", ['["' + "[" * 1000 + '"]', '["' + '\\"[' * 1000 + '"]', '["\\\\", "' + "{" * 1000 + '"]']
)
def test_brackets_in_a_string_are_no_levels(text: str) -> None:
    assert after(Append(items=[b"1"]), text.encode()) == text[:-1].encode() + b",1]"


def test_strings_that_never_end_take_no_longer_than_others() -> None:
    """A search that begins anew at every quote would take hours."""
    assert "levels" in fault(Append(items=[b"1"]), b"[" * 200 + b'"' + b'\\"' * 2_000_000)


def test_a_value_that_would_be_too_large_is_refused() -> None:
    assert after(Append(items=[b"22"]), b"[1]", most_bytes=6) == b"[1,22]"
    assert fault(Append(items=[b"22"]), b"[1]", most_bytes=5) == "the value would be larger than 5 bytes"
    assert fault(Increment(delta=1), b"9", most_bytes=1) == "the value would be larger than 1 bytes"
    assert after(Append(items=[b"2"], max_length=1), b"[" + b"1," * 50 + b"1]", most_bytes=3) == b"[2]"


# What Python's own JSON makes of the same, with numbers of any size

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda number: number.normalize()),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


def written(value: object, spaces: bool = False) -> bytes:
    """`value` as JSON; decimals keep their digits."""
    match value:
        case Decimal():
            return str(value).encode()
        case list():
            return b"[" + (b" ,\n" if spaces else b",").join(written(each, spaces) for each in value) + b"]"
        case dict():
            parts = (json.dumps(key).encode() + b" : " + written(each, spaces) for key, each in value.items())
            return b"{" + b",".join(parts) + b"}"
        case _:
            return json.dumps(value, ensure_ascii=spaces).encode()


def read(value: bytes) -> object:
    return json.loads(value, parse_float=Decimal)


@given(st.lists(VALUES, max_size=6), st.lists(VALUES, min_size=1, max_size=4), st.integers(0, 8), st.booleans())
def test_an_append_is_what_lists_do(before: list[object], items: list[object], most: int, spaces: bool) -> None:
    change = Append(items=[written(item) for item in items], max_length=most)
    assert read(after(change, written(before, spaces))) == read(written([*before, *items][-most:]))


@given(VALUES, st.booleans())
def test_whatever_is_json_is_read_as_json(value: object, spaces: bool) -> None:
    text, _ = read_json(b" \t\r\n" + written(value, spaces) + b"\n")
    assert text.encode() == written(value, spaces)


@given(st.binary(max_size=20) | st.text(alphabet='[]{}",:0123456789.eE+-ntf\\u \n', max_size=20).map(str.encode))
def test_what_is_read_as_json_is_just_what_python_reads_as_json(data: bytes) -> None:
    try:
        expected = json.loads(data.decode(), parse_constant=lambda text: 1 / 0) is not ...
    except (ValueError, ZeroDivisionError):
        expected = False
    try:
        read_json(data)
    except ValueError:
        assert not expected
    else:
        assert expected
