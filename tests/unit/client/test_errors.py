"""Every failure is one typed error that carries what the service said."""

from __future__ import annotations

import copy
import inspect
import pickle
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

import keepstate
from keepstate import (
    AlreadyExists,
    Client,
    Conflict,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    KeepstateError,
    NotFound,
    OutcomeUnknown,
    RecordName,
    ResourceExhausted,
    StoreNotFound,
    TransactionConflict,
    Unavailable,
    Unimplemented,
    UnsupportedByStore,
    errors,
)
from keepstate._status import error_of_call, error_of_status
from keepstate.v1 import errors_pb2
from tests.unit.client.fake_service import FakeService, refusal

CODE = grpc.StatusCode

REASONS = {
    "RECORD_NOT_FOUND": (CODE.NOT_FOUND, NotFound),
    "RECORD_ALREADY_EXISTS": (CODE.ALREADY_EXISTS, AlreadyExists),
    "ETAG_MISMATCH": (CODE.ABORTED, Conflict),
    "INVALID_FIELDS": (CODE.INVALID_ARGUMENT, InvalidArgument),
    "STORE_NOT_FOUND": (CODE.INVALID_ARGUMENT, StoreNotFound),
    "UNSUPPORTED_BY_STORE": (CODE.FAILED_PRECONDITION, UnsupportedByStore),
    "STORE_UNAVAILABLE": (CODE.UNAVAILABLE, Unavailable),
    "OUTCOME_UNKNOWN": (CODE.UNKNOWN, OutcomeUnknown),
    "DEADLINE_EXCEEDED": (CODE.DEADLINE_EXCEEDED, DeadlineExceeded),
    "OVERLOADED": (CODE.RESOURCE_EXHAUSTED, ResourceExhausted),
    "NOT_IMPLEMENTED": (CODE.UNIMPLEMENTED, Unimplemented),
    "TRANSACTION_CONFLICT": (CODE.ABORTED, TransactionConflict),
    "UNAUTHENTICATED": (CODE.UNAUTHENTICATED, keepstate.Unauthenticated),
    "PERMISSION_DENIED": (CODE.PERMISSION_DENIED, keepstate.PermissionDenied),
    "INTERNAL": (CODE.INTERNAL, Internal),
    "UPDATE_NOT_APPLICABLE": (CODE.FAILED_PRECONDITION, keepstate.UpdateNotApplicable),
}

# What a code alone tells of a read, and whether a write that fails so may have been applied.
CODES = {
    CODE.OK: (Internal, True),
    CODE.CANCELLED: (keepstate.Cancelled, True),
    CODE.UNKNOWN: (Internal, True),
    CODE.INVALID_ARGUMENT: (InvalidArgument, False),
    CODE.DEADLINE_EXCEEDED: (DeadlineExceeded, True),
    CODE.NOT_FOUND: (NotFound, False),
    CODE.ALREADY_EXISTS: (AlreadyExists, False),
    CODE.PERMISSION_DENIED: (keepstate.PermissionDenied, False),
    CODE.UNAUTHENTICATED: (keepstate.Unauthenticated, False),
    CODE.RESOURCE_EXHAUSTED: (ResourceExhausted, True),
    CODE.FAILED_PRECONDITION: (keepstate.FailedPrecondition, False),
    CODE.ABORTED: (Conflict, False),
    CODE.OUT_OF_RANGE: (InvalidArgument, False),
    CODE.UNIMPLEMENTED: (Unimplemented, False),
    CODE.INTERNAL: (Internal, True),
    CODE.UNAVAILABLE: (Unavailable, True),
    CODE.DATA_LOSS: (Internal, True),
}


def test_the_table_has_every_reason_of_the_proto() -> None:
    names = {name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(REASONS) == names - {"UNSPECIFIED"}


@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_has_its_error_for_reads_and_writes(reason: str, writes: bool) -> None:
    code, kind = REASONS[reason]
    error = error_of_status(refusal(code, reason, message="no"), writes=writes)
    assert (type(error), error.code, error.reason, str(error)) == (kind, code, reason, "no")


def test_the_table_has_every_code_of_grpc() -> None:
    assert set(CODES) == set(grpc.StatusCode)


@pytest.mark.parametrize("reason", ["", "NEWER_THAN_THIS_CLIENT"])
@pytest.mark.parametrize("code", CODES)
def test_an_unknown_reason_falls_back_to_the_code(code: grpc.StatusCode, reason: str) -> None:
    kind, may_hide_success = CODES[code]
    assert type(error_of_status(refusal(code, reason), writes=False)) is kind
    assert type(error_of_status(refusal(code, reason), writes=True)) is (OutcomeUnknown if may_hide_success else kind)


def test_a_reason_of_another_domain_counts_for_nothing() -> None:
    status = refusal(CODE.UNAVAILABLE, "RECORD_NOT_FOUND", domain="dapr.io", metadata={"nothing_sent": "true"})
    error = error_of_status(status, writes=True)
    assert (type(error), error.reason, error.nothing_sent) == (OutcomeUnknown, "", False)


def test_a_code_that_grpc_does_not_have_is_unknown() -> None:
    error = error_of_status(status_pb2.Status(code=99, message="?"), writes=False)
    assert (type(error), error.code) == (Internal, CODE.UNKNOWN)


@pytest.mark.parametrize(
    "message",
    [
        "failed to connect to all addresses; last error: …",
        "DNS resolution failed for nowhere:7400: …",
        "CLIENT: Sent message larger than max (200 vs. 100)",
        "SERVER: Received message larger than max (200 vs. 100)",
        "Concurrent RPC limit exceeded!",
    ],
)
def test_a_write_that_never_arrived_was_not_applied(message: str) -> None:
    error = error_of_status(refusal(CODE.UNAVAILABLE, message=message), writes=True)
    assert (type(error), error.nothing_sent) == (Unavailable, True)


def test_the_details_are_carried() -> None:
    about = {"etag": "e7", "store": "redis", "namespace": "chat", "key": "a", "correlation_id": "c1"}
    name = RecordName(store="redis", namespace="chat", key="a")

    conflict = error_of_status(refusal(CODE.ABORTED, "ETAG_MISMATCH", metadata=about), writes=True)
    assert isinstance(conflict, Conflict)
    assert (conflict.etag, conflict.name, conflict.correlation_id) == ("e7", name, "c1")

    exists = error_of_status(refusal(CODE.ALREADY_EXISTS, "RECORD_ALREADY_EXISTS", metadata=about), writes=True)
    assert isinstance(exists, AlreadyExists)
    assert (exists.etag, exists.name) == ("e7", name)

    unavailable = error_of_status(
        refusal(
            CODE.UNAVAILABLE,
            "STORE_UNAVAILABLE",
            metadata={"nothing_sent": "true"},
            retry_after=timedelta(milliseconds=1500),
        ),
        writes=True,
    )
    assert isinstance(unavailable, Unavailable)
    assert (unavailable.retry_after, unavailable.nothing_sent) == (timedelta(milliseconds=1500), True)

    unsupported = error_of_status(
        refusal(CODE.FAILED_PRECONDITION, "UNSUPPORTED_BY_STORE", metadata={"capability": "rollback"}), writes=True
    )
    assert isinstance(unsupported, UnsupportedByStore)
    assert unsupported.capability == "rollback"


def test_a_record_that_is_named_is_named_in_the_words() -> None:
    status = refusal(CODE.NOT_FOUND, "RECORD_NOT_FOUND", message="there is no such record", metadata={"key": "user:7"})
    assert str(error_of_status(status, writes=True)) == "there is no such record: 'user:7'"


def test_no_etag_where_the_record_is_gone() -> None:
    gone = error_of_status(refusal(CODE.ABORTED, "ETAG_MISMATCH", metadata={"etag": ""}), writes=True)
    assert isinstance(gone, Conflict)
    assert (gone.etag, gone.name) == (None, None)


def test_every_field_that_is_wrong_is_named() -> None:
    violations = {"name.key": "must not be empty", "ttl": "must be positive"}
    status = refusal(CODE.INVALID_ARGUMENT, "INVALID_FIELDS", message="bad request", violations=violations)
    error = error_of_status(status, writes=True)
    assert isinstance(error, InvalidArgument)
    assert error.violations == tuple(FieldViolation(field=f, description=d) for f, d in violations.items())
    assert str(error) == "bad request: name.key must not be empty; ttl must be positive"
    error.message = "name.key must not be empty; ttl must be positive"
    assert str(error) == error.message


def test_details_that_are_garbage_are_passed_over() -> None:
    status = refusal(CODE.ABORTED, "ETAG_MISMATCH")
    status.details[0].value = b"\xff\xff"
    assert type(error_of_status(status, writes=True)) is Conflict
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    call = grpc.aio.AioRpcError(CODE.NOT_FOUND, grpc.aio.Metadata(), trailer, details="no")
    assert type(error_of_call(call, writes=False)) is NotFound


def test_all_errors_have_one_root_and_can_be_pickled_and_copied() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, KeepstateError)]
    public = {kind.__name__ for kind in kinds if not kind.__name__.startswith("_")}
    assert {*public, "FieldViolation"} == {*errors.__all__}
    assert {*errors.__all__} <= {*keepstate.__all__}
    for kind in kinds:
        error = kind("why", code=CODE.ABORTED, reason="R", correlation_id="c")
        assert isinstance(error, KeepstateError)
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is kind
            assert vars(twin) == vars(error)


async def test_errors_cross_the_wire(state: Client[Any], service: FakeService) -> None:
    service.script.append(refusal(CODE.ABORTED, "ETAG_MISMATCH", message="lost", metadata={"etag": "e9"}))
    with pytest.raises(Conflict, match="lost") as caught:
        await state.put("a", 1, if_etag="e1")
    assert caught.value.etag == "e9"
    assert caught.value.__cause__ is None


async def test_a_failure_that_the_service_did_not_explain_keeps_its_cause(
    state: Client[Any], service: FakeService
) -> None:
    service.script.append(refusal(CODE.DATA_LOSS))
    with pytest.raises(Internal) as caught:
        await state.get("a")
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
