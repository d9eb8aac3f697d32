import { hrtime } from 'node:process';

/** Time as the rest of `src` sees it: injected, so that tests run under a virtual clock. */
export interface Clock {
  /** Milliseconds on a monotonic scale, with fractions. Never goes back; not a date. */
  nowMs(): number;
  /** Calls `fire` once after `delayMs`. The returned function cancels it; cancelling twice is safe. */
  after(delayMs: number, fire: () => void): () => void;
}

/** The process's monotonic clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, fire) {
    // setTimeout overflows at 2^31 ms and would fire at once.
    const timer = setTimeout(fire, Math.min(delayMs, 2_147_483_647));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Milliseconds on a monotonic scale that all threads of this process share, unlike `systemClock`'s. */
export function processMs(): number {
  const [seconds, nanoseconds] = hrtime();
  return 1e3 * seconds + 1e-6 * nanoseconds;
}
