import { setTimeout as delay } from "node:timers/promises";

/** The clocks and pauses that a client uses; tests bring others, so that none of them waits. */
export interface Timing {
  /** Milliseconds since some moment, whatever the local clock is set to. */
  monotonic(): number;

  /** Milliseconds since 1970, by the local clock. */
  wall(): number;

  /** A number drawn evenly from 0 to below 1. */
  random(): number;

  /** Pauses for so many milliseconds, or until one of the signals is aborted. */
  sleep(ms: number, signals: readonly AbortSignal[]): Promise<void>;

  /** The same, as the limit of a wait for something else. */
  limit(ms: number, signals: readonly AbortSignal[]): Promise<void>;
}

/** This machine's. */
export const systemTiming: Timing = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  random: () => Math.random(),
  sleep: delayed,
  limit: delayed,
};

async function delayed(ms: number, signals: readonly AbortSignal[]): Promise<void> {
  const woken = new AbortController();
  const forget = whenAborted(signals, () => {
    woken.abort();
  });
  try {
    await delay(ms, undefined, { signal: woken.signal });
  } catch (error) {
    if (!woken.signal.aborted) throw error;
  } finally {
    forget();
  }
}

/** What is to be done when a signal is aborted, by the calls that wait for that. */
const actions = new WeakMap<AbortSignal, Set<() => void>>();

/** Has `action` run once when one of the signals is aborted, at once if one is. Call what is returned to prevent it. */
export function whenAborted(signals: readonly AbortSignal[], action: () => void): () => void {
  const forget = (): void => {
    for (const signal of signals) forgetFor(signal, act);
  };
  const act = (): void => {
    forget();
    action();
  };
  if (signals.some((signal) => signal.aborted)) {
    action();
  } else {
    for (const signal of signals) listenTo(signal, act);
  }
  return forget;
}

/**
 * Adds to what is done when the signal is aborted. It has one listener, whatever the number of calls: of many, Node warns
 * as of a leak. Nor does AbortSignal.any do: of a signal that outlives many calls it keeps something for each.
 */
function listenTo(signal: AbortSignal, act: () => void): void {
  const waiting = actions.get(signal) ?? new Set();
  if (waiting.size === 0) {
    actions.set(signal, waiting);
    signal.addEventListener("abort", actAll);
  }
  waiting.add(act);
}

function forgetFor(signal: AbortSignal, act: () => void): void {
  const waiting = actions.get(signal);
  if (waiting?.delete(act) && waiting.size === 0) signal.removeEventListener("abort", actAll);
}

function actAll(this: AbortSignal): void {
  for (const act of [...(actions.get(this) ?? [])]) act();
}

/** Waits for something, but no longer than so many milliseconds, and not past the abort of one of the signals. */
export async function within<T>(
  timing: Timing,
  ms: number,
  signals: readonly AbortSignal[],
  work: Promise<T>,
): Promise<{ readonly value: T } | undefined> {
  const done = new AbortController();
  const waited = timing.limit(Math.max(ms, 0), [...signals, done.signal]).then(() => undefined);
  try {
    return await Promise.race([work.then((value) => ({ value })), waited]);
  } finally {
    done.abort();
  }
}
