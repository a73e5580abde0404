from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstate_server.domain.records import VERSION_BYTES, Etag, Version, etag_of, version_of
from keepstate_server.domain.times import Instant, SystemClock, as_datetime, in_milliseconds
from keepstate_server.engine.trail import WRITE_BYTES, WriteId, version_at, write_of

versions = st.binary(min_size=VERSION_BYTES, max_size=VERSION_BYTES).map(Version)
writes = st.binary(min_size=WRITE_BYTES, max_size=WRITE_BYTES).map(WriteId)


@given(versions)
def test_an_etag_names_exactly_its_version(version: Version) -> None:
    etag = etag_of(version)
    assert version_of(etag) == version
    assert etag.isascii()
    assert '"' not in etag


@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_a_text_is_refused_unless_it_is_the_one_text_of_a_version(text: str) -> None:
    try:
        version = version_of(text)
    except ValueError as error:
        assert str(error) == "not an etag"
    else:
        assert etag_of(version) == text


GOOD = etag_of(Version(b"\xfb\xef\xff" * 5 + b"\x00"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "==",
        "*",
        "1",
        "W/" + GOOD,
        f'"{GOOD}"',
        GOOD + "==",
        GOOD + " ",
        " " + GOOD,
        GOOD + "\n",
        GOOD[:-1],
        GOOD + "A",
        GOOD[:-1] + "B",  # the same bytes, with bits set that the last character has to spare
        GOOD.replace("-", "+").replace("_", "/"),
        GOOD[:-1] + "\u00e9",
        "\0" * 22,
        base64.urlsafe_b64encode(b"x" * 15).decode().rstrip("="),
        base64.urlsafe_b64encode(b"x" * 17).decode().rstrip("="),
    ],
)
def test_a_malformed_etag_is_refused(text: str) -> None:
    assert version_of(GOOD)
    with pytest.raises(ValueError, match="not an etag"):
        version_of(text)


def test_an_etag_holds_the_characters_that_urls_allow() -> None:
    assert {"-", "_"} <= set(GOOD)
    assert isinstance(GOOD, str)
    assert Etag(GOOD) == GOOD


@given(writes, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_operations_of_one_write_never_share_a_version(write: WriteId, position: int, other: int) -> None:
    assert (version_at(write, position) == version_at(write, other)) is (position == other)
    assert write_of(version_at(write, position)) == write
    assert len(version_at(write, position)) == VERSION_BYTES


def test_milliseconds_are_rounded_down() -> None:
    assert in_milliseconds(timedelta(microseconds=1999)) == 1
    assert in_milliseconds(timedelta(days=50 * 365)) == 50 * 365 * 24 * 3600 * 1000


def test_an_instant_is_milliseconds_since_the_epoch() -> None:
    assert as_datetime(Instant(1_500)) == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    assert abs(SystemClock().now() - datetime.now(UTC).timestamp() * 1000) < 60_000
