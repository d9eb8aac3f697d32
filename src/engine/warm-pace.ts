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

/** Of this process, summed over its threads since some time in the past, milliseconds. */
export interface CoreTimes {
  /** Ready to run, without a core. */
  readonly waitedMs: () => number;
  /** On a core. */
  readonly usedMs: () => number;
}

export interface WarmPaceOptions {
  readonly clock: Clock;
  readonly cores: CoreTimes;
}

export class WarmPace {
  readonly #options: WarmPaceOptions;
  #leftMs = mostWaitMs;

  constructor(options: WarmPaceOptions) {
    this.#options = options;
  }

  /** To be called where a load begins; what it returns where the load has ended, which resolves when the next one may begin. */
  begin(): () => Promise<void> {
    const { clock, cores } = this.#options;
    const startedMs = clock.nowMs();
    const [waitedMs, usedMs] = [cores.waitedMs(), cores.usedMs()];
    return () => {
      // Threads of this process wait for each other, too: what others took is at most what is missing to a whole core. And what is missing may be
      // missing for want of work: a load waits for disks and devices as well.
      const missingMs = clock.nowMs() - startedMs - (cores.usedMs() - usedMs);
      const contendedMs = Math.min(cores.waitedMs() - waitedMs, missingMs);
      const waitMs = Math.min(shareOfWait * contendedMs, mostWaitAfterOneMs, this.#leftMs);
      if (!(waitMs > 0)) return Promise.resolve();
      this.#leftMs -= waitMs;
      return new Promise((resolve) => void clock.after(waitMs, resolve));
    };
  }
}
