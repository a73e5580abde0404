import { systemTiming, type Timing } from "./time.js";

/** Milliseconds: the service states its time in whole ones. */
const RESOLUTION = 1;

/** Milliseconds that two clocks may part in each: far more than clocks do, so that old samples make room for new ones. */
const DRIFT = 0.001;

/** Milliseconds that the local clocks may part before a sample counts no more: then one was set, or one stood still. */
const PARTED = 1000;

interface Sample {
  /** When, by the monotonic clock. */
  readonly at: number;
  /** The service's time then. */
  readonly service: number;
  /** By how much `service` may be wrong. */
  readonly error: number;
  /** The wall clock less the monotonic one. */
  readonly offset: number;
}

/**
 * Estimates the service's time, in milliseconds since 1970, from the times that its answers carry.
 *
 * An answer was stamped somewhere between sending and receiving, so half of the round trip is the most by which the
 * estimate can be wrong, and the quickest answer of late is the best one. Where no time is known the local clock
 * serves. The estimate is carried on by a clock that nobody sets. That one stands still while the machine sleeps, so
 * what was known is no longer known once it has parted from the wall clock.
 */
export class ServiceClock {
  readonly #timing: Timing;
  #best: Sample | undefined;

  constructor(timing: Timing = systemTiming) {
    this.#timing = timing;
  }

  /** Whether an answer has told the service's time, and the local clocks have agreed since. */
  get known(): boolean {
    return this.#best !== undefined && Math.abs(this.#offset() - this.#best.offset) <= PARTED;
  }

  /** The service's time; the local one while that is not known. */
  now(): number {
    if (this.#best === undefined || !this.known) return this.#timing.wall();
    return this.#best.service + (this.#timing.monotonic() - this.#best.at);
  }

  /**
   * Takes in the `keepstate-time` of an answer.
   *
   * @param stamp RFC 3339; something else, as a proxy might send it, is passed over.
   * @param sent when the call was sent, by the monotonic clock; `received` when it was answered.
   */
  observe(stamp: string, sent: number, received: number): void {
    const service = parseTime(stamp);
    if (service === undefined) return;
    const error = (received - sent) / 2 + RESOLUTION;
    const sample = { at: (sent + received) / 2, service, error, offset: this.#offset() };
    if (this.#best === undefined || !this.known || isBetter(sample, this.#best)) this.#best = sample;
  }

  #offset(): number {
    return this.#timing.wall() - this.#timing.monotonic();
  }
}

function isBetter(sample: Sample, best: Sample): boolean {
  const elapsed = sample.at - best.at;
  const error = best.error + DRIFT * Math.abs(elapsed);
  // Two that cannot both be right: the service's clock was set, or another instance answers. The newer one counts.
  const contradicts = Math.abs(best.service + elapsed - sample.service) > error + sample.error;
  return contradicts || sample.error <= error;
}

const RFC_3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** Milliseconds since 1970, or undefined if it is no time with a zone. */
function parseTime(text: string): number | undefined {
  const parts = RFC_3339.exec(text);
  if (parts === null) return undefined;
  const [, date = "", time = "", fraction = "", zone = ""] = parts;
  const whole = Date.parse(`${date}T${time}${zone.toUpperCase()}`);
  return Number.isNaN(whole) ? undefined : whole + Number(`0${fraction || ".0"}`) * 1000;
}
