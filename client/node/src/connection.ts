import { randomBytes } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";

import type { Metadata, ServiceError } from "@grpc/grpc-js";

import { Attempts, Part, Pauses, type RetryOptions } from "./attempts.js";
import { Channel, checkToken, type ChannelSettings, type Method, type Token } from "./channel.js";
import { ServiceClock } from "./clock.js";
import {
  CancelledError,
  DeadlineExceededError,
  isKeepstateError,
  OutcomeUnknownError,
  UnauthenticatedError,
  UsageError,
  type AnyKeepstateError,
} from "./errors.js";
import type { RequestId } from "./gen/keepstate/v1/record.js";
import { StoreServiceService } from "./gen/keepstate/v1/store_service.js";
import { timestampOf } from "./messages.js";
import type { CallOptions } from "./operations.js";
import { errorOfCall } from "./status.js";
import { systemTiming, within, type Timing } from "./time.js";

/** The metadata in which every answer carries the service's time. */
const TIME_KEY = "keepstate-time";

const DEFAULT_TIMEOUT = 10_000;

/**
 * Milliseconds by which gRPC may end an attempt before its time, since its timers count in whole ones. With less left a
 * write would be sent only for its outcome to be unknown.
 */
const EARLY = 3;

/** What a connection and its calls are made of. */
export interface ConnectionSettings extends ChannelSettings {
  readonly timeoutMs?: number | undefined;
  readonly retry?: RetryOptions | false | undefined;
}

/** The one connection that all views of a client share: deadlines, repeats, requests and the service's clock. */
export class Connection {
  readonly timing: Timing;

  /** How to pause before something is tried again, whether calls are repeated or not. */
  readonly pauses: Pauses;

  readonly #channel: Channel;
  readonly #clock: ServiceClock;
  readonly #token: Token | undefined;
  readonly #timeoutMs: number;
  readonly #repeats: boolean;
  readonly #closing = new AbortController();
  #learning: Promise<void> | undefined;
  #client = 0n;
  #lastNumber = 0n;

  /** @throws UsageError a setting is not what it should be. */
  constructor(address: string, settings: ConnectionSettings, timing: Timing = systemTiming) {
    const { retry = {}, timeoutMs = DEFAULT_TIMEOUT } = settings;
    const pauses = retry === false ? {} : retry;
    checkMs("timeoutMs", timeoutMs);
    checkMs("retry.initialMs", pauses.initialMs ?? 1);
    checkMs("retry.limitMs", pauses.limitMs ?? 1);
    this.timing = timing;
    this.pauses = new Pauses(pauses, timing);
    this.#repeats = retry !== false;
    this.#timeoutMs = timeoutMs;
    this.#token = settings.token;
    this.#clock = new ServiceClock(timing);
    this.#channel = new Channel(address, settings);
  }

  /** Cuts short what is under way and lets the connection go. */
  close(): void {
    this.#closing.abort();
    this.#channel.close();
  }

  /** What makes the next write distinguishable from all others. The time is filled in when it is sent. */
  nextRequest(): RequestId {
    // Drawn at the first write, so that what was copied before then does not share it.
    while (this.#client === 0n) this.#client = randomBytes(8).readBigUInt64BE();
    this.#lastNumber += 1n;
    return { client: this.#client, number: this.#lastNumber, firstSent: undefined, attempt: 0 };
  }

  /**
   * Calls the service, again where that is safe and helps.
   *
   * @param request what makes the message repeatable, in the message. Undefined: it reads.
   */
  async call<Req, Res>(
    method: Method<Req, Res>,
    message: Req,
    request: RequestId | undefined,
    options: CallOptions,
  ): Promise<Res> {
    const part = new Part(request);
    const attempts = await this.begin([part], options);
    for (;;) {
      let failure: AnyKeepstateError;
      try {
        return await this.send(method, message, attempts.share, request !== undefined, options.signal);
      } catch (error) {
        if (!isKeepstateError(error)) throw error;
        failure = error;
      }
      const told = part.failed(failure);
      const again = await this.pauseAfter([failure], attempts, options.signal).catch((cut: unknown) => {
        throw part.inDoubt ? told : cut;
      });
      if (!again) throw told;
      this.renew(part, failure);
    }
  }

  /**
   * Begins a call with these parts, and stamps their requests with the service's time.
   *
   * @throws DeadlineExceededError the call writes, and its time was up before the service told its time.
   */
  async begin(parts: readonly Part[], { timeoutMs, signal }: CallOptions): Promise<Attempts> {
    if (this.#closing.signal.aborted) throw new UsageError("the client is closed");
    if (timeoutMs !== undefined) checkMs("timeoutMs", timeoutMs);
    if (signal !== undefined && !isSignal(signal)) throw new UsageError("signal must be an AbortSignal");
    this.#mustGoOn(signal);
    const attempts = new Attempts(this.#repeats ? this.pauses : undefined, timeoutMs ?? this.#timeoutMs, this.timing);
    const requests = parts.map(({ request }) => request).filter((request) => request !== undefined);
    if (requests.length === 0) return attempts;
    await this.#learnTime(attempts, signal);
    this.#mustGoOn(signal);
    if (attempts.left < EARLY) {
      const details = { code: "DEADLINE_EXCEEDED", nothingSent: true };
      throw new DeadlineExceededError("time was up before the write was sent", details);
    }
    const now = timestampOf(this.#clock.now());
    for (const request of requests) request.firstSent = now;
    return attempts;
  }

  /**
   * Waits until what failed so is to be sent again. False: it is not.
   *
   * @throws CancelledError the call was cut short in the pause.
   */
  async pauseAfter(
    failures: readonly AnyKeepstateError[],
    attempts: Attempts,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const pause = attempts.pauseAfter(failures);
    return pause !== undefined && (await this.pause(pause, attempts, signal));
  }

  /**
   * Waits so long before another attempt. False: the time does not allow one.
   *
   * @throws CancelledError the call was cut short in the pause.
   */
  async pause(ms: number, attempts: Attempts, signal: AbortSignal | undefined): Promise<boolean> {
    if (ms >= attempts.left) return false;
    const signals = this.#signals(signal);
    await this.timing.sleep(ms, signals);
    if (signals.some((each) => each.aborted)) throw this.#cut(false, false, signal);
    return attempts.left > 0;
  }

  /** Makes a part whose last attempt failed so ready for the next. */
  renew({ request, inDoubt }: Part, failure: AnyKeepstateError): void {
    if (request === undefined) return;
    if (failure.nothingSent && !inDoubt) {
      // Nobody has seen the request. As a new one it costs less, and does not grow too old to be told (R3).
      Object.assign(request, this.nextRequest(), { firstSent: timestampOf(this.#clock.now()) });
    } else {
      request.attempt += 1;
    }
  }

  /** Calls the service once. */
  async send<Req, Res>(
    method: Method<Req, Res>,
    message: Req,
    ms: number,
    writes: boolean,
    signal: AbortSignal | undefined,
  ): Promise<Res> {
    const signals = this.#signals(signal);
    const begun = this.timing.monotonic();
    const token = await this.#currentToken(ms, signal);
    if (writes) await arrived();
    this.#mustGoOn(signal);
    const sent = this.timing.monotonic();
    try {
      const { answer, trailers } = await this.#channel.unary(method, message, {
        ms: ms - (sent - begun),
        token,
        signals,
      });
      this.#observe(trailers, sent);
      return answer;
    } catch (error) {
      if (!isServiceError(error)) throw error;
      this.#observe(error.metadata, sent);
      const failure = errorOfCall(error, writes);
      // What the service has answered in spite of it counts.
      throw signals.some((each) => each.aborted) && failure.reason === ""
        ? this.#cut(writes, failure.nothingSent, signal)
        : failure;
    }
  }

  /** @throws CancelledError the call was cut short before anything of it, or of this attempt, was sent. */
  #mustGoOn(signal: AbortSignal | undefined): void {
    if (this.#signals(signal).some((each) => each.aborted)) throw this.#cut(false, true, signal);
  }

  #signals(signal: AbortSignal | undefined): readonly AbortSignal[] {
    return signal === undefined ? [this.#closing.signal] : [this.#closing.signal, signal];
  }

  /** What a call is told that was cut short. */
  #cut(writes: boolean, nothingSent: boolean, signal: AbortSignal | undefined): AnyKeepstateError {
    const kind = writes && !nothingSent ? OutcomeUnknownError : CancelledError;
    const words = signal?.aborted === true ? "the call was cancelled" : "the client was closed during the call";
    return new kind(words, { code: "CANCELLED", nothingSent, cause: signal?.reason });
  }

  /** The token to send, asked for within the time of the attempt. */
  async #currentToken(ms: number, signal: AbortSignal | undefined): Promise<string | undefined> {
    const token = this.#token;
    if (typeof token !== "function") return token;
    let found: { readonly value: string } | undefined;
    try {
      found = await within(this.timing, ms, this.#signals(signal), Promise.resolve().then(token));
      if (found !== undefined) checkToken(found.value);
    } catch (error) {
      const details = { code: "UNAUTHENTICATED", nothingSent: true, cause: error };
      throw new UnauthenticatedError("the function `token` failed, or gave no token", details);
    }
    if (found !== undefined) return found.value;
    this.#mustGoOn(signal);
    const details = { code: "DEADLINE_EXCEEDED", nothingSent: true };
    throw new DeadlineExceededError("time was up before the function `token` gave one", details);
  }

  #observe(metadata: Metadata | undefined, sent: number): void {
    const stamp = metadata?.get(TIME_KEY)[0];
    if (typeof stamp === "string") this.#clock.observe(stamp, sent, this.timing.monotonic());
  }

  /** Asks for the service's time before the first write: by a wrong one it would be refused, or taken for old (T4). */
  async #learnTime(attempts: Attempts, signal: AbortSignal | undefined): Promise<void> {
    const signals = this.#signals(signal);
    // Of several first writes one asks, with its own time; the others wait no longer than theirs.
    while (this.#learning !== undefined && !this.#clock.known) {
      const told = await within(this.timing, attempts.left, signals, this.#learning);
      if (told === undefined) return;
    }
    if (this.#clock.known) return;
    this.#learning = this.#askTime(attempts.share, signal).finally(() => {
      this.#learning = undefined;
    });
    await this.#learning;
  }

  async #askTime(ms: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.send(StoreServiceService.getStore, { name: "" }, ms, false, signal);
    } catch (error) {
      // Refusals tell the time too. Where nobody answers, the write's own failure says it better.
      if (!isKeepstateError(error)) throw error;
    }
  }
}

/**
 * Takes in what has arrived, so that a connection that is closed already is seen to be so: a write that is sent on it
 * would be in doubt. The first turn of the event loop may have begun before.
 */
async function arrived(): Promise<void> {
  await turn();
  await turn();
}

function checkMs(field: string, ms: number): void {
  if (typeof ms !== "number" || !(ms > 0 && ms < 2 ** 31)) {
    throw new UsageError(`${field} must be a number of milliseconds above 0 and below 2^31`);
  }
}

/** By what is used of it: it may be of another realm, as in some test runners. */
function isSignal(signal: unknown): signal is AbortSignal {
  return typeof signal === "object" && signal !== null && "aborted" in signal && "addEventListener" in signal;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}
