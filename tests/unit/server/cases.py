"""Names and short ways of saying things."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from keepstate_server.domain.names import RecordName


def name(key: str = "k", *, store: str = "model", namespace: str = "") -> RecordName:
    return RecordName(store=store, namespace=namespace, key=key)


def numbered(cases: Iterable[tuple[Any, ...]]) -> list[ParameterSet]:
    """The cases of a test, told apart by their place and what ends them."""
    return [pytest.param(*case, id=f"{number}-{case[-1]}") for number, case in enumerate(cases)]
