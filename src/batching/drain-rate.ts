/** How fast the queue drains, measured: what a refused caller is told to wait. */

/** Weight of the newest batch in the moving average: about the last ten batches count. */
const smoothing = 0.2;
/** Before anything was measured. */
const unmeasuredRetryMs = 100;
const longestRetryMs = 60_000;

export class DrainRate {
  #msPerJob: number | null = null;
  #lastAnswerMs = -Infinity;

  /** A batch of `jobs`, dispatched at `dispatchedMs`, was answered at `answeredMs`; calls in order of `answeredMs`. */
  observe(jobs: number, dispatchedMs: number, answeredMs: number): void {
    // A batch that was staged behind another began when that one ended; time without any batch does not count.
    const msPerJob = Math.max(answeredMs - Math.max(dispatchedMs, this.#lastAnswerMs), 0) / jobs;
    this.#lastAnswerMs = answeredMs;
    this.#msPerJob = this.#msPerJob === null ? msPerJob : this.#msPerJob + smoothing * (msPerJob - this.#msPerJob);
  }

  /** Whole milliseconds, at least 1, until `jobs` waiting jobs will be answered. */
  retryAfterMs(jobs: number): number {
    if (this.#msPerJob === null) return unmeasuredRetryMs;
    return Math.min(Math.max(Math.ceil(jobs * this.#msPerJob), 1), longestRetryMs);
  }
}
