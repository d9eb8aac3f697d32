/**
 * Whether an engine is trusted with work. Closed: it is. Open: it failed; a probe comes after a while. Half open: the probe
 * runs. A probe that succeeds closes it, one that fails opens it again for twice as long.
 */
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';

export interface CircuitBreakerOptions {
  readonly clock: Clock;
  /** Resolves where the engine works again. */
  readonly probe: () => Promise<void>;
  /** Called after a probe closed it. */
  readonly onClosed: () => void;
  readonly onProbeFailed?: (error: CoordinatorError, nextProbeMs: number) => void;
  /** Failures in a row that open it. Default 3. */
  readonly threshold?: number;
}

export type BreakerState = 'closed' | 'open' | 'half-open';

const defaultThreshold = 3;
export const firstProbeMs = 1_000;
export const longestProbeMs = 60_000;

export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #state: BreakerState = 'closed';
  #failures = 0;
  #delayMs = firstProbeMs;
  #closedAtMs = -Infinity;
  #cancel: () => void = () => undefined;
  #stopped = false;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  get state(): BreakerState {
    return this.#state;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** One more failure in a row. True where it opened the breaker. */
  failed(): boolean {
    if (this.#state !== 'closed' || ++this.#failures < (this.#options.threshold ?? defaultThreshold)) return false;
    return this.trip();
  }

  /** Opens it at once: the engine lost its programs, hangs or is gone. True where it was closed. */
  trip(): boolean {
    if (this.#state !== 'closed' || this.#stopped) return false;
    // An engine that held for as long as the longest pause counts as new; one that fails sooner is tried ever more seldom.
    if (this.#options.clock.nowMs() - this.#closedAtMs >= longestProbeMs) this.#delayMs = firstProbeMs;
    this.#open();
    return true;
  }

  /** No more probes. */
  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #open(): void {
    this.#state = 'open';
    this.#failures = 0;
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(delayMs * 2, longestProbeMs);
    this.#cancel = this.#options.clock.after(delayMs, () => void this.#probe());
  }

  async #probe(): Promise<void> {
    this.#state = 'half-open';
    try {
      await this.#options.probe();
    } catch (thrown) {
      if (this.#stopped) return;
      const nextMs = this.#delayMs;
      this.#open();
      this.#options.onProbeFailed?.(CoordinatorError.from(thrown), nextMs);
      return;
    }
    if (this.#stopped) return;
    this.#state = 'closed';
    this.#closedAtMs = this.#options.clock.nowMs();
    this.#options.onClosed();
  }
}
