/**
 * How many threads large problems may have at a time, so that small ones find one that is free or soon will be.
 *
 * A long problem, or one of a size that nothing was measured of and that looks long, never has the last thread. One of middle length has it where
 * no small problem has come lately: the next small one then waits for it once, `longMs` at most.
 */
import { smallCells } from './hard.js';

/** Expected to take so long, a problem is long. */
export const longMs = 50;
/** After a small problem came, one thread is kept free of all large ones for so long. */
export const keptFreeMs = 1000;

export class ThreadReservation {
  readonly #threads: number;
  #lastSmallMs = -Infinity;

  /** `threads`: at least 1. */
  constructor(threads: number) {
    this.#threads = threads;
  }

  /** When large problems of middle length may have every thread again. In the past where they may now. */
  get endsMs(): number {
    return this.#lastSmallMs + keptFreeMs;
  }

  /** A problem of up to `smallCells` pairs came. */
  observeSmall(nowMs: number): void {
    this.#lastSmallMs = nowMs;
  }

  /** Threads that may work on problems such as this one side by side; `expectedMs`: of one alone. */
  threadsFor(cells: number, expectedMs: number, nowMs: number): number {
    if (cells <= smallCells) return this.#threads;
    return expectedMs >= longMs || nowMs < this.endsMs ? Math.max(1, this.#threads - 1) : this.#threads;
  }

  /** Whether a large problem may be started beside `largeCount` others, of which `longCount` are long. */
  mayStart(expectedMs: number, largeCount: number, longCount: number, nowMs: number): boolean {
    const most = Math.max(1, this.#threads - 1);
    if (largeCount >= (nowMs < this.endsMs ? most : this.#threads)) return false;
    return expectedMs < longMs || longCount < most;
  }
}
