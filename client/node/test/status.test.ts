import assert from "node:assert/strict";
import { test } from "node:test";

import { Metadata, status as Code, type ServiceError } from "@grpc/grpc-js";

import * as errors from "../src/errors.js";
import { ErrorReason } from "../src/gen/keepstate/v1/errors.js";
import { asOfRead, errorOfCall, errorOfStatus } from "../src/status.js";
import { statusOf } from "./support/fake_service.js";

/** The type of each reason, and the fields of its own, as the rules name them (E1). */
const BY_REASON: readonly (readonly [string, Code, string])[] = [
  ["RECORD_NOT_FOUND", Code.NOT_FOUND, "NotFound"],
  ["RECORD_ALREADY_EXISTS", Code.ALREADY_EXISTS, "AlreadyExists"],
  ["ETAG_MISMATCH", Code.ABORTED, "Conflict"],
  ["TRANSACTION_CONFLICT", Code.ABORTED, "TransactionConflict"],
  ["INVALID_FIELDS", Code.INVALID_ARGUMENT, "InvalidArgument"],
  ["STORE_NOT_FOUND", Code.NOT_FOUND, "StoreNotFound"],
  ["UNSUPPORTED_BY_STORE", Code.FAILED_PRECONDITION, "UnsupportedByStore"],
  ["UPDATE_NOT_APPLICABLE", Code.FAILED_PRECONDITION, "UpdateNotApplicable"],
  ["STORE_UNAVAILABLE", Code.UNAVAILABLE, "Unavailable"],
  ["OUTCOME_UNKNOWN", Code.UNKNOWN, "OutcomeUnknown"],
  ["DEADLINE_EXCEEDED", Code.DEADLINE_EXCEEDED, "DeadlineExceeded"],
  ["OVERLOADED", Code.RESOURCE_EXHAUSTED, "ResourceExhausted"],
  ["NOT_IMPLEMENTED", Code.UNIMPLEMENTED, "Unimplemented"],
  ["UNAUTHENTICATED", Code.UNAUTHENTICATED, "Unauthenticated"],
  ["PERMISSION_DENIED", Code.PERMISSION_DENIED, "PermissionDenied"],
  ["INTERNAL", Code.INTERNAL, "Internal"],
];

test("every reason has its type", () => {
  const reasons = Object.values(ErrorReason).filter((each) => typeof each === "string");
  assert.deepEqual(new Set(BY_REASON.map(([reason]) => reason)), new Set(reasons.slice(1)));
  for (const [reason, code, kind] of BY_REASON) {
    for (const writes of [false, true]) {
      const error = errorOfStatus(statusOf(code, { reason }), writes);
      assert.equal(error.kind, kind);
      assert.equal(error.name, `${kind}Error`);
      assert.equal(error.reason, reason);
      assert.equal(error.code, Code[code]);
      assert.ok(error instanceof errors.KeepstateError);
    }
  }
});

test("the more special errors are also the more general ones", () => {
  assert.ok(new errors.TransactionConflictError("") instanceof errors.ConflictError);
  assert.ok(new errors.StoreNotFoundError("") instanceof errors.InvalidArgumentError);
  assert.ok(new errors.UnsupportedByStoreError("") instanceof errors.FailedPreconditionError);
  assert.ok(new errors.UpdateNotApplicableError("") instanceof errors.FailedPreconditionError);
});

test("an error has what the service says of the record", () => {
  const metadata = { store: "main", namespace: "chat", key: "k", etag: "e7", correlation_id: "c1" };
  const error = errorOfStatus(statusOf(Code.ABORTED, { reason: "ETAG_MISMATCH", metadata }), true);
  assert.ok(error instanceof errors.ConflictError);
  assert.deepEqual(error.record, { store: "main", namespace: "chat", key: "k" });
  assert.equal(error.etag, "e7");
  assert.equal(error.correlationId, "c1");
});

test("a conflict over a record that is gone has no etag", () => {
  const metadata = { store: "main", namespace: "", key: "k", etag: "" };
  const error = errorOfStatus(statusOf(Code.ABORTED, { reason: "ETAG_MISMATCH", metadata }), true);
  assert.ok(error instanceof errors.ConflictError);
  assert.equal(error.etag, undefined);
});

test("an error has the violations, the pause, the limit, the capability and what is for good", () => {
  const violations = { "name.key": "must not be empty" };
  const invalid = errorOfStatus(statusOf(Code.INVALID_ARGUMENT, { reason: "INVALID_FIELDS", violations }), true);
  assert.ok(invalid instanceof errors.InvalidArgumentError);
  assert.deepEqual(invalid.violations, [{ field: "name.key", description: "must not be empty" }]);
  assert.match(invalid.message, /name\.key must not be empty/);

  const metadata = { limit: "calls under way", capability: "etags", for_good: "true" };
  const full = { reason: "OVERLOADED", metadata, retryAfterMs: 1_250 };
  const exhausted = errorOfStatus(statusOf(Code.RESOURCE_EXHAUSTED, full), true);
  assert.ok(exhausted instanceof errors.ResourceExhaustedError);
  assert.equal(exhausted.retryAfterMs, 1_250);
  assert.equal(exhausted.limit, "calls under way");

  const lacking = statusOf(Code.FAILED_PRECONDITION, { reason: "UNSUPPORTED_BY_STORE", metadata });
  const unsupported = errorOfStatus(lacking, true);
  assert.ok(unsupported instanceof errors.UnsupportedByStoreError);
  assert.equal(unsupported.capability, "etags");

  const unknown = errorOfStatus(statusOf(Code.UNKNOWN, { reason: "OUTCOME_UNKNOWN", metadata }), true);
  assert.ok(unknown instanceof errors.OutcomeUnknownError);
  assert.ok(unknown.forGood);
});

const BY_CODE: Readonly<Record<string, string>> = {
  OK: "Internal",
  CANCELLED: "Cancelled",
  UNKNOWN: "Internal",
  INVALID_ARGUMENT: "InvalidArgument",
  DEADLINE_EXCEEDED: "DeadlineExceeded",
  NOT_FOUND: "NotFound",
  ALREADY_EXISTS: "AlreadyExists",
  PERMISSION_DENIED: "PermissionDenied",
  RESOURCE_EXHAUSTED: "ResourceExhausted",
  FAILED_PRECONDITION: "FailedPrecondition",
  ABORTED: "Conflict",
  OUT_OF_RANGE: "InvalidArgument",
  UNIMPLEMENTED: "Unimplemented",
  INTERNAL: "Internal",
  UNAVAILABLE: "Unavailable",
  DATA_LOSS: "Internal",
  UNAUTHENTICATED: "Unauthenticated",
};

const MAY_HIDE_SUCCESS = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "DEADLINE_EXCEEDED",
  "RESOURCE_EXHAUSTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
];

test("without a reason the code decides, and a write that may have been applied is unknown", () => {
  const codes = Object.entries(Code).filter((entry): entry is [string, Code] => typeof entry[1] === "number");
  assert.equal(codes.length, 17);
  for (const [name, code] of codes) {
    for (const fields of [{}, { reason: "OF_A_LATER_VERSION" }, { reason: "ETAG_MISMATCH", domain: "elsewhere" }]) {
      assert.equal(errorOfStatus(statusOf(code, fields), false).kind, BY_CODE[name]);
      const expected = MAY_HIDE_SUCCESS.includes(name) ? "OutcomeUnknown" : BY_CODE[name];
      assert.equal(errorOfStatus(statusOf(code, fields), true).kind, expected);
    }
  }
});

test("a number that is no code counts as unknown", () => {
  const error = errorOfStatus({ ...statusOf(Code.OK), code: 77 }, false);
  assert.equal(error.kind, "Internal");
  assert.equal(error.code, "UNKNOWN");
});

const NEVER_ARRIVED = [
  "No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1",
  "Name resolution failed for target dns:nowhere.invalid:7400",
  "Attempted to send message with a size larger than 16777216",
  "Deadline exceeded after 1.000s,name resolution: 0.002s,metadata filters: 0.001s,Waiting for LB pick",
  "Stream refused by server",
  "SERVER: Received message larger than max (1 vs. 0)",
];

test("a write that surely did not arrive is not unknown, and nothing of it was sent", () => {
  for (const message of NEVER_ARRIVED) {
    const error = errorOfStatus(statusOf(Code.UNAVAILABLE, { message }), true);
    assert.equal(error.kind, "Unavailable", message);
    assert.ok(error.nothingSent, message);
  }
});

test("a write whose time was up while the service had it is unknown", () => {
  const message = "Deadline exceeded after 1.000s,LB pick: 0.001s,remote_addr=127.0.0.1:7400";
  const error = errorOfStatus(statusOf(Code.DEADLINE_EXCEEDED, { message }), true);
  assert.equal(error.kind, "OutcomeUnknown");
  assert.equal(error.nothingSent, false);
});

test("the service says where nothing was sent to the store", () => {
  const metadata = { nothing_sent: "true" };
  const error = errorOfStatus(statusOf(Code.UNAVAILABLE, { reason: "STORE_UNAVAILABLE", metadata }), true);
  assert.equal(error.kind, "Unavailable");
  assert.ok(error.nothingSent);
});

test("details that cannot be parsed are no details", () => {
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from([0xff, 0xff, 0xff]));
  const call: ServiceError = Object.assign(new Error(), { code: Code.ABORTED, details: "lost", metadata });
  assert.equal(errorOfCall(call, true).kind, "Conflict");

  const broken = statusOf(Code.NOT_FOUND, { reason: "RECORD_NOT_FOUND" });
  const details = broken.details.map(({ typeUrl }) => ({ typeUrl, value: Uint8Array.from([0x0a, 0x7f]) }));
  const error = errorOfStatus({ ...broken, details }, false);
  assert.equal(error.kind, "NotFound");
  assert.equal(error.reason, "");
});

test("of a read in a call that failed no outcome is unknown", () => {
  const lost = errorOfStatus(statusOf(Code.UNAVAILABLE, { message: "lost" }), true);
  assert.equal(lost.kind, "OutcomeUnknown");
  assert.equal(asOfRead(lost).kind, "Unavailable");
  assert.equal(asOfRead(new errors.OutcomeUnknownError("as many")).kind, "Internal");
  const full = errorOfStatus(statusOf(Code.RESOURCE_EXHAUSTED, { reason: "OVERLOADED", retryAfterMs: 5 }), true);
  assert.equal(asOfRead(full), full);
});
