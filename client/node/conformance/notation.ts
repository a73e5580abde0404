import {
  isKeepstateError,
  UsageError,
  type Check,
  type Codec,
  type Encoded,
  type Operation,
  type StoredRecord,
  type StoreInfo,
  type Update,
  type Updated,
} from "../src/index.js";
import type { Fields } from "./commands.js";

/** What the function of a transaction throws itself. */
export class Raised extends Error {}

/** Values with whatever content type a command names. */
export const raw: Codec<Encoded> = { encode: (value) => value, decode: (encoded) => encoded };

/** The value of a put. */
export function encodedOf({ value = "", content_type = "application/octet-stream" }: Fields): Encoded {
  return { data: bytesOf(value), contentType: content_type };
}

function bytesOf(base64: string): Uint8Array {
  return new Uint8Array(Buffer.from(base64, "base64"));
}

/** All that an operation may be given besides its name and its value, under the client's names. */
export function optionsOf(fields: Fields): Record<string, unknown> {
  return {
    ifAbsent: fields.if_absent,
    ifExists: fields.if_exists,
    ifEtag: fields.if_etag,
    ttlMs: fields.ttl_ms,
    expireAt: fields.expire_time === undefined ? undefined : new Date(fields.expire_time),
    keepExpiry: fields.keep_expiry,
    slideTtlMs: fields.slide_ttl_ms,
    consistency: fields.consistency,
    initial: bigintOf(fields.initial),
    minimum: bigintOf(fields.minimum),
    maximum: bigintOf(fields.maximum),
    maxLength: fields.max_length,
  };
}

function bigintOf(text: string | undefined): bigint | undefined {
  return text === undefined ? undefined : BigInt(text);
}

/** What a name has, where it is given. */
export function namedOf({ key, namespace, store }: Fields): { key: string; namespace?: string; store?: string } {
  return {
    key,
    ...(namespace === undefined ? {} : { namespace }),
    ...(store === undefined ? {} : { store }),
  };
}

/** The operation that a command tells. What the types do not allow, the client refuses when it runs. */
export function operationOf(fields: Fields): Operation<Encoded> {
  return { ...namedOf(fields), ...optionsOf(fields), ...ownOf(fields) } as unknown as Operation<Encoded>;
}

function ownOf(fields: Fields): Record<string, unknown> {
  const neverSaid = fields.ttl_ms === undefined && fields.expire_time === undefined;
  switch (fields.do) {
    case "put":
      return { op: "put", value: encodedOf(fields) };
    case "touch":
      return { op: "touch", ...(neverSaid ? { never: true } : {}) };
    case "increment":
      return { op: "increment", delta: bigintOf(fields.delta) };
    case "append":
      return { op: "append", items: (fields.items ?? []).map(bytesOf) };
    case "merge_patch":
      return { op: "mergePatch", patch: bytesOf(fields.patch ?? "") };
    default:
      return { op: fields.do };
  }
}

/** The update that a command tells. */
export function updateOf(fields: Fields): Update {
  return operationOf(fields) as Update;
}

/** The check that a command tells. */
export function checkOf(fields: Fields): Check {
  return { ...namedOf(fields), ...optionsOf(fields) };
}

/** A record as the suite reads it. */
export function answerOfRecord(record: StoredRecord<unknown> | undefined): unknown {
  if (record === undefined) return null;
  return {
    ...record.name,
    value: Buffer.from(record.data).toString("base64"),
    content_type: record.contentType,
    etag: record.etag,
    create_time: textOf(record.createTime),
    update_time: textOf(record.updateTime),
    expire_time: textOf(record.expireTime),
  };
}

/** A time as the suite reads it. */
export function textOf(time: Date | undefined): string | null {
  return time?.toISOString() ?? null;
}

/** What an operation answered, as the suite reads it. */
export function answerOf(what: string, value: unknown): Record<string, unknown> {
  switch (what) {
    case "get":
      return { record: answerOfRecord(value as StoredRecord<unknown> | undefined) };
    case "put":
      return { etag: value };
    case "delete":
      return { existed: value };
    case "touch": {
      const { etag, expireTime } = value as { etag: string; expireTime: Date | undefined };
      return { etag, expire_time: textOf(expireTime) };
    }
    default: {
      const { record, repeated } = value as Updated<unknown>;
      return { record: answerOfRecord(record), repeated };
    }
  }
}

/** A store as the suite reads it. */
export function answerOfStore(store: StoreInfo): Record<string, unknown> {
  return {
    name: store.name,
    component_type: store.componentType,
    is_default: store.isDefault,
    durability: store.durability,
    promises: store.promises.map(({ number, title, keeping, keepingNumber, reason }) => ({
      number,
      title,
      keeping: keeping === "unknown" ? keepingNumber : keeping,
      reason,
    })),
  };
}

/** An error as the suite reads it. */
export function answerOfError(error: unknown): Record<string, unknown> {
  if (error instanceof UsageError) return { type: "Usage", message: error.message };
  if (error instanceof Raised) return { type: "Raised", message: error.message };
  if (!isKeepstateError(error)) return { type: "Bug", message: error instanceof Error ? error.stack : String(error) };
  if (error.kind === "Encode") return { type: "Usage", message: error.message };
  return {
    type: error.kind,
    code: error.code ?? null,
    reason: error.reason,
    message: error.message,
    correlation_id: error.correlationId,
    nothing_sent: error.nothingSent,
    ...("record" in error ? { record: error.record ?? null } : {}),
    ...("etag" in error ? { etag: error.etag ?? null } : {}),
    ...("violations" in error ? { violations: error.violations } : {}),
    ...("retryAfterMs" in error ? { retry_after_ms: error.retryAfterMs ?? null } : {}),
    ...("limit" in error ? { limit: error.limit } : {}),
    ...("capability" in error ? { capability: error.capability } : {}),
    ...("forGood" in error ? { for_good: error.forGood } : {}),
  };
}
