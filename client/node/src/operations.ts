import type { Consistency, StoredRecord, Touched, Updated } from "./records.js";

/** What every call may be given. */
export interface CallOptions {
  /** How long the call may take, with its repeats. By default as long as the client says. */
  readonly timeoutMs?: number | undefined;
  /** Ends the call at once. What was under way is a CancelledError, of a write that was sent an OutcomeUnknownError. */
  readonly signal?: AbortSignal | undefined;
}

/** What a write demands of the record: that there is none, that there is one, or that it has this etag. One of them. */
export type Condition =
  | { readonly ifAbsent?: boolean | undefined; readonly ifExists?: undefined; readonly ifEtag?: undefined }
  | { readonly ifAbsent?: undefined; readonly ifExists?: boolean | undefined; readonly ifEtag?: undefined }
  | { readonly ifAbsent?: undefined; readonly ifExists?: undefined; readonly ifEtag?: string | undefined };

/** What a delete or a touch demands of the record. One of them. */
export type PresentCondition =
  | { readonly ifExists?: boolean | undefined; readonly ifEtag?: undefined }
  | { readonly ifExists?: undefined; readonly ifEtag?: string | undefined };

/**
 * When the record is to expire, by the service's clock: this long from now, at this time, or as it does already.
 * None of them: never, also where it had an expiry before.
 */
export type Expiry =
  | { readonly ttlMs?: number | undefined; readonly expireAt?: undefined; readonly keepExpiry?: undefined }
  | { readonly ttlMs?: undefined; readonly expireAt?: Date | undefined; readonly keepExpiry?: undefined }
  | { readonly ttlMs?: undefined; readonly expireAt?: undefined; readonly keepExpiry?: boolean | undefined };

/** Where a touch moves the expiry to: this long from now, this time, or never. Exactly one of them. */
export type NewExpiry =
  | { readonly ttlMs: number; readonly expireAt?: undefined; readonly never?: undefined }
  | { readonly ttlMs?: undefined; readonly expireAt: Date; readonly never?: undefined }
  | { readonly ttlMs?: undefined; readonly expireAt?: undefined; readonly never: true };

/** The consistency of a read or a write, "strong" by default. */
export interface Consistent {
  readonly consistency?: Consistency | undefined;
}

/** Options of a read. */
export interface ReadOptions extends CallOptions, Consistent {
  /** Also moves the record's expiry to this long from now. */
  readonly slideTtlMs?: number | undefined;
}

/** Options of a put. */
export type PutOptions = CallOptions & Consistent & Condition & Expiry;

/** Options of a delete. */
export type DeleteOptions = CallOptions & Consistent & PresentCondition;

/** Options of a touch. */
export type TouchOptions = CallOptions & Consistent & PresentCondition & NewExpiry;

/** What bounds an increment. A number must be a safe integer; a bigint may have 64 bits. */
export interface Bounds {
  /** What an absent record counts as. By default 0. */
  readonly initial?: bigint | number | undefined;
  /** The least that the result may be. By default the least 64-bit number. */
  readonly minimum?: bigint | number | undefined;
  /** The most that the result may be. By default the greatest 64-bit number. */
  readonly maximum?: bigint | number | undefined;
}

/** What bounds a list. */
export interface Bounded {
  /** How many items the list keeps, the newest. By default all. */
  readonly maxLength?: number | undefined;
}

/** Options of an update: conditions and expiry as of a put. */
export type UpdateOptions = CallOptions & Consistent & Condition & Expiry;

/** The name of an operation's record; the namespace and the store are the view's unless they are given. */
export interface Named {
  readonly key: string;
  readonly namespace?: string | undefined;
  readonly store?: string | undefined;
}

/** What a put of a batch or a transaction has. */
export type PutFields<V> = Named & Consistent & Condition & Expiry & { readonly value: V };

/** What a delete of a batch or a transaction has. */
export type DeleteFields = Named & Consistent & PresentCondition;

/** What a transaction demands of a record that it does not write. */
export type Check = Named & Condition;

/** Reads one record. */
export type Get = Named & Consistent & { readonly op: "get"; readonly slideTtlMs?: number | undefined };

/** Writes one record: value, content type and expiry together. */
export type Put<V> = PutFields<V> & { readonly op: "put" };

/** Deletes one record. */
export type Delete = DeleteFields & { readonly op: "delete" };

/** Moves one record's expiry. */
export type Touch = Named & Consistent & PresentCondition & NewExpiry & { readonly op: "touch" };

/** Adds to a number, 1 by default. */
export type Increment = Named &
  Consistent &
  Condition &
  Expiry &
  Bounds & { readonly op: "increment"; readonly delta?: bigint | number | undefined };

/** Adds to the end of a list. An item is a value that JSON can say, or JSON text as a Uint8Array. */
export type Append = Named &
  Consistent &
  Condition &
  Expiry &
  Bounded & { readonly op: "append"; readonly items: readonly unknown[] };

/** Merges into a JSON value, as RFC 7396 says. The patch is a value that JSON can say, or JSON text as a Uint8Array. */
export type MergePatch = Named &
  Consistent &
  Condition &
  Expiry & { readonly op: "mergePatch"; readonly patch: unknown };

/** A change that the service makes. Values are JSON, whatever the view's codec. */
export type Update = Increment | Append | MergePatch;

/** One operation of a batch. */
export type Operation<V> = Get | Put<V> | Delete | Touch | Update;

/** What an operation answers if it succeeds. */
export type AnswerTo<V, O extends { readonly op: string }> = O extends { readonly op: "get" }
  ? StoredRecord<V> | undefined
  : O extends { readonly op: "put" }
    ? string
    : O extends { readonly op: "delete" }
      ? boolean
      : O extends { readonly op: "touch" }
        ? Touched
        : O extends { readonly op: "increment" }
          ? Updated<bigint>
          : Updated<unknown>;
