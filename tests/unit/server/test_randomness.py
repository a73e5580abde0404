"""Identifiers are never the same twice, in whatever process."""

from __future__ import annotations

import os

import pytest

from keepstate_server.engine.randomness import Randomness


def test_no_bytes_are_given_out_twice() -> None:
    source = Randomness()
    given = [source.randbytes(size) for size in (14, 8, 14, 5000, 16) for _ in range(300)]
    assert [len(each) for each in given] == [size for size in (14, 8, 14, 5000, 16) for _ in range(300)]
    assert len(set(given)) == len(given)


def copied(source: Randomness) -> Randomness:
    """As a fork copies it, with all that is in memory."""
    copy = Randomness()
    vars(copy).update(vars(source))
    return copy


def test_a_process_that_is_forked_off_gives_out_others(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Randomness()
    source.randbytes(14)
    same, forked = copied(source), copied(source)
    theirs = source.randbytes(14)
    assert same.randbytes(14) == theirs
    monkeypatch.setattr(os, "getpid", lambda: -2)
    assert forked.randbytes(14) != theirs
