/** What one tenant, or a group of tenants, has used of its quota. */
import {
  type QuotaCount,
  quotaCounts,
  type QuotaLimit,
  type QuotaLimits,
  type QuotaRate,
  quotaRates,
} from './quota-rules.js';
import { TokenBucket } from './token-bucket.js';

/** Why something is not let in. */
export interface Shortage {
  readonly limit: QuotaLimit;
  readonly allowed: number;
  /** Until it would be; Infinity: never. */
  readonly waitMs: number;
}

/** When a place is given back is not known: these are worth another look. */
const placeWaitMs: Readonly<Record<QuotaCount, number>> = { concurrentCalls: 50, streams: 1000 };

export class QuotaAccount {
  /** As metrics name it: tenants that the file names are, all others are `other`. */
  readonly label: string;
  #limits: QuotaLimits;
  readonly #buckets = new Map<QuotaRate, TokenBucket>();
  readonly #open: Record<QuotaCount, number> = { concurrentCalls: 0, streams: 0 };

  constructor(label: string, limits: QuotaLimits, nowMs: number) {
    this.label = label;
    this.#limits = limits;
    this.adopt(limits, nowMs);
  }

  /** New limits; what is used up and open stays so. */
  adopt(limits: QuotaLimits, nowMs: number): void {
    this.#limits = limits;
    for (const name of quotaRates) {
      const rate = limits[name];
      const bucket = this.#buckets.get(name);
      // A request is one at least, however low its rate.
      const burst = rate === null ? 0 : Math.max(rate * limits.burstSeconds, name === 'requestsPerSecond' ? 1 : 0);
      if (rate === null) this.#buckets.delete(name);
      else if (bucket === undefined) this.#buckets.set(name, new TokenBucket(rate, burst, nowMs));
      else bucket.change(rate, burst, nowMs);
    }
  }

  /** Null where so much may go now. */
  shortageOf(name: QuotaRate, amount: number, nowMs: number): Shortage | null {
    const bucket = this.#buckets.get(name);
    const waitMs = bucket?.waitMs(amount, nowMs) ?? 0;
    if (bucket === undefined || waitMs === 0) return null;
    return { limit: name, allowed: waitMs === Infinity ? bucket.burst : this.#limits[name]!, waitMs };
  }

  take(name: QuotaRate, amount: number, nowMs: number): void {
    this.#buckets.get(name)?.take(amount, nowMs);
  }

  /** Null where one more may be open. */
  crowdOf(name: QuotaCount): Shortage | null {
    const allowed = this.#limits[name];
    if (allowed === null || this.#open[name] < allowed) return null;
    return { limit: name, allowed, waitMs: placeWaitMs[name] };
  }

  enter(name: QuotaCount): void {
    this.#open[name]++;
  }

  leave(name: QuotaCount): void {
    this.#open[name]--;
  }

  /** Whether a new one in its place would be the same. */
  isIdle(nowMs: number): boolean {
    return (
      quotaCounts.every((name) => this.#open[name] === 0) &&
      [...this.#buckets.values()].every((bucket) => bucket.isFull(nowMs))
    );
  }
}
