"""What an instance keeps records in: a sidecar, or the embedded store in its place, and the engine upon it."""

import secrets
from datetime import timedelta

from keepstate_server.config import BadConfiguration, Settings
from keepstate_server.domain.times import Clock
from keepstate_server.embedded import EmbeddedError, EmbeddedSidecar
from keepstate_server.engine.engine import Engine
from keepstate_server.stores.address import SidecarAddress
from keepstate_server.stores.catalog import Catalog
from keepstate_server.stores.sidecar import Sidecar
from keepstate_server.stores.time_limit import TimeLimit

__all__ = ["MAX_MESSAGE_BYTES", "Backing", "open_embedded"]

MAX_MESSAGE_BYTES = 16 * 1024 * 1024


class Backing:
    """Opened and closed on one event loop."""

    def __init__(self, settings: Settings, sidecar: Sidecar, embedded: EmbeddedSidecar | None, *, clock: Clock) -> None:
        """Takes what ``open`` made."""
        self._embedded = embedded
        self.sidecar = sidecar
        """Not connected yet."""
        self.catalog = Catalog(
            sidecar,
            default_store=settings.default_store,
            shared_stores=settings.shared_stores,
            probe=settings.probe,
        )
        self.engine = Engine(self.catalog, settings=settings.engine, clock=clock)

    @classmethod
    async def open(cls, settings: Settings, *, clock: Clock) -> "Backing":
        """Opens what ``settings`` name; connects to no sidecar yet.

        Raises:
            BadConfiguration: the embedded store's file cannot be used, or a sidecar's address is none.
        """
        if not settings.uses_embedded:
            return cls(settings, _sidecar_at(settings.sidecar_address, settings), None, clock=clock)
        token = secrets.token_hex(16)  # other users of the machine can reach the port, but not the records
        embedded = await open_embedded(settings, api_token=token)
        address = SidecarAddress(grpc=embedded.grpc_address, http=None, api_token=token)
        return cls(settings, _sidecar_at(address, settings), embedded, clock=clock)

    async def drain(self, *, timeout: float) -> None:
        """Waits until what was begun has ended, callers or not, but no longer than ``timeout`` seconds."""
        limit = TimeLimit(timeout)
        await self.engine.drain(timeout=limit.left)
        await self.sidecar.finish(timeout=limit.left)

    async def close(self) -> None:
        """Closes everything; what the engine still does fails."""
        await self.catalog.close()
        await self.sidecar.close()
        if self._embedded is not None:
            await self._embedded.stop(timedelta(seconds=1))


async def open_embedded(
    settings: Settings, *, api_token: str, grpc_port: int = 0, shared_port: bool = False
) -> EmbeddedSidecar:
    """Starts the embedded store as the sidecar of those who know ``api_token``.

    Port 0 is any free one; of a ``shared_port`` somebody else holds it, with SO_REUSEPORT.

    Raises:
        BadConfiguration: its file cannot be used.
    """
    embedded = EmbeddedSidecar(
        path=settings.embedded_file,
        grpc_port=grpc_port,
        http_port=None,
        api_token=api_token,
        shared_port=shared_port,
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    try:
        await embedded.start()
    except EmbeddedError as error:
        raise BadConfiguration(f"KEEPSTATE_DATA: {error}") from None
    return embedded


def _sidecar_at(address: SidecarAddress, settings: Settings) -> Sidecar:
    try:
        return Sidecar(address, max_message_bytes=MAX_MESSAGE_BYTES)
    except ValueError as error:
        raise BadConfiguration(f"{settings.sidecar_address_setting}: {error}") from None
