"""What an adapter says where its library is not installed."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("key_value", "key_value", "key-value"),
        ("langchain", "langchain_core", "langchain"),
        ("langgraph", "langchain_core", "langgraph"),
        ("langgraph", "langgraph", "langgraph"),
        ("starlette", "starlette", "starlette"),
    ],
)
def test_an_adapter_without_its_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, library: str, extra: str
) -> None:
    assert extra in PROJECT["optional-dependencies"]
    for name in [each for each in sys.modules if each.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)  # so that it is not found
    monkeypatch.delitem(sys.modules, f"keepstate.adapters.{module}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'keepstate\[{extra}\]'") as raised:
        importlib.import_module(f"keepstate.adapters.{module}")
    assert raised.value.name is not None
    assert raised.value.name.split(".")[0] == library
