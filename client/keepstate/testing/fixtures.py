"""Fixtures of pytest.

A project asks for them in its topmost ``conftest.py``::

    pytest_plugins = ["keepstate.testing.fixtures"]

They work with any plugin for asynchronous tests, and with none.
"""

from __future__ import annotations

__all__ = ["keepstate", "keepstate_service", "keepstate_sync"]

from collections.abc import Iterator
from typing import Any

import pytest

from keepstate import Client, sync
from keepstate._loop_thread import perform
from keepstate.testing._service import KeepstateService


@pytest.fixture
def keepstate_service() -> Iterator[KeepstateService]:
    """The service, with a store and a clock that are this test's alone."""
    with KeepstateService() as service:
        yield service


@pytest.fixture
def keepstate(keepstate_service: KeepstateService) -> Iterator[Client[Any]]:
    """A client of that service, for the event loop of the test."""
    client = Client(keepstate_service.address)
    yield client
    # The test's loop may be gone. A channel without calls may be closed in any.
    perform(client.close())


@pytest.fixture
def keepstate_sync(keepstate_service: KeepstateService) -> Iterator[sync.Client[Any]]:
    """A client of that service, for tests without asyncio."""
    with sync.Client(keepstate_service.address) as client:
        yield client
