import { encodeJson, Unfit, type Codec, type Encoded } from "./codecs.js";
import { EncodeError, UsageError } from "./errors.js";
import type { Duration } from "./gen/google/protobuf/duration.js";
import type { Timestamp } from "./gen/google/protobuf/timestamp.js";
import { Consistency as ConsistencyNumber, type Precondition, type RequestId } from "./gen/keepstate/v1/record.js";
import type * as pb from "./gen/keepstate/v1/state_service.js";
import type { Check, Consistent, DeleteFields, Get, Named, Operation, PutFields, Touch, Update } from "./operations.js";
import type { RecordName } from "./records.js";

/** Where a view looks and how it encodes: what an operation does not say itself. */
export interface Scope<V> {
  readonly store: string;
  readonly namespace: string;
  readonly codec: Codec<V>;
}

type Request = RequestId | undefined;

/** The full name of an operation's record. */
export function nameIn(scope: Scope<unknown>, named: Named): RecordName {
  const { store = scope.store, namespace = scope.namespace, key } = named;
  const name = { store, namespace, key };
  for (const [field, text] of Object.entries(name)) {
    if (typeof text !== "string") throw new UsageError(`${field} must be a string, not ${typeof text}`);
    // It would be sent as another name.
    if (!text.isWellFormed()) throw new UsageError(`${field} has half of a surrogate pair`);
  }
  return name;
}

/** The message of a read. */
export function getMessage(scope: Scope<unknown>, get: Omit<Get, "op">): pb.GetRequest {
  return {
    name: nameIn(scope, get),
    consistency: consistencyOf(get),
    slideTtl: get.slideTtlMs === undefined ? undefined : durationOf("slideTtlMs", get.slideTtlMs),
  };
}

/** The message of a write. */
export function putMessage<V>(scope: Scope<V>, put: PutFields<V>, request: Request): pb.PutRequest {
  const name = nameIn(scope, put);
  const encoded = encode(scope.codec, name.key, put.value);
  return {
    name,
    value: encoded.data,
    contentType: encoded.contentType,
    precondition: preconditionOf(put),
    request,
    expiry: expiryOf(put),
    consistency: consistencyOf(put),
  };
}

/** The message of a delete. */
export function deleteMessage(scope: Scope<unknown>, fields: DeleteFields, request: Request): pb.DeleteRequest {
  return {
    name: nameIn(scope, fields),
    precondition: preconditionOf(fields),
    request,
    consistency: consistencyOf(fields),
  };
}

/** The message of a moved expiry. */
export function touchMessage(scope: Scope<unknown>, touch: Omit<Touch, "op">, request: Request): pb.TouchRequest {
  const given = atMostOne({ ttlMs: touch.ttlMs, expireAt: touch.expireAt, never: touch.never });
  if (given === undefined) throw new UsageError("give one of ttlMs, expireAt and never");
  const expiry = expiryOf({ ttlMs: touch.ttlMs, expireAt: touch.expireAt });
  return {
    name: nameIn(scope, touch),
    precondition: preconditionOf(touch),
    request,
    expiry: expiry?.$case === "keepExpiry" ? undefined : expiry,
    consistency: consistencyOf(touch),
  };
}

/** The message of a change at the service. */
export function updateMessage(scope: Scope<unknown>, update: Update, request: Request): pb.UpdateRequest {
  return {
    name: nameIn(scope, update),
    precondition: preconditionOf(update),
    request,
    update: changeOf(update),
    expiry: expiryOf(update),
    consistency: consistencyOf(update),
  };
}

/** The message of a transaction's demand. */
export function checkMessage(scope: Scope<unknown>, check: Check): pb.Check {
  const precondition = preconditionOf(check);
  if (precondition === undefined) throw new UsageError("a check needs ifAbsent, ifExists or ifEtag");
  return { name: nameIn(scope, check), precondition };
}

/** The message of an operation of a batch. */
export function operationMessage<V>(
  scope: Scope<V>,
  operation: Operation<V>,
  nextRequest: () => RequestId,
): pb.BatchOperation {
  switch (operation.op) {
    case "get":
      return { operation: { $case: "get", value: getMessage(scope, operation) } };
    case "put":
      return { operation: { $case: "put", value: putMessage(scope, operation, nextRequest()) } };
    case "delete":
      return { operation: { $case: "delete", value: deleteMessage(scope, operation, nextRequest()) } };
    case "touch":
      return { operation: { $case: "touch", value: touchMessage(scope, operation, nextRequest()) } };
    case "increment":
    case "append":
    case "mergePatch":
      return { operation: { $case: "update", value: updateMessage(scope, operation, nextRequest()) } };
    default:
      throw new UsageError(`op ${JSON.stringify((operation as { op?: unknown }).op)} is no operation of a batch`);
  }
}

function changeOf(update: Update): NonNullable<pb.UpdateRequest["update"]> {
  switch (update.op) {
    case "increment": {
      const value = {
        delta: update.delta === undefined ? 1n : int64("delta", update.delta),
        initial: update.initial === undefined ? undefined : int64("initial", update.initial),
        minimum: update.minimum === undefined ? undefined : int64("minimum", update.minimum),
        maximum: update.maximum === undefined ? undefined : int64("maximum", update.maximum),
      };
      return { $case: "increment", value };
    }
    case "append": {
      const { key, items, maxLength = 0 } = update;
      if (!Number.isInteger(maxLength) || Math.abs(maxLength) >= 2 ** 31) {
        throw new UsageError("maxLength must be a whole number of 32 bits");
      }
      return {
        $case: "append",
        value: { items: listOf("items", items).map((item) => jsonText(key, item)), maxLength },
      };
    }
    case "mergePatch":
      return { $case: "mergePatch", value: { patch: jsonText(update.key, update.patch) } };
    default:
      throw new UsageError(`op ${JSON.stringify((update as { op?: unknown }).op)} is no update`);
  }
}

function int64(field: string, given: bigint | number): bigint {
  if (typeof given !== "bigint" && !Number.isSafeInteger(given)) {
    throw new UsageError(`${field} must be a bigint or a safe integer`);
  }
  const number = BigInt(given);
  if (BigInt.asIntN(64, number) !== number) throw new UsageError(`${field} must be a number of 64 bits`);
  return number;
}

interface Conditions {
  readonly ifAbsent?: boolean | undefined;
  readonly ifExists?: boolean | undefined;
  readonly ifEtag?: string | undefined;
}

function preconditionOf({ ifAbsent, ifExists, ifEtag }: Conditions): Precondition | undefined {
  switch (atMostOne({ ifAbsent, ifExists, ifEtag })) {
    case "ifAbsent":
      return { condition: { $case: "absent", value: true } };
    case "ifExists":
      return { condition: { $case: "exists", value: true } };
    case "ifEtag":
      if (typeof ifEtag !== "string") throw new UsageError("ifEtag must be a string");
      return { condition: { $case: "etag", value: ifEtag } };
    default:
      return undefined;
  }
}

interface Expiries {
  readonly ttlMs?: number | undefined;
  readonly expireAt?: Date | undefined;
  readonly keepExpiry?: boolean | undefined;
}

function expiryOf({ ttlMs, expireAt, keepExpiry }: Expiries): pb.PutRequest["expiry"] {
  switch (atMostOne({ ttlMs, expireAt, keepExpiry })) {
    case "ttlMs":
      return { $case: "ttl", value: durationOf("ttlMs", ttlMs) };
    case "expireAt":
      return { $case: "expireTime", value: timestampOfDate("expireAt", expireAt) };
    case "keepExpiry":
      return { $case: "keepExpiry", value: true };
    default:
      return undefined;
  }
}

/** Those of the choices that are made by true. */
const MADE_BY_TRUE: readonly string[] = ["ifAbsent", "ifExists", "keepExpiry", "never"];

/** Which of these was given. Undefined and false are as good as nothing. */
function atMostOne(choices: Record<string, unknown>): string | undefined {
  const given = Object.keys(choices).filter((name) => choices[name] !== undefined && choices[name] !== false);
  for (const name of given) {
    if (MADE_BY_TRUE.includes(name) && choices[name] !== true) throw new UsageError(`${name} must be true or false`);
  }
  if (given.length > 1) throw new UsageError(`${given.join(" and ")} exclude each other`);
  return given[0];
}

function consistencyOf({ consistency }: Consistent): ConsistencyNumber {
  switch (consistency) {
    case undefined:
    case "strong":
      return ConsistencyNumber.STRONG;
    case "eventual":
      return ConsistencyNumber.EVENTUAL;
    default:
      throw new UsageError('consistency must be "strong" or "eventual"');
  }
}

function durationOf(field: string, ms: number | undefined): Duration {
  if (typeof ms !== "number" || !(Math.abs(ms) < 2 ** 53)) {
    throw new UsageError(`${field} must be a number of milliseconds, nearer to 0 than 2^53`);
  }
  const { seconds, nanos } = timestampOf(Math.abs(ms)); // a duration's two parts have one sign
  return ms < 0 ? { seconds: -seconds, nanos: -nanos } : { seconds, nanos };
}

function timestampOfDate(field: string, time: Date | undefined): Timestamp {
  if (!(time instanceof Date) || Number.isNaN(time.getTime())) throw new UsageError(`${field} must be a valid Date`);
  return timestampOf(time.getTime());
}

/** A time in milliseconds since 1970, to the microsecond: finer than that a number cannot say it. */
export function timestampOf(ms: number): Timestamp {
  const whole = Math.floor(ms / 1000);
  const micros = Math.round((ms - whole * 1000) * 1000);
  // What is rounded up to a second is one.
  return micros < 1e6 ? { seconds: BigInt(whole), nanos: micros * 1000 } : { seconds: BigInt(whole + 1), nanos: 0 };
}

function encode<V>(codec: Codec<V>, key: string, value: V): Encoded {
  const encoded = orEncodeError(key, (): Partial<Encoded> | null | undefined => codec.encode(value));
  if (!(encoded?.data instanceof Uint8Array) || typeof encoded.contentType !== "string") {
    throw new UsageError("codec.encode must return data as a Uint8Array and a contentType");
  }
  // A copy: the caller may go on with its buffer before the value is sent, and a repeat must be the same message (R2).
  return { data: new Uint8Array(encoded.data), contentType: encoded.contentType };
}

/** JSON text of an item or a patch; bytes are such a text already. */
function jsonText(key: string, value: unknown): Uint8Array {
  return value instanceof Uint8Array ? new Uint8Array(value) : orEncodeError(key, () => encodeJson(value));
}

/** A list of the caller's. @throws UsageError it is no array. */
export function listOf<T>(field: string, given: readonly T[]): readonly T[] {
  const list: unknown = given;
  if (!Array.isArray(list)) throw new UsageError(`${field} must be an array`);
  return given;
}

function orEncodeError<T>(key: string, encoding: () => T): T {
  try {
    return encoding();
  } catch (error) {
    throw new EncodeError(`cannot encode the value of ${JSON.stringify(key)}: ${wordsOf(error)}`, { cause: error });
  }
}

/** The words of our own codecs only: those of others may hold the value, which belongs in no log. */
export function wordsOf(error: unknown): string {
  if (error instanceof Unfit) return error.message;
  return error instanceof Error ? error.name : "the codec failed";
}
