"""What envelope, validation and trail cost the service, without stores and network: `python -m bench.operation`.

From a request as it comes in a batch to its operation, plan and envelope, and from what is stored to the response:
processor time of one thread for each operation, in microseconds.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1 import record_pb2, state_service_pb2
from keepstate_server.domain.errors import KeepstateError
from keepstate_server.domain.names import stored_key
from keepstate_server.domain.operations import Answer, Operation
from keepstate_server.domain.records import etag_of
from keepstate_server.domain.times import Instant, SystemClock
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.group import Group
from keepstate_server.engine.hints import Hints
from keepstate_server.engine.part import Part
from keepstate_server.engine.randomness import Randomness
from keepstate_server.engine.settings import EngineSettings
from keepstate_server.engine.sighting import NOTHING, seen
from keepstate_server.engine.writes import new_write
from keepstate_server.rpc import answers
from keepstate_server.rpc.requests import Reader
from keepstate_server.stores.base import Fate, Outcome, Stored, StoreEtag

__all__ = ["AIM", "BAR", "measure"]

BAR, AIM = 25.0, 10.0

_BATCHES, _OPERATIONS = 16, 64
_VALUE = b"x" * 256
_WRITES_BEFORE = 16  # as many as a trail remembers
_NAMESPACE = "app"
_SCOPE = "redis@1"
_ETAG = StoreEtag("7")


_Make = Callable[[str, bytes, int], state_service_pb2.BatchOperation]
"""Makes a request for a key, given what is stored there, and its number."""


class _Endless(Deadline):
    """Of a caller who waits for ever: no event loop runs here."""

    def __init__(self) -> None:
        pass


class _Path:
    """Carries requests through all that one instance does with them but waiting."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._settings = EngineSettings()
        self._source = Randomness()
        self._hints = Hints(size=_BATCHES * _OPERATIONS, life_ms=self._settings.dead_life_ms // 2)
        self._deadline = _Endless()
        self.stored: dict[str, bytes] = {}

    def run(self, request: bytes) -> bytes:
        """Performs a batch as if its writes were applied, and returns the response as it goes to the caller."""
        now = self._clock.now()
        reader = Reader(now=now, default_store="redis", clock_difference_ms=self._settings.clock_difference_ms)
        response = state_service_pb2.BatchResponse()
        for index, message in enumerate(state_service_pb2.BatchRequest.FromString(request).operations):
            operation = reader.batch_operation(message, index)
            answers.set_result(response.results.add(), operation.name, self._perform(operation, now))
        return response.SerializeToString()

    def _perform(self, operation: Operation, now: Instant) -> Answer:
        key = stored_key(operation.name.namespace, operation.name.key)
        part = Part(key, [operation], self._deadline)
        group = Group(key, [part], self._settings)
        if not group.must_read:
            group.sighting = self._hints.get(_SCOPE, key, now)
        if group.sighting is None:
            data = self.stored.get(key)
            sighting = seen(Stored(data=data, etag=_ETAG)) if data else NOTHING
            self._hints.note(_SCOPE, key, sighting, now)
            group.see(sighting, now)
        plan = group.plan(new_write(self._source), now, tells_expiry=False)
        if plan is not None:
            write = group.compare_and_set(plan[1])
            self.stored[key] = write.data
            left = group.conclude(Outcome(fate=Fate.APPLIED, next_etag=_ETAG))
            assert left is not None
            self._hints.note(_SCOPE, key, left, now)
        assert part.results is not None
        result = part.results[0]
        assert not isinstance(result, KeepstateError), result
        return result


def measure() -> dict[str, float]:
    """Returns the microseconds of an operation, by kind; the median of several rounds."""
    found = {}
    for kind, make in _KINDS.items():
        path = _Path()
        numbers = iter(range(1, 1_000_000))
        for _ in range(_WRITES_BEFORE):
            _round(path, _KINDS["increment" if kind == "increment" else "put"], numbers.__next__)
        found[kind] = statistics.median(_round(path, make, numbers.__next__) for _ in range(9))
    return found


def _round(path: _Path, make: _Make, count: Callable[[], int]) -> float:
    requests = []
    for batch in range(_BATCHES):
        keys = [f"user:{batch:04}:{number:02}" for number in range(_OPERATIONS)]
        made = [make(key, path.stored.get(stored_key(_NAMESPACE, key), b""), count()) for key in keys]
        requests.append(state_service_pb2.BatchRequest(operations=made).SerializeToString())
    began = time.process_time()
    for request in requests:
        path.run(request)
    return 1e6 * (time.process_time() - began) / (_BATCHES * _OPERATIONS)


def _get(key: str, _: bytes, __: int) -> state_service_pb2.BatchOperation:
    return state_service_pb2.BatchOperation(get=state_service_pb2.GetRequest(name=_name(key)))


def _put(key: str, _: bytes, number: int) -> state_service_pb2.BatchOperation:
    put = state_service_pb2.PutRequest(
        name=_name(key), value=_VALUE, content_type="application/octet-stream", request=_request(number)
    )
    return state_service_pb2.BatchOperation(put=put)


def _put_if(key: str, stored: bytes, number: int) -> state_service_pb2.BatchOperation:
    message = _put(key, stored, number)
    record = seen(Stored(data=stored, etag=_ETAG)).record(SystemClock().now())
    assert record is not None
    message.put.precondition.etag = etag_of(record.version)
    return message


def _increment(key: str, _: bytes, number: int) -> state_service_pb2.BatchOperation:
    update = state_service_pb2.UpdateRequest(
        name=_name(key), increment=state_service_pb2.Increment(delta=1), request=_request(number)
    )
    return state_service_pb2.BatchOperation(update=update)


def _name(key: str) -> record_pb2.RecordName:
    return record_pb2.RecordName(namespace=_NAMESPACE, key=key)


def _request(number: int) -> record_pb2.RequestId:
    sent = Timestamp()
    sent.FromMilliseconds(SystemClock().now())
    return record_pb2.RequestId(client=0x1234_5678_9ABC_DEF0, number=number, first_sent=sent)


_KINDS = {"get": _get, "put": _put, "put-if": _put_if, "increment": _increment}


def main() -> int:
    """Prints the table. 1: the bar was not reached."""
    found = measure()
    for kind, microseconds in found.items():
        verdict = "reached" if microseconds <= BAR else "NOT REACHED"
        print(f"{kind:10} {microseconds:6.1f} µs   at most {BAR:g} (aim {AIM:g})   {verdict}")
    return 0 if max(found.values()) <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
