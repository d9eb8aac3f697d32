/**
 * Splits a round trip between two threads into its two directions, although their clocks start at different times.
 * Both clocks are the machine's monotonic one, so their difference is constant: no message arrives before it was
 * sent, hence every round trip bounds the difference from both sides, and the middle of the tightest bounds is off by at
 * most half of the fastest round trip's two latencies.
 */
export class ClockOffset {
  #low = -Infinity;
  #high = Infinity;

  /**
   * Times in ms: `sentMs` and `returnedMs` on this thread's clock, `receivedMs` and `repliedMs` on the other one's.
   * Both answers are at least 0 and add up to the time on the way.
   */
  split(
    sentMs: number,
    receivedMs: number,
    repliedMs: number,
    returnedMs: number,
  ): { thereMs: number; backMs: number } {
    this.#high = Math.min(this.#high, receivedMs - sentMs);
    this.#low = Math.max(this.#low, repliedMs - returnedMs);
    const offset = (this.#low + this.#high) / 2;
    const onTheWay = Math.max(0, returnedMs - sentMs - (repliedMs - receivedMs));
    const thereMs = Math.min(Math.max(0, receivedMs - sentMs - offset), onTheWay);
    return { thereMs, backMs: onTheWay - thereMs };
  }
}
