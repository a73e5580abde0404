/** Names one record. */
export interface RecordName {
  /** The Dapr state component that keeps the record. Empty: the service's default store. */
  readonly store: string;
  /** Empty: the default namespace. */
  readonly namespace: string;
  readonly key: string;
}

/** How a read or a write deals with copies of the store's data: the store's primary, or any copy that it chooses. */
export type Consistency = "strong" | "eventual";

/**
 * One record as it was kept at one moment.
 *
 * Times are by the service's clock. The service keeps them to the millisecond or finer; a Date has milliseconds, and
 * what is finer is cut off.
 */
export interface StoredRecord<V> {
  /** With the store filled in. */
  readonly name: RecordName;
  /** The value, decoded. */
  readonly value: V;
  /** The value's bytes, as they are kept. */
  readonly data: Uint8Array;
  /** What the writer said the value is. Empty for a value that another program wrote. */
  readonly contentType: string;
  /** Opaque. Good for exactly one version in one life of the record. */
  readonly etag: string;
  /** When this life of the record began. Undefined for a value that another program wrote. */
  readonly createTime: Date | undefined;
  /** When the value was last written. Undefined for a value that another program wrote. */
  readonly updateTime: Date | undefined;
  /** When the record ceases to exist. Undefined: never. */
  readonly expireTime: Date | undefined;
}

/** What a touch left. */
export interface Touched {
  /** The record's etag, which the touch did not change. */
  readonly etag: string;
  /** When the record expires now. Undefined: never. */
  readonly expireTime: Date | undefined;
}

/** What an update left. */
export interface Updated<V> {
  /** The record as the update left it; where `repeated`, as it is now. Undefined: there is none any more. */
  readonly record: StoredRecord<V> | undefined;
  /** An earlier attempt, whose answer was lost, had applied the update. It was not applied again. */
  readonly repeated: boolean;
}

/** What a transaction did. */
export interface Committed {
  /** The new etag of each record put, in the order of the puts. */
  readonly puts: readonly string[];
  /** Whether each record deleted was there, in the order of the deletes. */
  readonly deletes: readonly boolean[];
  /** What each update left, in the order of the updates; of an increment the value is a bigint. */
  readonly updates: readonly Updated<unknown>[];
}

/** How a promise of the contract is kept on a store: by the store, by the service in steps, or not at all. */
export type Keeping = "native" | "staged" | "refused" | "unknown";

/** One promise of the contract on one store. */
export interface PromiseStatus {
  /** Its number in the contract. */
  readonly number: number;
  /** Its short name, e.g. "transaction". */
  readonly title: string;
  /** "unknown": in a way that this version of the client does not know. */
  readonly keeping: Keeping;
  /** The number of `keeping` in the API. */
  readonly keepingNumber: number;
  /** Why, where it is refused or kept only in part. Else empty. */
  readonly reason: string;
}

/** One store: a Dapr state component. */
export interface StoreInfo {
  readonly name: string;
  /** E.g. "state.redis". */
  readonly componentType: string;
  /** E.g. "v1". */
  readonly componentVersion: string;
  /** Whether records that name no store are kept here. */
  readonly isDefault: boolean;
  /** By number. */
  readonly promises: readonly PromiseStatus[];
  /** What the store may lose of acknowledged writes when it fails over. */
  readonly durability: string;
}
