"""Where a sidecar is.

Apart from what speaks to it: the SDK reads Dapr's variables as soon as it is imported, and fails on a wrong one without
naming it. The settings, which do name it, are read first.
"""

from dataclasses import dataclass, field

__all__ = ["SidecarAddress"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarAddress:
    """Where a sidecar listens."""

    grpc: str
    """As the SDK takes it, e.g. ``127.0.0.1:50001`` or ``https://host:443``."""
    http: str | None
    """Base URL for health, e.g. ``http://127.0.0.1:3500``; None: only the gRPC port is asked."""
    api_token: str | None = field(default=None, repr=False)
