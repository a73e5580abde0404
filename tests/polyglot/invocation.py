"""What the tests of Dapr's service invocation share."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.service import ServiceProcess

APP = "keepstate-invoked"
"""The service's app id."""


@dataclass(frozen=True, kw_only=True)
class Invoked:
    """The service, called through Dapr's service invocation."""

    address: str
    """Where the caller's sidecar takes gRPC calls."""

    service: ServiceProcess
    """What a test ends it starts again."""
