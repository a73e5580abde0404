"""The failures that daprd 1.18 answers with, in its codes, words and details: callers meet the same ones here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as PackedDetail
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, ResourceInfo
from google.rpc.status_pb2 import Status

from keepstate_server.embedded.operations import WriteFailure

__all__ = [
    "Refusal",
    "delete_failed",
    "empty_key",
    "get_failed",
    "illegal_key",
    "internal_error",
    "save_failed",
    "several_deletions_failed",
    "store_not_found",
    "transaction_failed",
    "unauthenticated",
    "unimplemented",
    "unsupported_operation",
]

# The text travels in the trailers twice, percent-encoded and base64; a caller's library refuses trailers over 8 KiB
# with a code of its own, and the real one would be lost.
_TEXT_BYTES: Final = 1024
_KEY_BYTES: Final = 512
_DOMAIN: Final = "dapr.io"


class Refusal(Exception):
    """A call is answered with this failure instead of a response."""

    def __init__(self, code: grpc.StatusCode, text: str, *details: Message) -> None:
        super().__init__(text)
        self.code = code
        self.text = _cut(text)
        self.details = details

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The trailing metadata that carries the details, as google.rpc.Status."""
        status = Status(code=self.code.value[0], message=self.text)
        for detail in self.details:
            packed = PackedDetail()
            packed.Pack(detail)
            status.details.append(packed)
        return (("grpc-status-details-bin", status.SerializeToString()),)


def store_not_found(store: str) -> Refusal:
    """There is no component of that name."""
    text = f"state store {store} is not found"
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, text, _info("DAPR_STATE_NOT_FOUND"))


def illegal_key(store: str, key: str) -> Refusal:
    """The key holds what separates prefix and key in the store."""
    text = f"input key/keyPrefix '{_cut(key, _KEY_BYTES)}' can't contain '||'"
    violation = BadRequest.FieldViolation(field=_cut(key, _KEY_BYTES), description=text)
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        text,
        BadRequest(field_violations=[violation]),
        ResourceInfo(resource_type="state", resource_name=store),
        _info("DAPR_STATE_ILLEGAL_KEY"),
    )


def empty_key() -> Refusal:
    """A save without a key; no other call minds one."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "state key cannot be empty", _info("ERR_STATE_SAVE"))


def get_failed(store: str, key: str, cause: str) -> Refusal:
    """A read failed in the storage."""
    text = f"fail to get {_cut(key, _KEY_BYTES)} from state store {store}: {cause}"
    return Refusal(grpc.StatusCode.INTERNAL, text, _info("ERR_STATE_GET"))


def save_failed(store: str, failures: Sequence[WriteFailure], *, of: int) -> Refusal:
    """Some of the ``of`` saves of a call failed; which ones is not told."""
    text = f"failed saving state in state store {store}: {_joined(failures, of=of)}"
    return Refusal(_code(failures), text, _info("ERR_STATE_SAVE"))


def delete_failed(key: str, failure: WriteFailure) -> Refusal:
    """A single deletion failed."""
    text = f"failed deleting state with key {_cut(key, _KEY_BYTES)}: {failure.text}"
    return Refusal(_code([failure]), text, _info("ERR_STATE_DELETE"))


def several_deletions_failed(store: str, failures: Sequence[WriteFailure], *, of: int) -> Refusal:
    """Some of the ``of`` deletions of a call failed; which ones is not told."""
    text = f"failed deleting state in state store {store}: {_joined(failures, of=of)}"
    return Refusal(_code(failures), text, _info("ERR_STATE_BULK_DELETE"))


def transaction_failed(failure: WriteFailure) -> Refusal:
    """A transaction failed, whatever the cause: it is only in the text."""
    text = f"error while executing state transaction: {failure.text}"
    return Refusal(grpc.StatusCode.INTERNAL, text, _info("ERR_STATE_TRANSACTION"))


def unsupported_operation(operation: str) -> Refusal:
    """A transaction holds something else than "upsert" and "delete"."""
    text = f"operation type {_cut(operation, _KEY_BYTES)} not supported"
    return Refusal(grpc.StatusCode.UNIMPLEMENTED, text, _info("ERR_NOT_SUPPORTED_STATE_OPERATION"))


def unimplemented(method: str) -> Refusal:
    """The method is one of daprd's that the embedded sidecar does not have."""
    return Refusal(grpc.StatusCode.UNIMPLEMENTED, f"the embedded sidecar does not have {method}")


def unauthenticated(cause: str) -> Refusal:
    """The call carries no token, or a wrong one."""
    info = ErrorInfo(
        reason="Unauthorized", domain=_DOMAIN, metadata={"http.code": "401", "http.error_message": cause[:63]}
    )
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, "Unauthorized", info)


def internal_error() -> Refusal:
    """A fault in the sidecar itself; nothing of it is told."""
    return Refusal(grpc.StatusCode.INTERNAL, "internal error")


def _code(failures: Iterable[WriteFailure]) -> grpc.StatusCode:
    # One mismatch among failures of other kinds decides.
    mismatch = any(failure.etag_mismatch for failure in failures)
    return grpc.StatusCode.ABORTED if mismatch else grpc.StatusCode.INTERNAL


def _joined(failures: Sequence[WriteFailure], *, of: int) -> str:
    text = "\n".join(failure.text for failure in failures)
    if of > 1 and all(failure.etag_mismatch for failure in failures):
        return f"{failures[0].text}: {text}"
    return text


def _info(reason: str) -> ErrorInfo:
    return ErrorInfo(reason=reason, domain=_DOMAIN)


def _cut(text: str, limit: int = _TEXT_BYTES) -> str:
    encoded = text.encode()
    if len(encoded) <= limit:
        return text
    return encoded[: limit - 3].decode(errors="ignore") + "…"
