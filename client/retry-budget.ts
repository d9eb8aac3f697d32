/**
 * A token bucket over one client's retries, as gRPC's own retry throttling: a refusal takes a token, a success gives
 * back a part of one, and retries stop while the bucket is at most half full.
 */
export interface RetryBudgetOptions {
  /** Half of them may be used up by failures at once, 1..1000. 100 where left out: a replica that dies takes all calls with it that it had. */
  readonly maxTokens?: number;
  /** What a success gives back: retries for each call where much fails, 0.001..1. 0.1 where left out. */
  readonly tokenRatio?: number;
}

const defaultMaxTokens = 100;
const defaultTokenRatio = 0.1;
/** What a service config can hold. */
const mostTokens = 1000;

export class RetryBudget {
  readonly maxTokens: number;
  readonly tokenRatio: number;
  #tokens: number;

  /** @throws RangeError */
  constructor({ maxTokens = defaultMaxTokens, tokenRatio = defaultTokenRatio }: RetryBudgetOptions = {}) {
    if (!(maxTokens >= 1 && maxTokens <= mostTokens))
      throw new RangeError(`retryBudget.maxTokens: expected a number from 1 to ${mostTokens}, received ${maxTokens}`);
    if (!(tokenRatio >= 0.001 && tokenRatio <= 1))
      throw new RangeError(`retryBudget.tokenRatio: expected a number from 0.001 to 1, received ${tokenRatio}`);
    this.maxTokens = maxTokens;
    this.tokenRatio = tokenRatio;
    this.#tokens = maxTokens;
  }

  succeeded(): void {
    this.#tokens = Math.min(this.maxTokens, this.#tokens + this.tokenRatio);
  }

  /** Counts a refusal; whether a retry may follow it. */
  failed(): boolean {
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens > this.maxTokens / 2;
  }
}
