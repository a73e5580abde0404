"""What is known of a store holds for one connection: a sidecar that came back may have another store behind it."""

from __future__ import annotations

from keepstate_server.domain.errors import RecordChanged
from keepstate_server.domain.operations import Get, Put, Written
from tests.unit.server.cases import name
from tests.unit.server.engine_service import Service


async def test_a_hint_of_one_connection_is_none_of_the_next() -> None:
    """On Redis etags are counts: that of a record in one store matches another record in another."""
    service = Service(counts=True)
    mine = await service.one(Put(name=name(), value=b"in the first store"))
    assert isinstance(mine, Written)
    other = Service(counts=True, clock=service.clock)
    await other.one(Put(name=name(), value=b"somebody else's, in the second store"))
    service.store.items = other.store.items
    service.store.scope = "the second connection"
    refused = await service.one(Put(name=name(), value=b"lost", precondition=mine.version))
    assert isinstance(refused, RecordChanged)
    found = await service.one(Get(name=name()))
    assert found == await other.one(Get(name=name()))
