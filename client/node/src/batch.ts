import { mayBeRepeated, Part } from "./attempts.js";
import type { Connection } from "./connection.js";
import { InternalError, isKeepstateError, OutcomeUnknownError, type AnyKeepstateError } from "./errors.js";
import type { RequestId } from "./gen/keepstate/v1/record.js";
import { StateServiceService, type BatchOperation, type BatchResult } from "./gen/keepstate/v1/state_service.js";
import type { CallOptions } from "./operations.js";
import { asOfRead, errorOfStatus } from "./status.js";

/** One operation of the batch. */
class Item extends Part {
  readonly message: BatchOperation;

  /** What the caller is told unless there is another attempt. */
  result: BatchResult | AnyKeepstateError | undefined;

  /** How its last attempt failed. */
  failure: AnyKeepstateError | undefined;

  constructor(message: BatchOperation) {
    super(requestOf(message));
    this.message = message;
  }

  /** What tells its record from others. Without the store: the default one has two names. */
  get record(): string {
    const name = this.message.operation?.value.name;
    return JSON.stringify([name?.namespace, name?.key]);
  }

  /** Takes in how an attempt failed. */
  take(failure: AnyKeepstateError): void {
    this.failure = this.request === undefined ? asOfRead(failure) : failure;
    this.result = this.failed(this.failure);
  }
}

/**
 * Performs the operations of a batch, those that failed for now again within the deadline.
 *
 * @returns for each operation its answer, or why it failed, in the order given.
 * @throws AnyKeepstateError the call failed as a whole, and no operation was answered.
 */
export async function callBatch(
  connection: Connection,
  operations: readonly BatchOperation[],
  options: CallOptions,
): Promise<(BatchResult | AnyKeepstateError)[]> {
  const items = operations.map((message) => new Item(message));
  const attempts = await connection.begin(items, options);
  let waiting = items;
  let answered = false;
  let whole: AnyKeepstateError | undefined;
  for (;;) {
    whole = await attempt(connection, waiting, attempts.share, options.signal);
    answered ||= whole === undefined;
    waiting = toBeRepeated(waiting);
    const failures = waiting.map(({ failure }) => failure).filter((failure) => failure !== undefined);
    if (failures.length === 0) break;
    try {
      if (!(await connection.pauseAfter(failures, attempts, options.signal))) break;
    } catch (cut) {
      if (!isKeepstateError(cut)) throw cut;
      whole &&= cut;
      break;
    }
    for (const item of waiting) if (item.failure !== undefined) connection.renew(item, item.failure);
  }
  const results = items.map(({ result }) => result).filter((result) => result !== undefined);
  if (whole !== undefined && !answered) throw results.find((each) => each instanceof OutcomeUnknownError) ?? whole;
  return results;
}

/** Sends these once, and has each take its result. Returns the error with which the call failed as a whole. */
async function attempt(
  connection: Connection,
  items: readonly Item[],
  ms: number,
  signal: AbortSignal | undefined,
): Promise<AnyKeepstateError | undefined> {
  const writes = items.some(({ request }) => request !== undefined);
  const message = { operations: items.map((item) => item.message) };
  try {
    const { results } = await connection.send(StateServiceService.batch, message, ms, writes, signal);
    mustBeAsMany(results, items, writes);
    for (const [index, item] of items.entries()) {
      const answer = results[index];
      if (answer?.result?.$case === "error") {
        item.take(errorOfStatus(answer.result.value, item.request !== undefined));
      } else {
        item.failure = undefined;
        item.result = answer;
      }
    }
    return undefined;
  } catch (error) {
    if (!isKeepstateError(error)) throw error;
    for (const item of items) item.take(error);
    return error;
  }
}

/** @throws OutcomeUnknownError, InternalError where answers and questions are not as many. */
export function mustBeAsMany(answers: readonly unknown[], questions: readonly unknown[], writes: boolean): void {
  if (answers.length === questions.length) return;
  const kind = writes ? OutcomeUnknownError : InternalError;
  throw new kind(`the service gave ${answers.length} results for ${questions.length} operations`);
}

/** Those that failed for now, but for what would overtake a later operation on its record that has its answer (P4). */
function toBeRepeated(items: readonly Item[]): Item[] {
  const overtaken = new Set<string>();
  return items
    .toReversed()
    .filter((item) => {
      const again = item.failure !== undefined && mayBeRepeated(item.failure) && !overtaken.has(item.record);
      if (!again) overtaken.add(item.record);
      return again;
    })
    .reverse();
}

function requestOf({ operation }: BatchOperation): RequestId | undefined {
  return operation === undefined || operation.$case === "get" ? undefined : operation.value.request;
}
