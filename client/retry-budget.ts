/**
 * A token bucket over one client's retries, as gRPC's own retry throttling: a refusal takes a token, a success gives
 * back a tenth, and retries stop while the bucket is at most half full.
 */
const maxTokens = 20;
const tokensPerSuccess = 0.1;

export class RetryBudget {
  #tokens = maxTokens;

  succeeded(): void {
    this.#tokens = Math.min(maxTokens, this.#tokens + tokensPerSuccess);
  }

  /** Counts a refusal; whether a retry may follow it. */
  failed(): boolean {
    this.#tokens = Math.max(0, this.#tokens - 1);
    return this.#tokens > maxTokens / 2;
  }
}
