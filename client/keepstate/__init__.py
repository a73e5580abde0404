"""Keepstate: one contract for state, kept on every Dapr state store. This is its Python client.

::

    async with Client("localhost:7400") as state:
        etag = await state.put(key("user", 7), {"name": "Ada"}, ttl=timedelta(hours=1))
"""

from __future__ import annotations

__all__ = [
    "AlreadyExists",
    "Append",
    "Bytes",
    "Cancelled",
    "Check",
    "Client",
    "Codec",
    "Committed",
    "Conflict",
    "Consistency",
    "DeadlineExceeded",
    "DecodeError",
    "Delete",
    "EncodeError",
    "FailedPrecondition",
    "FieldViolation",
    "Finding",
    "Get",
    "Increment",
    "Internal",
    "InvalidArgument",
    "Json",
    "Keeping",
    "KeepstateError",
    "MergePatch",
    "Model",
    "NotFound",
    "Operation",
    "OutcomeUnknown",
    "PartialFailure",
    "PermissionDenied",
    "Probe",
    "Promise",
    "Put",
    "Record",
    "RecordName",
    "ResourceExhausted",
    "Retry",
    "State",
    "StoreInfo",
    "StoreNotFound",
    "Text",
    "Tls",
    "Touch",
    "Touched",
    "Transaction",
    "TransactionConflict",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnsupportedByStore",
    "Update",
    "UpdateNotApplicable",
    "Updated",
    "Verdict",
    "key",
    "parse_key",
]

from keepstate._repeats import Retry
from keepstate.client import Client
from keepstate.codecs import Bytes, Codec, Json, Model, Text
from keepstate.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    KeepstateError,
    NotFound,
    OutcomeUnknown,
    PartialFailure,
    PermissionDenied,
    ResourceExhausted,
    StoreNotFound,
    TransactionConflict,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    UnsupportedByStore,
    UpdateNotApplicable,
)
from keepstate.keys import key, parse_key
from keepstate.operations import Append, Check, Delete, Get, Increment, MergePatch, Operation, Put, Touch, Update
from keepstate.records import Committed, Consistency, Record, RecordName, Touched, Updated
from keepstate.state import State
from keepstate.stores import Finding, Keeping, Probe, Promise, StoreInfo, Verdict
from keepstate.tls import Tls
from keepstate.transaction import Transaction
