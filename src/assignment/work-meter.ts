/** Counts reads of costs, about a nanosecond each, so that a solver asks whether to stop often but not all the time. */

/** Some microseconds of work. */
const defaultInterval = 8192;

export class WorkMeter {
  /** Reads since the last question; whoever reads adds to it. */
  work = 0;
  /** Once true, it stays so. */
  stopped = false;
  readonly #shouldStop: () => boolean;
  readonly #interval: number;

  constructor(shouldStop: () => boolean, interval = defaultInterval) {
    this.#shouldStop = shouldStop;
    this.#interval = interval;
  }

  /** Whether to stop now. */
  due(): boolean {
    if (this.stopped) return true;
    if (this.work < this.#interval) return false;
    this.work = 0;
    this.stopped = this.#shouldStop();
    return this.stopped;
  }
}
