import { foundOf, isMissing, outcomeOf, recordOf, storeInfoOf, touchedOf, updatedOf, type Outcome } from "./answers.js";
import { callBatch, mustBeAsMany } from "./batch.js";
import type { Codec } from "./codecs.js";
import type { Connection } from "./connection.js";
import { isKeepstateError, NotFoundError, UsageError } from "./errors.js";
import { StateServiceService } from "./gen/keepstate/v1/state_service.js";
import { StoreServiceService } from "./gen/keepstate/v1/store_service.js";
import * as messages from "./messages.js";
import type * as ops from "./operations.js";
import type { AnswerTo, CallOptions, Operation } from "./operations.js";
import type { Committed, RecordName, StoredRecord, StoreInfo, Touched, Updated } from "./records.js";
import { readSnapshot } from "./snapshot.js";
import { Transaction } from "./transaction.js";
import { Try } from "./try.js";

/** What `transact` is given: no record may be named twice. */
export interface TransactFields<V> {
  /** Demands on records that are not written. */
  readonly checks?: readonly ops.Check[] | undefined;
  readonly puts?: readonly ops.PutFields<V>[] | undefined;
  readonly deletes?: readonly ops.DeleteFields[] | undefined;
  readonly updates?: readonly ops.Update[] | undefined;
}

/** Options of `transaction`. Its time is for all tries together, with what the function takes; that is not cut short. */
export interface TransactionOptions extends CallOptions {
  /** How often the function may run. By default 10. */
  readonly tries?: number | undefined;
}

/**
 * The records of one namespace in one store, with values that one codec encodes as `V`.
 *
 * A client is such a view, of the default namespace and store; others come from `namespace`, `store` and `using`, cost
 * nothing and share the client's connection. Calls reject with one of `AnyKeepstateError`, or with a UsageError where
 * the arguments make no call. Besides what is named on each, any call may end as InvalidArgument (a field is wrong),
 * StoreNotFound, UnsupportedByStore (the store cannot keep a promise that the call needs), PermissionDenied,
 * Unauthenticated, Unavailable (the service or the store does not answer), ResourceExhausted, DeadlineExceeded and
 * Cancelled; writes also as OutcomeUnknown: nobody can tell whether the write was applied.
 *
 * While the service is unavailable, or where an answer was lost, calls are repeated until their time is up. A repeated
 * write is the same request, which the service applies once.
 */
export class State<V> {
  readonly #connection: Connection;
  readonly #scope: messages.Scope<V>;

  /** @internal */
  protected constructor(connection: Connection, scope: messages.Scope<V>) {
    this.#connection = connection;
    this.#scope = scope;
  }

  /** The same store and codec with another namespace. Empty: the default namespace. */
  namespace(namespace: string): State<V> {
    return new State(this.#connection, { ...this.#scope, namespace });
  }

  /** The same namespace and codec in another store. Empty: the service's default store. */
  store(store: string): State<V> {
    return new State(this.#connection, { ...this.#scope, store });
  }

  /** The same namespace and store with another codec. */
  using<W>(codec: Codec<W>): State<W> {
    return new State(this.#connection, { ...this.#scope, codec });
  }

  /** Reads the value under `key`, or undefined if there is none. Rejects with a DecodeError if the codec cannot read it. */
  async get(key: string, options: ops.ReadOptions = {}): Promise<V | undefined> {
    return (await this.getRecord(key, options))?.value;
  }

  /** Reads the record under `key` with its etag and times, or undefined if there is none. */
  async getRecord(key: string, options: ops.ReadOptions = {}): Promise<StoredRecord<V> | undefined> {
    const message = messages.getMessage(this.#scope, { ...options, key });
    try {
      const { record } = await this.#connection.call(StateServiceService.get, message, undefined, options);
      return foundOf(record, this.#scope.codec);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /**
   * Stores `value` under `key`, and resolves to the new etag.
   *
   * Rejects with AlreadyExists (`ifAbsent`, and there is a record), NotFound (`ifExists`, and there is none), Conflict
   * (`ifEtag`, and somebody else wrote or deleted the record; it has the current etag), or Encode.
   */
  async put(key: string, value: V, options: ops.PutOptions = {}): Promise<string> {
    const request = this.#connection.nextRequest();
    const message = messages.putMessage(this.#scope, { ...options, key, value }, request);
    return (await this.#connection.call(StateServiceService.put, message, request, options)).etag;
  }

  /** Deletes the record under `key`, and resolves to whether it was there. Rejects with NotFound, Conflict as a put. */
  async delete(key: string, options: ops.DeleteOptions = {}): Promise<boolean> {
    const request = this.#connection.nextRequest();
    const message = messages.deleteMessage(this.#scope, { ...options, key }, request);
    return (await this.#connection.call(StateServiceService.delete, message, request, options)).existed;
  }

  /** Moves the expiry of the record under `key`; value and etag stay. Rejects with NotFound if there is no record. */
  async touch(key: string, options: ops.TouchOptions): Promise<Touched> {
    const request = this.#connection.nextRequest();
    const message = messages.touchMessage(this.#scope, { ...options, key }, request);
    return touchedOf(await this.#connection.call(StateServiceService.touch, message, request, options));
  }

  /**
   * Has the service change a value, atomically, and resolves to the record that it left. Values are JSON, whatever the
   * view's codec. Rejects with UpdateNotApplicable if it does not fit the value, or goes out of bounds.
   *
   * Where the answer was lost, the update was applied once, and the record is as it is now; `repeated` says so.
   */
  async update<const U extends ops.Update>(update: U, options: CallOptions = {}): Promise<AnswerTo<V, U>> {
    const { op } = update;
    const request = this.#connection.nextRequest();
    const message = messages.updateMessage(this.#scope, update, request);
    const answer = await this.#connection.call(StateServiceService.update, message, request, options);
    return updatedOf(op, answer) as AnswerTo<V, U>;
  }

  /** Adds `delta` to the number under `key`, and resolves to the new number. `update` tells whether it was a repeat. */
  async increment(
    key: string,
    delta: bigint | number = 1n,
    options: ops.UpdateOptions & ops.Bounds = {},
  ): Promise<bigint> {
    return this.#valueAfter(key, await this.update({ ...options, op: "increment", key, delta }, options));
  }

  /** Adds `items` to the end of the list under `key`, an absent one being empty, and resolves to the new list. */
  async append(
    key: string,
    items: readonly unknown[],
    options: ops.UpdateOptions & ops.Bounded = {},
  ): Promise<unknown[]> {
    const left = await this.update({ ...options, op: "append", key, items }, options);
    return this.#valueAfter(key, left as Updated<unknown[]>);
  }

  /** Merges `patch` into the JSON value under `key` as RFC 7396 says, and resolves to the new value. null removes. */
  async mergePatch(key: string, patch: unknown, options: ops.UpdateOptions = {}): Promise<unknown> {
    return this.#valueAfter(key, await this.update({ ...options, op: "mergePatch", key, patch }, options));
  }

  /**
   * Performs up to 1,000 independent operations, and resolves to what became of each, in their order. Operations on one
   * record apply in order. Rejects only if no operation was answered at all.
   */
  async batch<const O extends readonly Operation<V>[]>(
    operations: O,
    options: CallOptions = {},
  ): Promise<{ [I in keyof O]: Outcome<AnswerTo<V, O[I]>> }> {
    const asked = messages
      .listOf("operations", operations)
      .map((each) => messages.operationMessage(this.#scope, each, () => this.#connection.nextRequest()));
    const kinds = operations.map(({ op }) => op); // now, as the caller may go on with its array
    const results = await callBatch(this.#connection, asked, options);
    const outcomes = kinds.map((op, index) => {
      const result = results[index];
      return result === undefined ? undefined : outcomeOf(op, result, this.#scope.codec);
    });
    return outcomes as { [I in keyof O]: Outcome<AnswerTo<V, O[I]>> };
  }

  /**
   * Performs all writes or none, if all of their conditions and all checks hold at one moment. At most 100 records, of
   * any stores.
   *
   * Rejects with Conflict, AlreadyExists, NotFound or UpdateNotApplicable, which have the record's name, or with
   * TransactionConflict: writes of others came between again and again.
   */
  async transact(fields: TransactFields<V>, options: CallOptions = {}): Promise<Committed> {
    const { checks = [], puts = [], deletes = [], updates = [] } = fields;
    const request = this.#connection.nextRequest();
    const { listOf } = messages;
    const message = {
      checks: listOf("checks", checks).map((each) => messages.checkMessage(this.#scope, each)),
      puts: listOf("puts", puts).map((each) => messages.putMessage(this.#scope, each, undefined)),
      deletes: listOf("deletes", deletes).map((each) => messages.deleteMessage(this.#scope, each, undefined)),
      updates: listOf("updates", updates).map((each) => messages.updateMessage(this.#scope, each, undefined)),
      request,
    };
    const kinds = updates.map(({ op }) => op);
    const done = await this.#connection.call(StateServiceService.transact, message, request, options);
    mustBeAsMany(done.puts, message.puts, true);
    mustBeAsMany(done.deletes, message.deletes, true);
    mustBeAsMany(done.updates, message.updates, true);
    return {
      puts: done.puts.map(({ etag }) => etag),
      deletes: done.deletes.map(({ existed }) => existed),
      updates: done.updates.map((update, index) => updatedOf(kinds[index], update)),
    };
  }

  /**
   * Runs `run` and applies what it writes, all or nothing, if all that it read still holds; resolves to what it
   * returned.
   *
   * Otherwise it runs again from the start, after a pause drawn at random: it must do nothing else that counts. What it
   * throws passes through, and nothing is applied. Strictly serialisable; at most 100 records, of any stores.
   *
   * Rejects with Conflict, AlreadyExists or NotFound, which have the record's name: others came between in the last try
   * too, or a condition of a write does not hold.
   */
  async transaction<R>(run: (tx: Transaction<V>) => R | Promise<R>, options: TransactionOptions = {}): Promise<R> {
    const { tries = 10, signal } = options;
    if (typeof run !== "function") throw new UsageError("transaction needs a function to run");
    if (!Number.isInteger(tries) || tries < 1) throw new UsageError("tries must be a whole number of at least 1");
    const time = await this.#connection.begin([], options);
    for (let made = 1; ; made++) {
      const attempt = new Try(this.#connection, time, signal);
      const result = await runToEnd(run, attempt, this.#scope);
      const message = attempt.message();
      try {
        await attempt.commit(message);
        return result;
      } catch (error) {
        if (!isKeepstateError(error) || made === tries || !attempt.isOvertaken(error)) throw error;
        if (!(await this.#connection.pause(this.#connection.pauses.after(made - 1), time, signal))) throw error;
      }
    }
  }

  /** Reads up to 100 records as of one moment, keys of this view or full names: in their order, undefined for none. */
  async snapshot(
    names: readonly (string | ops.Named)[],
    options: CallOptions = {},
  ): Promise<(StoredRecord<V> | undefined)[]> {
    const asked = messages
      .listOf("names", names)
      .map((name): RecordName => messages.nameIn(this.#scope, typeof name === "string" ? { key: name } : name));
    const found = await readSnapshot(this.#connection, asked, options);
    return found.map((record) => (record === undefined ? undefined : recordOf(record, this.#scope.codec)));
  }

  /** Lists the stores by name, with the promises that each one keeps. */
  async stores(options: CallOptions = {}): Promise<StoreInfo[]> {
    const { stores } = await this.#connection.call(StoreServiceService.listStores, {}, undefined, options);
    return stores.map(storeInfoOf);
  }

  /** Describes this view's store. Rejects with StoreNotFound if there is none. */
  async storeInfo(options: CallOptions = {}): Promise<StoreInfo> {
    const message = { name: this.#scope.store };
    return storeInfoOf((await this.#connection.call(StoreServiceService.getStore, message, undefined, options)).store);
  }

  #valueAfter<T>(key: string, updated: Updated<T>): T {
    if (updated.record !== undefined) return updated.record.value;
    const record = messages.nameIn(this.#scope, { key });
    throw new NotFoundError("the update was applied, and the record has gone since", { record });
  }
}

/** Runs a transaction's function; what it does after it has returned is too late. */
async function runToEnd<V, R>(
  run: (tx: Transaction<V>) => R | Promise<R>,
  attempt: Try,
  scope: messages.Scope<V>,
): Promise<R> {
  try {
    return await run(new Transaction(attempt, scope));
  } finally {
    attempt.end();
  }
}
