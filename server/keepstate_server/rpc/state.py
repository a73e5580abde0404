"""The StateService."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from keepstate.v1 import state_service_pb2, state_service_pb2_grpc
from keepstate_server.domain.errors import KeepstateError, StoreNotFound
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Answer, Deleted, Found, Operation, Put, Touched, Updated, Written
from keepstate_server.engine.engine import Engine
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.rpc import answers
from keepstate_server.rpc.edge import Call, Edge, call
from keepstate_server.rpc.requests import Limits, Reader, carries_repeat
from keepstate_server.rpc.status import status_of
from keepstate_server.rpc.transactions import read_transaction
from keepstate_server.stores.catalog import Catalog

__all__ = ["StateServicer"]


class StateServicer(state_service_pb2_grpc.StateServiceServicer):
    """Reads requests, has the engine perform them, and writes responses."""

    store_field = "name.store"

    def __init__(
        self, edge: Edge, engine: Engine, catalog: Catalog, *, settings: EngineSettings, limits: Limits
    ) -> None:
        """Answers from ``engine``."""
        self.edge = edge
        self._engine = engine
        self._catalog = catalog
        self._settings = settings
        self._limits = limits

    @call
    async def Get(self, request: state_service_pb2.GetRequest, begun: Call) -> state_service_pb2.GetResponse:
        """See the proto."""
        reader = await self._reader(begun)
        operation = reader.get(request)
        answer = await self._perform(reader, operation, begun)
        assert isinstance(answer, Found)
        return answers.found(operation.name, answer)

    @call
    async def Put(self, request: state_service_pb2.PutRequest, begun: Call) -> state_service_pb2.PutResponse:
        """See the proto."""
        reader = await self._reader(begun)
        answer = await self._perform(reader, reader.put(request), begun)
        assert isinstance(answer, Written)
        return answers.written(answer)

    @call
    async def Delete(self, request: state_service_pb2.DeleteRequest, begun: Call) -> state_service_pb2.DeleteResponse:
        """See the proto."""
        reader = await self._reader(begun)
        answer = await self._perform(reader, reader.delete(request), begun)
        assert isinstance(answer, Deleted)
        return answers.deleted(answer)

    @call
    async def Touch(self, request: state_service_pb2.TouchRequest, begun: Call) -> state_service_pb2.TouchResponse:
        """See the proto."""
        reader = await self._reader(begun)
        answer = await self._perform(reader, reader.touch(request), begun)
        assert isinstance(answer, Touched)
        return answers.touched(answer)

    @call
    async def Update(self, request: state_service_pb2.UpdateRequest, begun: Call) -> state_service_pb2.UpdateResponse:
        """See the proto."""
        reader = await self._reader(begun)
        operation = reader.update(request)
        answer = await self._perform(reader, operation, begun)
        assert isinstance(answer, Updated)
        return answers.updated(operation.name, answer)

    @call
    async def Batch(self, request: state_service_pb2.BatchRequest, begun: Call) -> state_service_pb2.BatchResponse:
        """See the proto."""
        count = len(request.operations)
        reader = await self._reader(begun)
        if not 1 <= count <= self._limits.batch_operations:
            reader.wrong("operations", f"must be 1 to {self._limits.batch_operations}, not {count}")
            reader.finish()
        good: list[Operation] = []
        wrong: dict[int, KeepstateError] = {}
        for index, message in enumerate(request.operations):
            try:
                good.append(reader.batch_operation(message, index))
            except KeepstateError as error:
                wrong[index] = error
        performed = zip(good, await self._engine.perform_all(good, begun.deadline), strict=True)
        response = state_service_pb2.BatchResponse()
        for index in range(count):
            operation, result = (None, wrong[index]) if index in wrong else next(performed)
            if isinstance(result, KeepstateError):
                response.results.append(self._batch_error(request, index, result, begun))
            else:
                assert operation is not None
                answers.set_result(response.results.add(), operation.name, result)
        return response

    @call
    async def Transact(
        self, request: state_service_pb2.TransactRequest, begun: Call
    ) -> state_service_pb2.TransactResponse:
        """See the proto."""
        reader = await self._reader(begun)
        operations, repeatable = read_transaction(reader, request)
        with _named_by({f"{path}name": each.name for path, each in operations.items()}):
            answered = await self._engine.transact(list(operations.values()), repeatable, begun.deadline)
        response = state_service_pb2.TransactResponse()
        for operation, answer in zip(operations.values(), answered, strict=True):
            match answer:
                case Written() if isinstance(operation, Put):
                    response.puts.append(answers.written(answer))
                case Deleted():
                    response.deletes.append(answers.deleted(answer))
                case Updated():
                    response.updates.append(answers.updated(operation.name, answer))
        return response

    @call
    async def Snapshot(
        self, request: state_service_pb2.SnapshotRequest, begun: Call
    ) -> state_service_pb2.SnapshotResponse:
        """See the proto."""
        names = (await self._reader(begun)).snapshot(request)
        with _named_by({f"names[{index}]": name for index, name in enumerate(names)}):
            records = await self._engine.snapshot(names, begun.deadline)
        response = state_service_pb2.SnapshotResponse()
        for name, record in zip(names, records, strict=True):
            answers.set_snapshot_item(response.items.add(), name, record)
        return response

    async def _perform(self, reader: Reader, operation: Operation, begun: Call) -> Answer:
        reader.finish()
        return await self._engine.perform(operation, begun.deadline)

    async def _reader(self, begun: Call) -> Reader:
        return Reader(
            now=begun.now,
            default_store=await self._catalog.resolve("", timeout=begun.deadline.remaining),
            clock_difference_ms=self._settings.clock_difference_ms,
            resent=begun.resent,
            limits=self._limits,
        )

    @staticmethod
    def _batch_error(
        request: state_service_pb2.BatchRequest, index: int, error: KeepstateError, begun: Call
    ) -> state_service_pb2.BatchResult:
        kind = request.operations[index].WhichOneof("operation")
        field = f"operations[{index}].{kind}.name.store"
        sent_before = carries_repeat(request.operations[index], begun.now, resent=begun.maybe_resent)
        status = status_of(error, store_field=field, correlation_id=begun.correlation_id, sent_before=sent_before)
        return state_service_pb2.BatchResult(error=status)


@contextmanager
def _named_by(fields: Mapping[str, RecordName]) -> Iterator[None]:
    """Has an unknown store be the fault of the first of ``fields`` that names it."""
    try:
        yield
    except StoreNotFound as error:
        field = next(path for path, name in fields.items() if name.store == error.store)
        raise StoreNotFound(error.store, field=f"{field}.store") from None
