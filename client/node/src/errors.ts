import type { RecordName } from "./records.js";

/** What an error says besides its message. */
export interface ErrorDetails {
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
  readonly correlationId?: string | undefined;
  readonly nothingSent?: boolean | undefined;
  readonly cause?: unknown;
}

/** The root of all errors that a call ends with. `kind` tells which of them it is; so does `instanceof`. */
export abstract class KeepstateError extends Error {
  /** Which error it is: the class's name without "Error". */
  abstract readonly kind: AnyKeepstateError["kind"];

  /** The name of the call's gRPC code, e.g. "ABORTED". Undefined: the error arose here, not at the service. */
  readonly code: string | undefined;

  /** Why, as the service says it: a name of `keepstate.v1.ErrorReason`, e.g. "ETAG_MISMATCH". Empty: it said nothing. */
  readonly reason: string;

  /** Finds the call in the service's log. Empty: not known. */
  readonly correlationId: string;

  /** On a failed write: nothing was sent to the store for it. False: that is not known. */
  readonly nothingSent: boolean;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = details.code;
    this.reason = details.reason ?? "";
    this.correlationId = details.correlationId ?? "";
    this.nothingSent = details.nothingSent ?? false;
  }
}

/** There is no such record, and the call needed one (`ifExists`, a touch). */
export class NotFoundError extends KeepstateError {
  readonly kind = "NotFound";
  /** The record. Undefined: the service did not name it. */
  readonly record: RecordName | undefined;

  constructor(message: string, details: ErrorDetails & { readonly record?: RecordName | undefined } = {}) {
    super(message, details);
    this.record = details.record;
  }
}

/** What is known of a record whose condition did not hold. */
export interface ConditionDetails extends ErrorDetails {
  readonly record?: RecordName | undefined;
  readonly etag?: string | undefined;
}

/** The write demanded absence, and there is a record. */
export class AlreadyExistsError extends KeepstateError {
  readonly kind = "AlreadyExists";
  /** The record. Undefined: the service did not name it. */
  readonly record: RecordName | undefined;
  /** The record's etag. Undefined: not known. */
  readonly etag: string | undefined;

  constructor(message: string, details: ConditionDetails = {}) {
    super(message, details);
    this.record = details.record;
    this.etag = details.etag;
  }
}

/** Somebody else wrote or deleted the record, or a record of the transaction. Nothing was changed. */
export class ConflictError extends KeepstateError {
  readonly kind: "Conflict" | "TransactionConflict" = "Conflict";
  /** The record. Undefined: the service did not name it. */
  readonly record: RecordName | undefined;
  /** The record's etag now. Undefined: there is no record. */
  readonly etag: string | undefined;

  constructor(message: string, details: ConditionDetails = {}) {
    super(message, details);
    this.record = details.record;
    this.etag = details.etag;
  }
}

/** The transaction met writes of others again and again. Begin it anew. No single record is to blame. */
export class TransactionConflictError extends ConflictError {
  override readonly kind = "TransactionConflict";
}

/** One field of a request that is wrong. */
export interface FieldViolation {
  /** Its path in the request, e.g. "name.key" or "operations[3].put.value". */
  readonly field: string;
  /** What is wrong with it. */
  readonly description: string;
}

/** The request is wrong. Nothing was changed, and repeating it will not help. */
export class InvalidArgumentError extends KeepstateError {
  readonly kind: "InvalidArgument" | "StoreNotFound" = "InvalidArgument";
  /** Every field that is wrong. */
  readonly violations: readonly FieldViolation[];

  constructor(message: string, details: ErrorDetails & { readonly violations?: readonly FieldViolation[] } = {}) {
    const violations = details.violations ?? [];
    const unsaid = violations.filter((each) => !message.includes(each.description));
    const words = unsaid.map((each) => `${each.field} ${each.description}`).join("; ");
    super(words ? `${message}: ${words}` : message, details);
    this.violations = violations;
  }
}

/** The service knows no store of this name. Not a `NotFoundError`: a mistyped store must not look like a missing record. */
export class StoreNotFoundError extends InvalidArgumentError {
  override readonly kind = "StoreNotFound";
}

/** The call does not fit the state of things. Nothing was changed. */
export class FailedPreconditionError extends KeepstateError {
  readonly kind: "FailedPrecondition" | "UnsupportedByStore" | "UpdateNotApplicable" = "FailedPrecondition";
}

/** The store cannot keep a promise that the call needs. Nothing was changed. */
export class UnsupportedByStoreError extends FailedPreconditionError {
  override readonly kind = "UnsupportedByStore";
  /** What the store lacks. */
  readonly capability: string;

  constructor(message: string, details: ErrorDetails & { readonly capability?: string } = {}) {
    super(message, details);
    this.capability = details.capability ?? "";
  }
}

/** An update does not fit the value that it met: no number, no list, no JSON, or out of bounds. Nothing was changed. */
export class UpdateNotApplicableError extends FailedPreconditionError {
  override readonly kind = "UpdateNotApplicable";
  /** The record. Undefined: the service did not name it. */
  readonly record: RecordName | undefined;

  constructor(message: string, details: ErrorDetails & { readonly record?: RecordName | undefined } = {}) {
    super(message, details);
    this.record = details.record;
  }
}

/** The service, its sidecar or the store does not answer. A write was not applied. */
export class UnavailableError extends KeepstateError {
  readonly kind = "Unavailable";
  /** How long the service asks to wait. Undefined: it did not say. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, details: ErrorDetails & { readonly retryAfterMs?: number | undefined } = {}) {
    super(message, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** The write may have been applied, or may yet be: the answer was lost, or the store's answer could not tell. */
export class OutcomeUnknownError extends KeepstateError {
  readonly kind = "OutcomeUnknown";
  /** What would tell has been forgotten: sending the same request again will not resolve it. */
  readonly forGood: boolean;

  constructor(message: string, details: ErrorDetails & { readonly forGood?: boolean } = {}) {
    super(message, details);
    this.forGood = details.forGood ?? false;
  }
}

/** Time was up. A write was not applied; where that cannot be told, it is an `OutcomeUnknownError`. */
export class DeadlineExceededError extends KeepstateError {
  readonly kind = "DeadlineExceeded";
}

/** A limit is reached: of the service's load, or of the size of a message. */
export class ResourceExhaustedError extends KeepstateError {
  readonly kind = "ResourceExhausted";
  /** How long the service asks to wait. Undefined: it did not say. */
  readonly retryAfterMs: number | undefined;
  /** Which limit, where the service says so, e.g. "calls under way". Empty: it did not say. */
  readonly limit: string;

  constructor(
    message: string,
    details: ErrorDetails & { readonly retryAfterMs?: number | undefined; readonly limit?: string } = {},
  ) {
    super(message, details);
    this.retryAfterMs = details.retryAfterMs;
    this.limit = details.limit ?? "";
  }
}

/** This version of the service does not offer the call. */
export class UnimplementedError extends KeepstateError {
  readonly kind = "Unimplemented";
}

/** The caller did not show who it is, or its token could not be had; `cause` is then what the token's function threw. */
export class UnauthenticatedError extends KeepstateError {
  readonly kind = "Unauthenticated";
}

/** The caller has no grant for this. */
export class PermissionDeniedError extends KeepstateError {
  readonly kind = "PermissionDenied";
}

/** A fault of the service, or of something between. `correlationId` finds it in the service's log. */
export class InternalError extends KeepstateError {
  readonly kind = "Internal";
}

/** The call was cut short by its signal or by `close`; a write was not sent. `cause` is the signal's reason. */
export class CancelledError extends KeepstateError {
  readonly kind = "Cancelled";
}

/** The codec cannot encode the value. Nothing was sent. */
export class EncodeError extends KeepstateError {
  readonly kind = "Encode";
}

/** The record is there, but the codec cannot decode it, or it holds another content type. */
export class DecodeError extends KeepstateError {
  readonly kind = "Decode";
}

/** Any error of a call: a union that `switch (error.kind)` takes apart. */
export type AnyKeepstateError =
  | NotFoundError
  | AlreadyExistsError
  | ConflictError
  | TransactionConflictError
  | InvalidArgumentError
  | StoreNotFoundError
  | FailedPreconditionError
  | UnsupportedByStoreError
  | UpdateNotApplicableError
  | UnavailableError
  | OutcomeUnknownError
  | DeadlineExceededError
  | ResourceExhaustedError
  | UnimplementedError
  | UnauthenticatedError
  | PermissionDeniedError
  | InternalError
  | CancelledError
  | EncodeError
  | DecodeError;

/** Whether it is an error of a call, as the union by whose `kind` it is told from others. */
export function isKeepstateError(error: unknown): error is AnyKeepstateError {
  return error instanceof KeepstateError;
}

/** Arguments that make no call: two conditions at once, a number that 64 bits do not hold. Nothing was sent. */
export class UsageError extends TypeError {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}
