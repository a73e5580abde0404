import {
  DeadlineExceededError,
  OutcomeUnknownError,
  ResourceExhaustedError,
  UnavailableError,
  type AnyKeepstateError,
} from "./errors.js";
import type { RequestId } from "./gen/keepstate/v1/record.js";
import type { Timing } from "./time.js";

/**
 * The part of the time left that an attempt may take: much, since a slow store must be able to answer; not all, since a
 * reply may be lost.
 */
const SHARE = 2 / 3;

/** Milliseconds. Where less would be left for another attempt, an attempt may take all. */
const LEAST = 1000;

/** How calls are repeated, within their deadline, when the service is unavailable or an answer was lost. */
export interface RetryOptions {
  /**
   * Pauses are drawn between nothing and a ceiling that doubles from this many milliseconds on, on top of what the
   * service asks for. 50 by default.
   */
  readonly initialMs?: number | undefined;
  /** The most that the ceiling becomes, in milliseconds. 1000 by default. */
  readonly limitMs?: number | undefined;
}

/** How long to pause before something is tried again. */
export class Pauses {
  readonly #initial: number;
  readonly #limit: number;
  readonly #timing: Timing;

  constructor({ initialMs = 50, limitMs = 1000 }: RetryOptions, timing: Timing) {
    this.#initial = initialMs;
    this.#limit = limitMs;
    this.#timing = timing;
  }

  /** Milliseconds to wait after the attempt of this number, from 0 on. */
  after(attempt: number): number {
    return this.#timing.random() * Math.min(this.#limit, this.#initial * 2 ** Math.min(attempt, 32));
  }
}

/** The attempts at one call: how long each may take, and whether and when there is another. */
export class Attempts {
  readonly #pauses: Pauses | undefined;
  readonly #timing: Timing;
  readonly #deadline: number;
  #failed = 0;

  /**
   * @param pauses undefined: there is one attempt.
   * @param ms how long the call may take, from now on.
   */
  constructor(pauses: Pauses | undefined, ms: number, timing: Timing) {
    this.#pauses = pauses;
    this.#timing = timing;
    this.#deadline = timing.monotonic() + ms;
  }

  /** Milliseconds until the call's time is up. */
  get left(): number {
    return this.#deadline - this.#timing.monotonic();
  }

  /** Milliseconds that an attempt may take that begins now. */
  get share(): number {
    const { left } = this;
    return this.#pauses === undefined || left * (1 - SHARE) < LEAST ? left : left * SHARE;
  }

  /**
   * Counts an attempt that failed so, in one or more of its parts.
   *
   * @returns milliseconds to wait before what failed is sent again. Undefined: it is not.
   */
  pauseAfter(failures: readonly AnyKeepstateError[]): number | undefined {
    const pauses = this.#pauses;
    const again = failures.filter(mayBeRepeated);
    if (pauses === undefined || again.length === 0) return undefined;
    // One draw for all: of many the largest would always be near its ceiling.
    const pause = Math.max(...again.map((each) => retryAfter(each) ?? 0)) + pauses.after(this.#failed);
    // With hardly any time an attempt would only make an unknown outcome of a known one.
    const needed = again.some((each) => each instanceof DeadlineExceededError) ? LEAST : 0;
    this.#failed += 1;
    return pause + needed < this.left ? pause : undefined;
  }
}

/** One operation on its way through the attempts: a call's only one, or one of a batch. */
export class Part {
  /** What makes it repeatable, in the message that is sent, changed in place. Undefined: it reads. */
  readonly request: RequestId | undefined;

  #inDoubt = false;

  constructor(request: RequestId | undefined) {
    this.request = request;
  }

  /** Whether an attempt may have been applied, or may yet be, and no answer has told. */
  get inDoubt(): boolean {
    return this.#inDoubt;
  }

  /** Takes in how an attempt failed, and returns what the caller is told unless there is another. */
  failed(error: AnyKeepstateError): AnyKeepstateError {
    if (this.request === undefined || JUDGED.has(error.reason)) return error;
    if (error instanceof OutcomeUnknownError) {
      this.#inDoubt = true;
      return error;
    }
    return this.#inDoubt ? unknownAfter(error) : error;
  }
}

/** Whether what failed so may succeed, or tell more, when it is sent again (P1). */
export function mayBeRepeated(error: AnyKeepstateError): boolean {
  if (error instanceof UnavailableError) return true;
  if (error instanceof OutcomeUnknownError) return !error.forGood;
  // An attempt's time was up; whether the call's is, is judged by its deadline.
  if (error instanceof DeadlineExceededError) return true;
  // What had no room in an answer finds some when less is asked for, not later.
  return (
    error instanceof ResourceExhaustedError && error.retryAfterMs !== undefined && error.limit !== "bytes in one answer"
  );
}

/**
 * Reasons with which the service has judged the write, and so also all of its earlier attempts (P3). What a later
 * version's say of earlier attempts is not known.
 */
const JUDGED: ReadonlySet<string> = new Set([
  "ETAG_MISMATCH",
  "TRANSACTION_CONFLICT",
  "RECORD_ALREADY_EXISTS",
  "RECORD_NOT_FOUND",
  "UPDATE_NOT_APPLICABLE",
]);

function unknownAfter(error: AnyKeepstateError): OutcomeUnknownError {
  return new OutcomeUnknownError(`an attempt may have been applied, and the last one failed: ${error.message}`, {
    code: error.code,
    correlationId: error.correlationId,
    cause: error,
  });
}

function retryAfter(error: AnyKeepstateError): number | undefined {
  return error instanceof UnavailableError || error instanceof ResourceExhaustedError ? error.retryAfterMs : undefined;
}
