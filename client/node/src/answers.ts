import { decodeJson, Unfit, type Codec } from "./codecs.js";
import { DecodeError, InternalError, isKeepstateError, NotFoundError, type AnyKeepstateError } from "./errors.js";
import type { Timestamp } from "./gen/google/protobuf/timestamp.js";
import type { Record as RecordMessage } from "./gen/keepstate/v1/record.js";
import { type BatchResult, type TouchResponse, type UpdateResponse } from "./gen/keepstate/v1/state_service.js";
import { Keeping as KeepingNumber, type Store } from "./gen/keepstate/v1/store_service.js";
import { wordsOf } from "./messages.js";
import type { Operation, Update } from "./operations.js";
import type { Keeping, StoredRecord, StoreInfo, Touched, Updated } from "./records.js";

/** Whether a read failed so because there is no record, which is an answer. */
export function isMissing(error: unknown): boolean {
  return error instanceof NotFoundError && error.reason === "RECORD_NOT_FOUND";
}

/** The half of a codec that reads. */
type Decoder<V> = Pick<Codec<V>, "decode">;

/**
 * A record with its value decoded.
 *
 * @throws DecodeError the codec cannot decode it.
 */
export function recordOf<V>(message: RecordMessage, codec: Decoder<V>): StoredRecord<V> {
  const { contentType, name } = message;
  const data = new Uint8Array(message.value); // not a view of the whole message, which it would keep
  return {
    name: { store: name?.store ?? "", namespace: name?.namespace ?? "", key: name?.key ?? "" },
    value: decode(codec, name?.key ?? "", data, contentType),
    data,
    contentType,
    etag: message.etag,
    createTime: dateOf(message.createTime),
    updateTime: dateOf(message.updateTime),
    expireTime: dateOf(message.expireTime),
  };
}

function decode<V>(codec: Decoder<V>, key: string, data: Uint8Array, contentType: string): V {
  try {
    return codec.decode({ data, contentType });
  } catch (error) {
    throw new DecodeError(`cannot decode the record ${JSON.stringify(key)}: ${wordsOf(error)}`, { cause: error });
  }
}

/** What a touch left. */
export function touchedOf(message: TouchResponse): Touched {
  return { etag: message.etag, expireTime: dateOf(message.expireTime) };
}

/** What an update left, read as what such an update leaves. */
export function updatedOf(op: Update["op"] | undefined, message: UpdateResponse): Updated<unknown> {
  const codec = op === "increment" ? decimal : anyJson;
  return {
    record: message.record === undefined ? undefined : recordOf(message.record, codec),
    repeated: message.repeated,
  };
}

const anyJson: Decoder<unknown> = { decode: ({ data }) => decodeJson(data) };

/** A number of 64 bits as decimal text. Where an increment was repeated, others may have put something else there. */
const decimal: Decoder<bigint> = {
  decode: ({ data }) => {
    const written = new TextDecoder().decode(data);
    if (!/^-?\d{1,19}$/.test(written)) throw new Unfit("it is no whole number");
    return BigInt(written);
  },
};

/** What became of an operation of a batch: its answer, or why it failed. */
export type Outcome<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: AnyKeepstateError };

/** What became of an operation of a batch. */
export function outcomeOf<V>(
  op: Operation<V>["op"],
  result: BatchResult | AnyKeepstateError,
  codec: Codec<V>,
): Outcome<unknown> {
  try {
    if (isKeepstateError(result)) throw result;
    return { ok: true, value: answerOf(op, result.result, codec) };
  } catch (error) {
    if (op === "get" && isMissing(error)) return { ok: true, value: undefined };
    if (isKeepstateError(error)) return { ok: false, error };
    throw error;
  }
}

function answerOf<V>(op: Operation<V>["op"], result: BatchResult["result"], codec: Codec<V>): unknown {
  if (result?.$case === "get" && op === "get") return foundOf(result.value.record, codec);
  if (result?.$case === "put" && op === "put") return result.value.etag;
  if (result?.$case === "delete" && op === "delete") return result.value.existed;
  if (result?.$case === "touch" && op === "touch") return touchedOf(result.value);
  if (result?.$case === "update" && (op === "increment" || op === "append" || op === "mergePatch")) {
    return updatedOf(op, result.value);
  }
  throw new InternalError("the service answered an operation with a result of another kind");
}

/** The record of an answer to a read, which has one. */
export function foundOf<V>(message: RecordMessage | undefined, codec: Codec<V>): StoredRecord<V> {
  if (message === undefined) throw new InternalError("the service answered a read without a record");
  return recordOf(message, codec);
}

const KEEPINGS: Readonly<Record<number, Keeping>> = {
  [KeepingNumber.NATIVE]: "native",
  [KeepingNumber.STAGED]: "staged",
  [KeepingNumber.REFUSED]: "refused",
};

/** One store. */
export function storeInfoOf(store: Store | undefined): StoreInfo {
  if (store === undefined) throw new InternalError("the service answered without a store");
  const { name, componentType, componentVersion, isDefault, durability } = store;
  const promises = store.promises.map(({ number, title, keeping, reason }) => ({
    number,
    title,
    keeping: KEEPINGS[keeping] ?? "unknown",
    keepingNumber: keeping,
    reason,
  }));
  return { name, componentType, componentVersion, isDefault, promises, durability };
}

function dateOf(time: Timestamp | undefined): Date | undefined {
  return time === undefined ? undefined : new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6));
}
