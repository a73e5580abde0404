"""The sidecar that needs no sidecar: Dapr's state API over one SQLite file, for a laptop and for tests."""

from keepstate_server.embedded.errors import DataFileError, EmbeddedError, ListenError
from keepstate_server.embedded.sidecar import EmbeddedSidecar

__all__ = ["DataFileError", "EmbeddedError", "EmbeddedSidecar", "ListenError"]
