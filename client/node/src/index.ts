/** The client of Keepstate: see `Client`. */
export type { RetryOptions } from "./attempts.js";
export type { Outcome } from "./answers.js";
export type { Token } from "./channel.js";
export { Client, type ClientOptions } from "./client.js";
export { bytes, json, text, type Codec, type Encoded } from "./codecs.js";
export {
  AlreadyExistsError,
  CancelledError,
  ConflictError,
  DeadlineExceededError,
  DecodeError,
  EncodeError,
  FailedPreconditionError,
  InternalError,
  InvalidArgumentError,
  isKeepstateError,
  KeepstateError,
  NotFoundError,
  OutcomeUnknownError,
  PermissionDeniedError,
  ResourceExhaustedError,
  StoreNotFoundError,
  TransactionConflictError,
  UnauthenticatedError,
  UnavailableError,
  UnimplementedError,
  UnsupportedByStoreError,
  UpdateNotApplicableError,
  UsageError,
  type AnyKeepstateError,
  type FieldViolation,
} from "./errors.js";
export type {
  AnswerTo,
  Append,
  Bounded,
  Bounds,
  CallOptions,
  Check,
  Condition,
  Consistent,
  Delete,
  DeleteFields,
  DeleteOptions,
  Expiry,
  Get,
  Increment,
  MergePatch,
  Named,
  NewExpiry,
  Operation,
  PresentCondition,
  Put,
  PutFields,
  PutOptions,
  ReadOptions,
  Touch,
  TouchOptions,
  Update,
  UpdateOptions,
} from "./operations.js";
export type {
  Committed,
  Consistency,
  Keeping,
  PromiseStatus,
  RecordName,
  StoredRecord,
  StoreInfo,
  Touched,
  Updated,
} from "./records.js";
export type { State, TransactFields, TransactionOptions } from "./state.js";
export type { TlsOptions } from "./tls.js";
export type { Change, Transaction } from "./transaction.js";
