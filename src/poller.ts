/** Looks at something again and again: one look at a time, the next `pollMs` after the last has ended. */
import type { Clock } from './clock.js';

export class Poller {
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #look: () => Promise<void>;
  #last: Promise<void> = Promise.resolve();
  #cancel: () => void = () => undefined;
  #closed = false;

  /** Looks when asked to, until `start`. `look` must never reject. */
  constructor(clock: Clock, pollMs: number, look: () => Promise<void>) {
    this.#clock = clock;
    this.#pollMs = pollMs;
    this.#look = look;
  }

  start(): void {
    if (this.#closed) return;
    this.#cancel = this.#clock.after(this.#pollMs, () => {
      void this.lookNow().then(() => this.start());
    });
  }

  /** Resolves when a look that begins now, or after the present one, has ended. */
  lookNow(): Promise<void> {
    this.#last = this.#last.then(() => (this.#closed ? undefined : this.#look()));
    return this.#last;
  }

  /** No look begins any more. */
  close(): void {
    this.#closed = true;
    this.#cancel();
  }
}
