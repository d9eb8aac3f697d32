/** One solver thread in virtual time, behind the engine of every simulated scheduler. */
import type { Clock } from '../../src/clock.js';

interface Solve {
  readonly ms: number;
  readonly deadlineMs: number;
  readonly done: (solved: boolean) => void;
}

export class SimulatedSolver {
  readonly #clock: Clock;
  readonly #order: 'arrival' | 'deadline';
  readonly #waiting: Solve[] = [];
  #busyUntilMs = 0;
  #waitingMs = 0;
  #running = false;

  /** By `deadline`, what has expired is dropped before it is solved; by `arrival` everything is solved. */
  constructor(clock: Clock, order: 'arrival' | 'deadline') {
    this.#clock = clock;
    this.#order = order;
  }

  /** From handing in a problem of `ms` now until it is solved. */
  expectedMs(ms: number): number {
    return Math.max(this.#busyUntilMs - this.#clock.nowMs(), 0) + this.#waitingMs + ms;
  }

  solve(solve: Solve): void {
    this.#waiting.push(solve);
    this.#waitingMs += solve.ms;
    if (!this.#running) this.#next();
  }

  #next(): void {
    for (;;) {
      const solve = this.#take();
      if (solve === null) return;
      if (this.#order === 'deadline' && solve.deadlineMs <= this.#clock.nowMs()) {
        solve.done(false);
        continue;
      }
      this.#running = true;
      this.#busyUntilMs = this.#clock.nowMs() + solve.ms;
      this.#clock.after(solve.ms, () => {
        solve.done(true);
        this.#running = false;
        this.#next();
      });
      return;
    }
  }

  #take(): Solve | null {
    if (this.#waiting.length === 0) return null;
    let index = 0;
    if (this.#order === 'deadline') {
      for (const [i, { deadlineMs }] of this.#waiting.entries()) {
        if (deadlineMs < this.#waiting[index]!.deadlineMs) index = i;
      }
    }
    const [solve] = this.#waiting.splice(index, 1);
    this.#waitingMs -= solve!.ms;
    return solve!;
  }
}
