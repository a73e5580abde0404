import { isMissing } from "./answers.js";
import type { Attempts } from "./attempts.js";
import type { Connection } from "./connection.js";
import {
  AlreadyExistsError,
  ConflictError,
  InternalError,
  NotFoundError,
  TransactionConflictError,
  UsageError,
} from "./errors.js";
import type { Precondition, Record as RecordMessage } from "./gen/keepstate/v1/record.js";
import {
  StateServiceService,
  type Check,
  type DeleteRequest,
  type GetRequest,
  type PutRequest,
  type TransactRequest,
  type UpdateRequest,
} from "./gen/keepstate/v1/state_service.js";
import type { CallOptions } from "./operations.js";
import type { RecordName } from "./records.js";
import { readSnapshot } from "./snapshot.js";

/** What a transaction is to write to one record. */
export type Write =
  | { readonly kind: "put"; readonly message: PutRequest }
  | { readonly kind: "delete"; readonly message: DeleteRequest }
  | { readonly kind: "update"; readonly message: UpdateRequest };

interface Read {
  readonly name: RecordName;
  readonly found: RecordMessage | undefined;
}

/** One try of a transaction: the records that it has read and those that it is to write, by the names they were asked by. */
export class Try {
  readonly #connection: Connection;
  readonly #time: Attempts;
  readonly #signal: AbortSignal | undefined;
  readonly #reads = new Map<string, Read>();
  readonly #writes = new Map<string, Write>();
  #over = false;

  /** @param time what the transaction's time leaves. */
  constructor(connection: Connection, time: Attempts, signal: AbortSignal | undefined) {
    this.#connection = connection;
    this.#time = time;
    this.#signal = signal;
  }

  /**
   * Reads a record for the first time, or says again what was read; of one that was written, what was written.
   *
   * @throws UsageError it is to be changed by an update, or the transaction is over.
   */
  async read(request: GetRequest): Promise<RecordMessage | undefined> {
    this.#mustRun();
    const name = nameOf(request);
    const id = idOf(name);
    const write = this.#writes.get(id);
    if (write !== undefined) return written(write);
    if (!this.#reads.has(id)) {
      const found = await this.#get(request);
      this.#mustRun();
      // Not what a read at the same time was told otherwise.
      if (!this.#reads.has(id)) this.#reads.set(id, { name, found });
    }
    return this.#reads.get(id)?.found;
  }

  /**
   * Notes a write for the end.
   *
   * @throws UsageError it cannot be one write with what the transaction does to the record already, or that is over.
   */
  write(write: Write): void {
    this.#mustRun();
    const id = idOf(nameOf(write.message));
    const earlier = this.#writes.get(id);
    if (earlier !== undefined) follow(write, earlier);
    this.#writes.set(id, write);
  }

  /** Takes no more reads and writes. */
  end(): void {
    this.#over = true;
  }

  /**
   * All that the transaction does as one message.
   *
   * @throws AlreadyExistsError, ConflictError, NotFoundError what was read contradicts a condition of the caller's own.
   */
  message(): TransactRequest {
    const request: TransactRequest = { checks: [], puts: [], deletes: [], updates: [], request: undefined };
    for (const [id, { name, found }] of this.#reads) {
      const demand = demandOf(found);
      const write = this.#writes.get(id);
      if (write === undefined) {
        request.checks.push({ name, precondition: demand });
      } else {
        mustHold(name, write.message.precondition, found);
        write.message.precondition = demand;
      }
    }
    for (const write of this.#writes.values()) {
      const { precondition } = write.message;
      if (write.kind === "put") request.puts.push(write.message);
      else if (write.kind === "update") request.updates.push(write.message);
      // Where there must be no record, there is nothing to delete, if that holds.
      else if (precondition?.condition?.$case === "absent")
        request.checks.push({ name: nameOf(write.message), precondition });
      else request.deletes.push(write.message);
    }
    return request;
  }

  /** Has all of it applied, if everything that was read still holds. */
  async commit(message: TransactRequest): Promise<void> {
    if (message.puts.length + message.deletes.length + message.updates.length > 0) {
      const request = this.#connection.nextRequest();
      message.request = request;
      await this.#connection.call(StateServiceService.transact, message, request, this.#options);
    } else if (message.checks.length > 1 || this.#writes.size > 0) {
      await this.#verify(message.checks); // one record that was only read was read as of one moment
    }
  }

  /** Whether a commit failed so because what was read holds no more, not for a condition of the caller's own (X4). */
  isOvertaken(error: unknown): boolean {
    if (error instanceof TransactionConflictError) return true;
    const { record } =
      error instanceof ConflictError || error instanceof AlreadyExistsError || error instanceof NotFoundError
        ? error
        : { record: undefined };
    if (record === undefined) return false;
    const id = idOf(record);
    // The service fills in its default store.
    const asked = this.#reads.has(id) || this.#writes.has(id) ? id : idOf({ ...record, store: "" });
    return this.#reads.has(asked);
  }

  /** Sees that all checks hold at one moment. */
  async #verify(checks: readonly Check[]): Promise<void> {
    const names = checks.map(nameOf);
    const found = await readSnapshot(this.#connection, names, this.#options);
    for (const [index, check] of checks.entries()) mustHold(nameOf(check), check.precondition, found[index]);
  }

  async #get(request: GetRequest): Promise<RecordMessage | undefined> {
    try {
      const { record } = await this.#connection.call(StateServiceService.get, request, undefined, this.#options);
      if (record === undefined) throw new InternalError("the service answered a read without a record");
      return record;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  get #options(): CallOptions {
    // A call must be given some time; with this little it ends as one whose time is up.
    return { timeoutMs: Math.max(this.#time.left, 0.001), signal: this.#signal };
  }

  #mustRun(): void {
    if (this.#over) throw new UsageError("the transaction is over: read and write before its function returns");
  }
}

function nameOf({ name }: { name: RecordName | undefined }): RecordName {
  return name ?? { store: "", namespace: "", key: "" };
}

function idOf({ store, namespace, key }: RecordName): string {
  return JSON.stringify([store, namespace, key]);
}

function demandOf(found: RecordMessage | undefined): Precondition {
  if (found === undefined) return { condition: { $case: "absent", value: true } };
  return { condition: { $case: "etag", value: found.etag } };
}

/** What a record is after a write of the transaction itself. */
function written({ kind, message }: Write): RecordMessage | undefined {
  if (kind === "delete") return undefined;
  if (kind === "update") {
    throw new UsageError(`the transaction updates ${keyOf(message)}: what that leaves is known only afterwards`);
  }
  const { name, value, contentType } = message;
  return { name, value, contentType, etag: "", createTime: undefined, updateTime: undefined, expireTime: undefined };
}

/** Makes one write of two to the same record: the second one, on the conditions of the first (X2). */
function follow(write: Write, earlier: Write): void {
  const { message } = write;
  if (write.kind === "update" || earlier.kind === "update") {
    throw new UsageError(
      `the transaction writes ${keyOf(message)} already: an update must be the only write to its record`,
    );
  }
  if (message.precondition !== undefined) {
    throw new UsageError(`the transaction writes ${keyOf(message)} already: the second write cannot have a condition`);
  }
  message.precondition = earlier.message.precondition;
  if (write.kind === "put" && write.message.expiry?.$case === "keepExpiry") {
    write.message.expiry = earlier.kind === "put" ? earlier.message.expiry : undefined;
  }
}

function keyOf(message: Write["message"]): string {
  return JSON.stringify(nameOf(message).key);
}

/** Says of a condition what the service would say. */
function mustHold(record: RecordName, demand: Precondition | undefined, found: RecordMessage | undefined): void {
  const condition = demand?.condition;
  const etag = found?.etag;
  if (condition?.$case === "absent" && found !== undefined) {
    throw new AlreadyExistsError("the record exists", { code: "ALREADY_EXISTS", record, etag });
  }
  if (condition?.$case === "exists" && found === undefined) {
    throw new NotFoundError("there is no such record", { code: "NOT_FOUND", record });
  }
  if (condition?.$case === "etag" && etag !== condition.value) {
    const words = found === undefined ? "the record is gone" : "the record has another etag";
    throw new ConflictError(words, { code: "ABORTED", record, etag });
  }
}
