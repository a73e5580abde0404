import { status as Code, type Metadata, type ServiceError } from "@grpc/grpc-js";

import * as errors from "./errors.js";
import type { AnyKeepstateError, FieldViolation } from "./errors.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import { ErrorReason } from "./gen/keepstate/v1/errors.js";
import type { RecordName } from "./records.js";

const DOMAIN = "keepstate";
const DETAILS_KEY = "grpc-status-details-bin";

/** A failed call, taken apart, with the fields that any of the errors has. */
interface Failure {
  readonly code: string;
  readonly message: string;
  readonly reason: string;
  readonly correlationId: string;
  readonly nothingSent: boolean;
  readonly record: RecordName | undefined;
  readonly etag: string | undefined;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;
  readonly capability: string;
  readonly forGood: boolean;
  readonly limit: string;
  readonly cause?: unknown;
}

type Kind = new (message: string, details: Failure) => AnyKeepstateError;

const BY_REASON: Readonly<Record<ErrorReason, Kind | undefined>> = {
  [ErrorReason.UNSPECIFIED]: undefined,
  [ErrorReason.RECORD_NOT_FOUND]: errors.NotFoundError,
  [ErrorReason.RECORD_ALREADY_EXISTS]: errors.AlreadyExistsError,
  [ErrorReason.ETAG_MISMATCH]: errors.ConflictError,
  [ErrorReason.INVALID_FIELDS]: errors.InvalidArgumentError,
  [ErrorReason.STORE_NOT_FOUND]: errors.StoreNotFoundError,
  [ErrorReason.UNSUPPORTED_BY_STORE]: errors.UnsupportedByStoreError,
  [ErrorReason.STORE_UNAVAILABLE]: errors.UnavailableError,
  [ErrorReason.OUTCOME_UNKNOWN]: errors.OutcomeUnknownError,
  [ErrorReason.DEADLINE_EXCEEDED]: errors.DeadlineExceededError,
  [ErrorReason.OVERLOADED]: errors.ResourceExhaustedError,
  [ErrorReason.NOT_IMPLEMENTED]: errors.UnimplementedError,
  [ErrorReason.TRANSACTION_CONFLICT]: errors.TransactionConflictError,
  [ErrorReason.UNAUTHENTICATED]: errors.UnauthenticatedError,
  [ErrorReason.PERMISSION_DENIED]: errors.PermissionDeniedError,
  [ErrorReason.INTERNAL]: errors.InternalError,
  [ErrorReason.UPDATE_NOT_APPLICABLE]: errors.UpdateNotApplicableError,
};

/** For failures without a reason that this version knows: gRPC's own, a proxy's, or a newer service's. */
const BY_CODE: Readonly<Record<Code, Kind>> = {
  [Code.OK]: errors.InternalError, // a failure that says it is none
  [Code.CANCELLED]: errors.CancelledError,
  [Code.UNKNOWN]: errors.InternalError,
  [Code.INVALID_ARGUMENT]: errors.InvalidArgumentError,
  [Code.DEADLINE_EXCEEDED]: errors.DeadlineExceededError,
  [Code.NOT_FOUND]: errors.NotFoundError,
  [Code.ALREADY_EXISTS]: errors.AlreadyExistsError,
  [Code.PERMISSION_DENIED]: errors.PermissionDeniedError,
  [Code.UNAUTHENTICATED]: errors.UnauthenticatedError,
  [Code.RESOURCE_EXHAUSTED]: errors.ResourceExhaustedError,
  [Code.FAILED_PRECONDITION]: errors.FailedPreconditionError,
  [Code.ABORTED]: errors.ConflictError,
  [Code.OUT_OF_RANGE]: errors.InvalidArgumentError,
  [Code.UNIMPLEMENTED]: errors.UnimplementedError,
  [Code.INTERNAL]: errors.InternalError,
  [Code.UNAVAILABLE]: errors.UnavailableError,
  [Code.DATA_LOSS]: errors.InternalError,
};

const CODES = Object.values(Code).filter((code) => typeof code === "number");

/** Codes that, without a reason of the service, may stand for a lost answer: a write that fails so may be applied (E3). */
const MAY_HIDE_SUCCESS: ReadonlySet<Code> = new Set([
  Code.OK,
  Code.CANCELLED,
  Code.UNKNOWN,
  Code.DEADLINE_EXCEEDED,
  Code.RESOURCE_EXHAUSTED,
  Code.INTERNAL,
  Code.UNAVAILABLE,
  Code.DATA_LOSS,
]);

/**
 * What gRPC says where a request did not leave the client, or was thrown away unread, there and here. It has no code of
 * its own for that. Should the words change, such a write counts as unknown, which is never wrong.
 */
const NEVER_ARRIVED = [
  /^No connection established/,
  /^Name resolution failed/,
  /^Stream refused by server/,
  /^Failed to start HTTP\/2 stream/,
  /^Attempted to send message with a size larger than/,
  /^Deadline exceeded after .*(waiting for name resolution|waiting for metadata filters|Waiting for LB pick)$/,
  /^SERVER: Received message larger than max/,
  /^Concurrent RPC limit exceeded/,
];

/**
 * What gRPC says here of an answer without a message, or with several. It gives them the code of a call that is not
 * offered, but the call was answered: a write may have been applied.
 */
const NOT_ONE_MESSAGE = /^(No message received|Too many responses received)$/;

/** The typed error of a failed call. */
export function errorOfCall(error: ServiceError, writes: boolean): AnyKeepstateError {
  const code = NOT_ONE_MESSAGE.test(error.details) ? Code.INTERNAL : knownCode(error.code);
  return errorOf(code, error.details, detailsOf(error.metadata), writes);
}

/** The typed error of one failed operation of a batch. */
export function errorOfStatus(status: Status, writes: boolean): AnyKeepstateError {
  return errorOf(knownCode(status.code), status.message, status, writes);
}

/** A number that is no code of gRPC is as good as UNKNOWN. */
function knownCode(number: number): Code {
  return CODES.find((code) => (code as number) === number) ?? Code.UNKNOWN;
}

/** What the failure of a whole call means for a read in it, of which no outcome can be unknown. */
export function asOfRead(error: AnyKeepstateError): AnyKeepstateError {
  if (!(error instanceof errors.OutcomeUnknownError)) return error;
  const code = error.code === undefined ? Code.INTERNAL : Code[error.code as keyof typeof Code];
  return new BY_CODE[code](error.message, { ...NOTHING_SAID, code: Code[code], correlationId: error.correlationId });
}

const NOTHING_SAID: Failure = {
  code: "",
  message: "",
  reason: "",
  correlationId: "",
  nothingSent: false,
  record: undefined,
  etag: undefined,
  violations: [],
  retryAfterMs: undefined,
  capability: "",
  forGood: false,
  limit: "",
};

function errorOf(code: Code, message: string, status: Status | undefined, writes: boolean): AnyKeepstateError {
  const failure = failureOf(code, message, status);
  const lost = writes && MAY_HIDE_SUCCESS.has(code) && !failure.nothingSent;
  const kind = kindOf(failure.reason) ?? (lost ? errors.OutcomeUnknownError : BY_CODE[code]);
  return new kind(message || failure.code, failure);
}

function kindOf(reason: string): Kind | undefined {
  const number = (ErrorReason as unknown as Readonly<Record<string, ErrorReason>>)[reason];
  return typeof number === "number" ? BY_REASON[number] : undefined;
}

function failureOf(code: Code, message: string, status: Status | undefined): Failure {
  const info = detail(status, "google.rpc.ErrorInfo", ErrorInfo);
  const ours = info?.domain === DOMAIN ? info : undefined;
  const said = (key: string): string => ours?.metadata[key] ?? "";
  const retry = detail(status, "google.rpc.RetryInfo", RetryInfo)?.retryDelay;
  return {
    code: Code[code],
    message,
    reason: ours?.reason ?? "",
    correlationId: said("correlation_id"),
    nothingSent: said("nothing_sent") === "true" || NEVER_ARRIVED.some((words) => words.test(message)),
    record: said("key") === "" ? undefined : { store: said("store"), namespace: said("namespace"), key: said("key") },
    etag: said("etag") || undefined,
    violations: violationsOf(status),
    retryAfterMs: retry === undefined ? undefined : Number(retry.seconds) * 1000 + retry.nanos / 1e6,
    capability: said("capability"),
    forGood: said("for_good") === "true",
    limit: said("limit"),
  };
}

function violationsOf(status: Status | undefined): FieldViolation[] {
  const bad = detail(status, "google.rpc.BadRequest", BadRequest);
  return (bad?.fieldViolations ?? []).map(({ field, description }) => ({ field, description }));
}

/** The details of this type. What cannot be parsed is no details. */
function detail<T>(status: Status | undefined, type: string, stub: { decode(data: Uint8Array): T }): T | undefined {
  const packed = status?.details.find(({ typeUrl }) => typeUrl.slice(typeUrl.lastIndexOf("/") + 1) === type);
  return packed === undefined ? undefined : parsed(() => stub.decode(packed.value));
}

function detailsOf(metadata: Metadata): Status | undefined {
  const packed = metadata.get(DETAILS_KEY)[0];
  return packed instanceof Uint8Array ? parsed(() => Status.decode(packed)) : undefined;
}

function parsed<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
