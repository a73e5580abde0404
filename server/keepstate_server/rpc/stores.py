"""The StoreService."""

from keepstate.v1 import store_service_pb2, store_service_pb2_grpc
from keepstate_server.domain.errors import FieldViolation, InvalidFields
from keepstate_server.rpc import answers
from keepstate_server.rpc.edge import Call, Edge, call
from keepstate_server.stores.catalog import Catalog

__all__ = ["StoreServicer"]


class StoreServicer(store_service_pb2_grpc.StoreServiceServicer):
    """Tells what the catalog knows, and has it find out more."""

    store_field = ""  # asking for a store that is not there is no wrong field: NOT_FOUND

    def __init__(self, edge: Edge, catalog: Catalog) -> None:
        """Answers from ``catalog``."""
        self.edge = edge
        self._catalog = catalog

    @call
    async def ListStores(
        self, request: store_service_pb2.ListStoresRequest, begun: Call
    ) -> store_service_pb2.ListStoresResponse:
        """See the proto."""
        infos = await self._catalog.infos(timeout=begun.deadline.remaining)
        return store_service_pb2.ListStoresResponse(stores=[answers.store(info) for info in infos])

    @call
    async def GetStore(
        self, request: store_service_pb2.GetStoreRequest, begun: Call
    ) -> store_service_pb2.GetStoreResponse:
        """See the proto."""
        name = await self._resolve(request.name, begun)
        info = await self._catalog.info(name, timeout=begun.deadline.remaining)
        return store_service_pb2.GetStoreResponse(store=answers.store(info))

    @call
    async def ProbeStore(
        self, request: store_service_pb2.ProbeStoreRequest, begun: Call
    ) -> store_service_pb2.ProbeStoreResponse:
        """See the proto."""
        name = await self._resolve(request.name, begun)
        return answers.probe(await self._catalog.probe(name, timeout=begun.deadline.remaining))

    async def _resolve(self, name: str, begun: Call) -> str:
        found = await self._catalog.resolve(name, timeout=begun.deadline.remaining)
        if found is None:
            raise InvalidFields(
                [FieldViolation(field="name", description="must be set: the service has no default store")]
            )
        return found
