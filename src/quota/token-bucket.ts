/** Of a sum of many small refills. */
const rounding = 1e-9;

/** A rate with a burst: over any stretch of time it lets through at most the burst and the rate times the time. */
export class TokenBucket {
  #ratePerMs: number;
  #burst: number;
  #level: number;
  #atMs: number;

  /** Full. `ratePerSecond` and `burst` are more than 0. */
  constructor(ratePerSecond: number, burst: number, nowMs: number) {
    this.#ratePerMs = ratePerSecond / 1000;
    this.#burst = burst;
    this.#level = burst;
    this.#atMs = nowMs;
  }

  /** From now on; what was used up stays used up. */
  change(ratePerSecond: number, burst: number, nowMs: number): void {
    this.#refill(nowMs);
    const missing = this.#burst - this.#level;
    this.#ratePerMs = ratePerSecond / 1000;
    this.#burst = burst;
    this.#level = Math.max(0, burst - missing);
  }

  /** Most that is ever let through at once. */
  get burst(): number {
    return this.#burst;
  }

  isFull(nowMs: number): boolean {
    this.#refill(nowMs);
    return this.#level >= this.#burst;
  }

  /** Until `amount` would be let through if nobody else took any, rounded up; 0: now; Infinity: never, it is more than the burst. */
  waitMs(amount: number, nowMs: number): number {
    this.#refill(nowMs);
    const missing = amount - this.#level;
    if (missing <= this.#burst * rounding) return 0;
    if (amount > this.#burst) return Infinity;
    return Math.max(1, Math.ceil((missing / this.#ratePerMs) * (1 - rounding)));
  }

  /** Only what `waitMs` says may go now. */
  take(amount: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#level = Math.max(0, this.#level - amount);
  }

  #refill(nowMs: number): void {
    if (nowMs <= this.#atMs) return;
    this.#level = Math.min(this.#burst, this.#level + (nowMs - this.#atMs) * this.#ratePerMs);
    this.#atMs = nowMs;
  }
}
