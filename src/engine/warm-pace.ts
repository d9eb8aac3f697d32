/**
 * The pace of a warm-up. A server that starts on cores on which others serve loads programs for a second or two, one after the other, and whoever
 * shares those cores waits behind each. So after a program whose load had to wait for a core the next one is put off for twice that time: on cores
 * that nobody wants nothing is lost, and on crowded ones those who serve get their turns between the programs.
 */
import type { Clock } from '../clock.js';

/** Of a whole warm-up: so much later, at most, does a server serve for the sake of others. */
const mostWaitMs = 3_000;
/** Of what a load waited for cores. */
const shareOfWait = 2;
/** Of one program. */
const mostWaitAfterOneMs = 250;

export interface WarmPaceOptions {
  readonly clock: Clock;
  /** Milliseconds for which threads of this process were ready to run and had no core, summed since some time in the past. */
  readonly waitedForCoreMs: () => number;
}

export class WarmPace {
  readonly #options: WarmPaceOptions;
  #leftMs = mostWaitMs;

  constructor(options: WarmPaceOptions) {
    this.#options = options;
  }

  /** To be called where a load begins; what it returns where the load has ended, which resolves when the next one may begin. */
  begin(): () => Promise<void> {
    const { clock, waitedForCoreMs } = this.#options;
    const startedMs = clock.nowMs();
    const waitedMs = waitedForCoreMs();
    return () => {
      // Several threads may wait at the same time; none of them for longer than the load took.
      const contendedMs = Math.min(waitedForCoreMs() - waitedMs, clock.nowMs() - startedMs);
      const waitMs = Math.min(shareOfWait * contendedMs, mostWaitAfterOneMs, this.#leftMs);
      if (!(waitMs > 0)) return Promise.resolve();
      this.#leftMs -= waitMs;
      return new Promise((resolve) => void clock.after(waitMs, resolve));
    };
  }
}
