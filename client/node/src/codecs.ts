/** A value's bytes and what they are. */
export interface Encoded {
  readonly data: Uint8Array;
  /** E.g. "application/json". Empty for a value that another program wrote. */
  readonly contentType: string;
}

/** Turns values into bytes with a content type, and back. What it throws becomes an EncodeError or a DecodeError. */
export interface Codec<V> {
  encode(value: V): Encoded;
  decode(encoded: Encoded): V;
}

/** Why a codec of this module refuses a value, in words without the value. */
export class Unfit extends Error {}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Values as JSON, `application/json`, of a type that is believed and not checked: to check it, wrap this codec.
 *
 * What `JSON.stringify` refuses or leaves out (undefined, a function, a bigint) is not encoded. Numbers beyond 2^53 lose
 * digits when they are decoded; `data` of a record has them all.
 */
export function json<V = unknown>(): Codec<V> {
  return {
    encode: (value) => ({ data: encodeJson(value), contentType: "application/json" }),
    decode: (encoded) => {
      mustBe(encoded, isJson, "application/json");
      return decodeJson(encoded.data) as V;
    },
  };
}

/** Values as text in UTF-8, `text/plain`. */
export const text: Codec<string> = {
  encode: (value) => ({ data: encodeText(value), contentType: "text/plain" }),
  decode: (encoded) => {
    mustBe(encoded, (type) => type.startsWith("text/"), "text");
    return decodeText(encoded.data);
  },
};

/** Values as they are, `application/octet-stream`. Reads every content type. */
export const bytes: Codec<Uint8Array> = {
  encode: (value) => {
    if (!(value instanceof Uint8Array)) throw new Unfit("the value is no Uint8Array");
    return { data: value, contentType: "application/octet-stream" };
  },
  decode: (encoded) => encoded.data,
};

/** Its declared type does not say that it may be undefined. */
const stringify: (value: unknown) => string | undefined = JSON.stringify;

/** A value as JSON text. */
export function encodeJson(value: unknown): Uint8Array {
  let written: string | undefined;
  try {
    written = stringify(value);
  } catch (error) {
    throw new Unfit(error instanceof TypeError ? "JSON cannot say it: a bigint, or a circle" : "its toJSON failed", {
      cause: error,
    });
  }
  if (written === undefined) throw new Unfit(`JSON cannot say ${typeof value}`);
  return new TextEncoder().encode(written);
}

/** What JSON text says. */
export function decodeJson(data: Uint8Array): unknown {
  const written = decodeText(data);
  try {
    return JSON.parse(written);
  } catch {
    throw new Unfit("it is no JSON"); // the parser's own words would show a part of it
  }
}

function decodeText(data: Uint8Array): string {
  try {
    return utf8.decode(data);
  } catch {
    throw new Unfit("it is no UTF-8");
  }
}

function encodeText(value: string): Uint8Array {
  if (typeof value !== "string") throw new Unfit("the value is no string");
  // TextEncoder would replace it, and another text would come back.
  if (!value.isWellFormed()) throw new Unfit("the text has half of a surrogate pair");
  return new TextEncoder().encode(value);
}

function isJson(contentType: string): boolean {
  return contentType === "application/json" || contentType.endsWith("+json");
}

/** A value without a content type was written by another program, and may be anything. */
function mustBe(encoded: Encoded, reads: (contentType: string) => boolean, wanted: string): void {
  const [plain = ""] = encoded.contentType.split(";");
  const found = plain.trim().toLowerCase();
  if (found !== "" && !reads(found)) throw new Unfit(`it is ${found}, which is not read as ${wanted}`);
}
