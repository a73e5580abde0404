"""What can go wrong in the embedded sidecar."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DataFileError", "EmbeddedError", "ListenError", "StorageError"]


class EmbeddedError(Exception):
    """The root of the embedded sidecar's errors; its text is meant for the person who started it."""


class DataFileError(EmbeddedError):
    """The data file cannot be used: it cannot be opened, is not Keepstate's, or is of a newer version.

    Attributes:
        path: the data file.
        reason: why, as a clause without the path.
    """

    def __init__(self, *, path: Path, reason: str) -> None:
        super().__init__(f"the data file {path} cannot be used: {reason}")
        self.path = path
        self.reason = reason


class ListenError(EmbeddedError):
    """The sidecar cannot listen on an address, as a rule because another program already does.

    Attributes:
        address: host and port.
        reason: why, as a clause without the address.
    """

    def __init__(self, *, address: str, reason: str) -> None:
        super().__init__(f"the embedded sidecar cannot listen on {address}: {reason}")
        self.address = address
        self.reason = reason


class StorageError(EmbeddedError):
    """A request failed in the storage. Its text is one of a few fixed ones, so that it may be shown to callers."""
