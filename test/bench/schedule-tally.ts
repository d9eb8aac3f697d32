/** Counts what a simulated scheduler achieved in the measured part of a run. */
import type { SimulatedRequest } from './schedule-load.js';

/** The part of virtual time in which answers and arrivals are counted. */
export interface Window {
  readonly fromMs: number;
  readonly untilMs: number;
}

export interface Outcome {
  /** Answered in time, per second: answers given in the window, before their deadline where there is one. */
  readonly goodputPerSecond: number;
  readonly arrived: number;
  readonly good: number;
  readonly late: number;
  readonly refused: number;
  /** Of answers in time, from arrival. */
  readonly p99Ms: number;
}

export class Tally {
  readonly #window: Window;
  readonly #latenciesMs: number[] = [];
  #arrived = 0;
  #late = 0;
  #refused = 0;

  constructor(window: Window) {
    this.#window = window;
  }

  arrived(nowMs: number): void {
    if (this.#counts(nowMs)) this.#arrived++;
  }

  answered(request: SimulatedRequest, nowMs: number): void {
    if (!this.#counts(nowMs)) return;
    if (nowMs > request.deadlineMs) {
      this.#late++;
      return;
    }
    this.#latenciesMs.push(nowMs - request.arriveMs);
  }

  /** Not answered: the deadline passed. */
  expired(nowMs: number): void {
    if (this.#counts(nowMs)) this.#late++;
  }

  /** Told at once that it will not be served. */
  refused(nowMs: number): void {
    if (this.#counts(nowMs)) this.#refused++;
  }

  outcome(): Outcome {
    const windowMs = this.#window.untilMs - this.#window.fromMs;
    const ascending = this.#latenciesMs.sort((a, b) => a - b);
    return {
      goodputPerSecond: (1000 * ascending.length) / windowMs,
      arrived: this.#arrived,
      good: ascending.length,
      late: this.#late,
      refused: this.#refused,
      p99Ms: ascending[Math.max(Math.ceil(0.99 * ascending.length) - 1, 0)] ?? NaN,
    };
  }

  #counts(nowMs: number): boolean {
    return nowMs >= this.#window.fromMs && nowMs < this.#window.untilMs;
  }
}
