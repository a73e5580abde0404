"""What the program sets before the gRPC library is imported."""

from __future__ import annotations

import os

import pytest

import keepstate_program

NAME = "GRPC_EXPERIMENTS"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test's changes end with it."""
    for name in (NAME, "GRPC_VERBOSITY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def prepared(monkeypatch: pytest.MonkeyPatch, version: str) -> str | None:
    monkeypatch.setattr(keepstate_program, "version", {"grpcio": version}.__getitem__)
    keepstate_program.prepare_grpc()
    return os.environ.get(NAME)


@pytest.mark.parametrize("version", ["1.75.1", "1.76.0", "1.76.1"])
def test_a_grpc_library_that_is_cheap_stays_as_it_is(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch, version) is None


@pytest.mark.parametrize("version", ["1.77.0", "1.85.1", "1.90.0rc1", "2.0.0"])
def test_a_later_one_polls_without_its_event_engine(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch, version) == "-event_engine_client,-event_engine_listener"


def test_what_the_environment_says_of_grpc_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "event_engine_client")
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    assert prepared(monkeypatch, "1.85.1") == "event_engine_client"
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG"
