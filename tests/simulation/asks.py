"""How an instance of the service is asked, and what it answers noted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keepstate_server.domain.errors import KeepstateError, RecordMissing
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import (
    Check,
    Delete,
    Found,
    Get,
    Operation,
    Put,
    Touch,
    TransactionOperation,
    Update,
)
from keepstate_server.domain.records import KEEP_EXPIRY, REPEATED_AFTER, Expiry, Record, Request
from keepstate_server.domain.times import Instant, in_milliseconds
from keepstate_server.engine.deadline import Deadline
from keepstate_server.engine.draft import Result
from keepstate_server.engine.engine import Engine
from tests.simulation.clocks import OffsetClock
from tests.simulation.history import Attempt, Call, Kind, Spec

__all__ = ["Instance", "ask"]

_REPEATED_AFTER_MS = in_milliseconds(REPEATED_AFTER)


@dataclass(kw_only=True, slots=True)
class Instance:
    """One instance of the service."""

    number: int
    make: Callable[[], Engine]
    clock: OffsetClock
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = self.make()

    def crash(self) -> None:
        """Ends all that it does, wherever it is; another takes its place, which knows nothing of it."""
        for task in self.engine._begun:
            task.cancel()
        self.engine = self.make()


async def ask(instance: Instance, call: Call, attempt: Attempt, seconds: float, *, repeated: bool) -> None:
    """Has ``instance`` perform ``call``, and notes what it answers."""
    now = instance.clock.now()
    # As the edge has it: what was first sent so long ago may have been sent more than once.
    attempt.repeated = repeated = repeated or now - call.first_sent > _REPEATED_AFTER_MS
    attempt.expiries = [None if spec.ttl is None else Instant(now + spec.ttl) for spec in call.specs]
    requests = [
        None
        if call.request is None
        else Request(client=call.client, number=call.request + at, first_sent=call.first_sent, repeated=repeated)
        for at in range(len(call.specs))
    ]
    deadline = Deadline(seconds)
    results: Sequence[Result]
    try:
        if call.transaction:
            parts = [_part(*each) for each in zip(call.specs, attempt.expiries, strict=True)]
            results = await instance.engine.transact(parts, requests[0], deadline)
        elif call.snapshot:
            names = [spec.name for spec in call.specs]
            records = await instance.engine.snapshot(names, deadline)
            results = [_found(*each) for each in zip(names, records, strict=True)]
        else:
            operations = [_operation(*each) for each in zip(call.specs, attempt.expiries, requests, strict=True)]
            results = await instance.engine.perform_all(operations, deadline)
    except KeepstateError as error:
        results = [error] * len(call.specs)
    attempt.end, attempt.results = asyncio.get_running_loop().time(), results


def _found(name: RecordName, record: Record | None) -> Result:
    return Found(record=record) if record else RecordMissing(name)


def _operation(spec: Spec, expiry: Instant | None, request: Request | None) -> Operation:
    match spec.kind:
        case Kind.PUT:
            return Put(
                name=spec.name,
                value=spec.value,
                precondition=spec.precondition,
                expiry=_expiry(spec, expiry),
                request=request,
            )
        case Kind.DELETE:
            return Delete(name=spec.name, precondition=spec.precondition, request=request)
        case Kind.TOUCH:
            return Touch(name=spec.name, precondition=spec.precondition, expire_at=expiry, request=request)
        case Kind.INCREMENT | Kind.APPEND | Kind.MERGE:
            return _update(spec, expiry, request)
        case _:
            return Get(name=spec.name, slide_to=expiry)


def _part(spec: Spec, expiry: Instant | None) -> TransactionOperation:
    match spec.kind:
        case Kind.PUT:
            return Put(name=spec.name, value=spec.value, precondition=spec.precondition, expiry=_expiry(spec, expiry))
        case Kind.DELETE:
            return Delete(name=spec.name, precondition=spec.precondition)
        case Kind.INCREMENT | Kind.APPEND | Kind.MERGE:
            return _update(spec, expiry, None)
        case _:
            return Check(name=spec.name, precondition=spec.precondition)


def _update(spec: Spec, expiry: Instant | None, request: Request | None) -> Update:
    assert spec.change is not None
    return Update(
        name=spec.name,
        change=spec.change,
        precondition=spec.precondition,
        expiry=_expiry(spec, expiry),
        request=request,
    )


def _expiry(spec: Spec, expiry: Instant | None) -> Expiry:
    return KEEP_EXPIRY if spec.keep else expiry
