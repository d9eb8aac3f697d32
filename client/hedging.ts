/**
 * What bounds hedged calls beyond what gRPC does. grpc-js 1.14.7 holds to `maxAttempts` and `hedgingDelay`, but looks at its
 * retry throttling only before retries, never before another hedged attempt: a slow service would get every call twice.
 */

export interface HedgingOptions {
  /**
   * A call that is not answered by then is sent to another replica as well, milliseconds. Best a little above the usual p99:
   * the attempt that is not needed is cancelled, and servers on Node 20 close a connection that cancels more than 33 calls a second for long.
   */
  readonly delayMs: number;
  /** Most attempts of a call, the first included, 2..5. 2 where left out. */
  readonly maxAttempts?: number;
  /** Extra calls for each call, on average. 0.1 where left out. */
  readonly ratio?: number;
  /** Extra calls that may come at once on top of that. 100 where left out. */
  readonly burst?: number;
}

const defaultMaxAttempts = 2;
const defaultRatio = 0.1;
const defaultBurst = 100;
/** grpc-js caps attempts at five. */
const mostAttempts = 5;

export class HedgeBudget {
  readonly maxAttempts: number;
  readonly delayMs: number;
  readonly #ratio: number;
  readonly #burst: number;
  #tokens: number;

  /** @throws RangeError */
  constructor(options: HedgingOptions) {
    const { delayMs, maxAttempts = defaultMaxAttempts, ratio = defaultRatio, burst = defaultBurst } = options;
    if (!Number.isInteger(maxAttempts) || maxAttempts < 2 || maxAttempts > mostAttempts) {
      throw new RangeError(
        `hedging.maxAttempts: expected a whole number from 2 to ${mostAttempts}, received ${maxAttempts}`,
      );
    }
    for (const [name, value] of Object.entries({ delayMs, ratio, burst })) {
      if (!(value >= 0 && Number.isFinite(value)))
        throw new RangeError(`hedging.${name}: expected a finite number from 0, received ${value}`);
    }
    this.delayMs = delayMs;
    this.maxAttempts = maxAttempts;
    this.#ratio = ratio;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Sets the extra calls aside that one call may cause; false where there are not so many, and it must not be hedged. */
  reserve(): boolean {
    const most = this.maxAttempts - 1;
    if (this.#tokens < most) return false;
    this.#tokens -= most;
    return true;
  }

  /** Gives back what a call that had reserved did not use: `attempts` were sent. */
  settle(attempts: number): void {
    this.#add(this.maxAttempts - Math.max(1, Math.min(attempts, this.maxAttempts)));
  }

  /** Every call that was answered earns a part of an extra call, hedged or not. */
  succeeded(): void {
    this.#add(this.#ratio);
  }

  #add(tokens: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + tokens);
  }
}
