"""Every error has its code and its details, and arrives as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from keepstate.v1 import errors_pb2
from keepstate_server.domain import errors as errors_module
from keepstate_server.domain.errors import (
    DeadlineExceeded,
    FieldViolation,
    InvalidFields,
    KeepstateError,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    Reason,
    RecordChanged,
    RecordExists,
    RecordMissing,
    StoreNotFound,
    StoreUnavailable,
    TransactionConflict,
    UnsupportedByStore,
    UpdateNotApplicable,
)
from keepstate_server.rpc.status import CODES, DOMAIN, status_of
from tests.unit.server.cases import name

NAME = name("k", store="redis", namespace="shop")

# What finds the call in the service's log.
TRACE = {"correlation_id": "c0ffee"}

# One of each, with its code, the metadata of its ErrorInfo, and the kinds of its further details.
CASES: list[tuple[KeepstateError, int, dict[str, str], set[str]]] = [
    (KeepstateError(), code_pb2.INTERNAL, TRACE, set()),
    (
        InvalidFields([FieldViolation(field="name.key", description="must not be empty")]),
        code_pb2.INVALID_ARGUMENT,
        {},
        {"BadRequest"},
    ),
    (
        RecordMissing(NAME),
        code_pb2.NOT_FOUND,
        {"etag": "", "store": "redis", "namespace": "shop", "key": "k"},
        set(),
    ),
    (
        RecordExists(NAME, "now"),
        code_pb2.ALREADY_EXISTS,
        {"etag": "now", "store": "redis", "namespace": "shop", "key": "k"},
        set(),
    ),
    (
        RecordChanged(NAME, "now"),
        code_pb2.ABORTED,
        {"etag": "now", "store": "redis", "namespace": "shop", "key": "k"},
        set(),
    ),
    (
        UpdateNotApplicable(NAME, "now", "the value is not a JSON list"),
        code_pb2.FAILED_PRECONDITION,
        {"etag": "now", "store": "redis", "namespace": "shop", "key": "k"},
        set(),
    ),
    (StoreNotFound("nowhere"), code_pb2.NOT_FOUND, {}, set()),
    (StoreNotFound("nowhere", field="puts[3].name.store"), code_pb2.INVALID_ARGUMENT, {}, {"BadRequest"}),
    (
        UnsupportedByStore("redis", "rollback", "it does not"),
        code_pb2.FAILED_PRECONDITION,
        {"store": "redis", "capability": "rollback"},
        set(),
    ),
    (StoreUnavailable("redis"), code_pb2.UNAVAILABLE, {"store": "redis", **TRACE}, {"RetryInfo"}),
    (
        StoreUnavailable("redis", nothing_sent=True),
        code_pb2.UNAVAILABLE,
        {"store": "redis", "nothing_sent": "true", **TRACE},
        {"RetryInfo"},
    ),
    (OutcomeUnknown(), code_pb2.UNKNOWN, TRACE, set()),
    (OutcomeUnknown(for_good=True), code_pb2.UNKNOWN, {"for_good": "true", **TRACE}, set()),
    (DeadlineExceeded(), code_pb2.DEADLINE_EXCEEDED, {}, set()),
    (
        Overloaded("calls under way"),
        code_pb2.RESOURCE_EXHAUSTED,
        {"limit": "calls under way", "nothing_sent": "true"},
        {"RetryInfo"},
    ),
    (TransactionConflict(), code_pb2.ABORTED, {}, {"RetryInfo"}),
]


def over_the_wire(status: status_pb2.Status) -> status_pb2.Status:
    arrived = status_pb2.Status.FromString(status.SerializeToString())
    assert isinstance(arrived, status_pb2.Status)
    return arrived


def details(status: status_pb2.Status) -> Iterator[Message]:
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                yield message


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    [info] = [each for each in details(status) if isinstance(each, error_details_pb2.ErrorInfo)]
    return info


def bad_request_of(status: status_pb2.Status) -> list[tuple[str, str]]:
    [bad] = [each for each in details(status) if isinstance(each, error_details_pb2.BadRequest)]
    return [(violation.field, violation.description) for violation in bad.field_violations]


@pytest.mark.parametrize(
    ("error", "code", "metadata", "further"), CASES, ids=[str(number) for number in range(len(CASES))]
)
def test_an_error_arrives_with_its_code_reason_and_details(
    error: KeepstateError, code: int, metadata: dict[str, str], further: set[str]
) -> None:
    status = over_the_wire(status_of(error, correlation_id="c0ffee"))
    assert status.code == code
    assert status.message == str(error) == error.message != ""
    info = info_of(status)
    assert (info.domain, info.reason, dict(info.metadata)) == (DOMAIN, error.reason.value, metadata)
    assert {type(each).__name__ for each in details(status)} == {"ErrorInfo"} | further
    assert len(list(details(status))) == len(status.details)


def leaves(kind: type[KeepstateError]) -> set[type[KeepstateError]]:
    below = kind.__subclasses__()
    return set().union(*map(leaves, below)) if below else {kind}


def test_every_kind_of_error_has_its_case() -> None:
    assert {type(error) for error, *_ in CASES} >= leaves(KeepstateError)
    exported = {getattr(errors_module, each) for each in errors_module.__all__}
    errors = {each for each in exported if isinstance(each, type) and issubclass(each, KeepstateError)}
    assert errors - {KeepstateError, PreconditionFailed} == leaves(KeepstateError)


def test_every_reason_has_a_code_and_an_error_that_gives_it() -> None:
    assert set(CODES) == set(Reason)
    assert {error.reason for error, *_ in CASES} == set(Reason)


def test_every_reason_is_one_of_the_protos() -> None:
    known = {each.removeprefix("ERROR_REASON_") for each in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert {reason.value for reason in Reason} <= known
    assert all(reason.name == reason.value for reason in Reason)


def test_aborted_is_said_only_where_somebody_else_won() -> None:
    assert {reason for reason, code in CODES.items() if code == code_pb2.ABORTED} == {
        Reason.ETAG_MISMATCH,
        Reason.TRANSACTION_CONFLICT,
    }


def test_a_missing_store_is_its_fields_fault_where_a_field_named_it() -> None:
    status = status_of(StoreNotFound("nowhere"), store_field="name.store")
    assert status.code == code_pb2.INVALID_ARGUMENT
    assert bad_request_of(status) == [("name.store", "there is no state store 'nowhere'")]
    own = status_of(StoreNotFound("nowhere", field="puts[0].name.store"), store_field="name.store")
    assert bad_request_of(own)[0][0] == "puts[0].name.store"


def test_a_fault_of_the_service_tells_nothing_but_where_to_look() -> None:
    status = status_of(KeepstateError("a secret"), correlation_id="c0ffee")
    assert b"secret" not in status.SerializeToString()
    assert info_of(status).metadata["correlation_id"] == "c0ffee"


def test_without_a_correlation_id_none_is_told() -> None:
    assert "correlation_id" not in info_of(status_of(OutcomeUnknown())).metadata


def test_a_pause_is_told_in_full() -> None:
    status = status_of(StoreUnavailable("redis", retry_after=timedelta(milliseconds=1500)))
    [retry] = [each for each in details(status) if isinstance(each, error_details_pb2.RetryInfo)]
    assert retry.retry_delay.ToTimedelta() == timedelta(milliseconds=1500)


def test_every_wrong_field_is_named_with_its_fault() -> None:
    violations = [FieldViolation(field=f"puts[{number}].name.key", description="x") for number in range(30)]
    named = bad_request_of(status_of(InvalidFields(violations)))
    assert named == [(each.field, each.description) for each in violations]


def room_in_metadata(status: status_pb2.Status) -> int:
    """About how many bytes the status takes in the metadata of its answer: base64, and a message in percent signs."""
    return len(status.SerializeToString()) * 4 // 3 + 3 * len(status.message.encode()) + 500


@pytest.mark.parametrize("count", [100, 1000, 20_000])
def test_an_error_with_any_number_of_wrong_fields_fits_into_an_answer(count: int) -> None:
    """Clients take 8 KiB of metadata; of more they make another error of their own."""
    violations = [
        FieldViolation(field=f"puts[{number}].precondition.etag", description="is not an etag that was given out")
        for number in range(count)
    ]
    status = status_of(InvalidFields(violations))
    assert room_in_metadata(status) < 8 * 1024
    named = bad_request_of(status)
    assert len(named) > 20
    if len(named) < count:
        assert named[-1][1].endswith(f"and {count - len(named)} more fields are wrong")
    assert status.message.startswith("puts[0].precondition.etag is not an etag")


@pytest.mark.parametrize(
    "error",
    [
        StoreNotFound("\U0001f600" * 100_000),
        StoreNotFound("s" * 100_000, field="name.store"),
        RecordChanged(name("\U0001f600" * 128, store="s" * 253, namespace="\u00e9" * 64), "e" * 22),
    ],
)
def test_no_name_is_so_long_that_its_error_does_not_arrive(error: KeepstateError) -> None:
    status = status_of(error)
    assert room_in_metadata(over_the_wire(status)) < 8 * 1024
