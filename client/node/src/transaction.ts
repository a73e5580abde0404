import { recordOf } from "./answers.js";
import type { Codec } from "./codecs.js";
import { deleteMessage, getMessage, putMessage, updateMessage, type Scope } from "./messages.js";
import type { Bounded, Bounds, Condition, Consistent, Expiry, PresentCondition, Update } from "./operations.js";
import type { StoredRecord } from "./records.js";
import type { Try } from "./try.js";

/**
 * One try of a transaction, as a view of one namespace in one store. `state.transaction` makes it.
 *
 * Reads go to the service, each record once, and are remembered: the transaction is applied only if they all still hold
 * at one moment. One that others have overtaken may see records that do not fit each other; it is refused in the end,
 * and the function runs again.
 *
 * Writes wait for the end. A read of a record that was put or deleted shows what was written, as a record without etag
 * and times; what an update will leave cannot be read. A record that was put or deleted may be put or deleted once
 * more, then without a condition. Everything else that would write a record twice is a UsageError.
 */
export class Transaction<V> {
  readonly #try: Try;
  readonly #scope: Scope<V>;

  /** @internal */
  constructor(attempt: Try, scope: Scope<V>) {
    this.#try = attempt;
    this.#scope = scope;
  }

  /** The same transaction, store and codec with another namespace. Empty: the default namespace. */
  namespace(namespace: string): Transaction<V> {
    return new Transaction(this.#try, { ...this.#scope, namespace });
  }

  /** The same transaction, namespace and codec in another store. Empty: the service's default store. */
  store(store: string): Transaction<V> {
    return new Transaction(this.#try, { ...this.#scope, store });
  }

  /** The same transaction, namespace and store with another codec. */
  using<W>(codec: Codec<W>): Transaction<W> {
    return new Transaction(this.#try, { ...this.#scope, codec });
  }

  /** Reads the value under `key`, or undefined if there is none. Rejects with a DecodeError as `state.get` does. */
  async get(key: string): Promise<V | undefined> {
    return (await this.getRecord(key))?.value;
  }

  /** Reads the record under `key` with its etag and times, or undefined if there is none. */
  async getRecord(key: string): Promise<StoredRecord<V> | undefined> {
    const found = await this.#try.read(getMessage(this.#scope, { key }));
    return found === undefined ? undefined : recordOf(found, this.#scope.codec);
  }

  /** Has `value` stored under `key`. */
  put(key: string, value: V, options: Change = {}): void {
    this.#try.write({ kind: "put", message: putMessage(this.#scope, { ...options, key, value }, undefined) });
  }

  /** Has the record under `key` deleted, if there is one. */
  delete(key: string, options: Consistent & PresentCondition = {}): void {
    this.#try.write({ kind: "delete", message: deleteMessage(this.#scope, { ...options, key }, undefined) });
  }

  /** Has the service change a value. */
  update(update: Update): void {
    this.#try.write({ kind: "update", message: updateMessage(this.#scope, update, undefined) });
  }

  /** Has `delta` added to the number under `key`. */
  increment(key: string, delta: bigint | number = 1n, options: Change & Bounds = {}): void {
    this.update({ ...options, op: "increment", key, delta });
  }

  /** Has `items` added to the end of the list under `key`. */
  append(key: string, items: readonly unknown[], options: Change & Bounded = {}): void {
    this.update({ ...options, op: "append", key, items });
  }

  /** Has `patch` merged into the JSON value under `key`. */
  mergePatch(key: string, patch: unknown, options: Change = {}): void {
    this.update({ ...options, op: "mergePatch", key, patch });
  }
}

/** The conditions and the expiry of a write. */
export type Change = Consistent & Condition & Expiry;
