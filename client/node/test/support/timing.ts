import { whenAborted, type Timing } from "../../src/time.js";

/** Clocks that stand still but for pauses, which take no time of anybody's. */
export class FakeTiming implements Timing {
  now = 5_000;
  readonly boot = Date.UTC(2027, 0, 1);

  /** How long each pause was. */
  readonly pauses: number[] = [];

  /** What is drawn at random. */
  drawn = 0.5;

  /** Done in each pause, before it ends. */
  whilePausing: () => void = () => undefined;

  monotonic(): number {
    return this.now;
  }

  wall(): number {
    return this.boot + this.now;
  }

  random(): number {
    return this.drawn;
  }

  /** Whether what is waited for with a limit comes too late. */
  late = false;

  async limit(ms: number, signals: readonly AbortSignal[]): Promise<void> {
    if (this.late) this.now += ms;
    else await new Promise<void>((resolve) => whenAborted(signals, resolve));
  }

  async sleep(ms: number, signals: readonly AbortSignal[]): Promise<void> {
    this.whilePausing();
    if (signals.some((signal) => signal.aborted)) return;
    this.pauses.push(ms);
    this.now += ms;
    await Promise.resolve();
  }
}
