/** What a token bucket promises, whatever is asked of it and whenever. Virtual time; a failing case prints its seed. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TokenBucket } from '../../src/quota/token-bucket.js';

const asks = fc.array(
  fc.record({
    gapMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 5000, noNaN: true })),
    amount: fc.double({ min: 0.001, max: 30, noNaN: true }),
    /** Whether the asker waits for as long as it is told, and takes then. */
    waits: fc.boolean(),
  }),
  { maxLength: 200 },
);
const rates = fc.record({
  ratePerSecond: fc.double({ min: 0.01, max: 1e4, noNaN: true }),
  burst: fc.double({ min: 0.01, max: 40, noNaN: true }),
});

/** What was taken and when. */
function run(
  { ratePerSecond, burst }: { ratePerSecond: number; burst: number },
  list: readonly { gapMs: number; amount: number; waits: boolean }[],
): { atMs: number; amount: number }[] {
  let nowMs = 0;
  const bucket = new TokenBucket(ratePerSecond, burst, nowMs);
  const taken: { atMs: number; amount: number }[] = [];
  for (const { gapMs, amount, waits } of list) {
    nowMs += gapMs;
    let waitMs = bucket.waitMs(amount, nowMs);
    if (waitMs === Infinity) {
      expect(amount).toBeGreaterThan(burst);
      continue;
    }
    expect(Number.isInteger(waitMs)).toBe(true);
    if (waitMs > 0 && waits) {
      nowMs += waitMs;
      // The time told is enough, but for what numbers of this size are rounded by.
      waitMs = bucket.waitMs(amount, nowMs);
      expect(waitMs).toBeLessThanOrEqual(1);
      nowMs += waitMs;
      waitMs = bucket.waitMs(amount, nowMs);
      expect(waitMs).toBe(0);
    }
    if (waitMs > 0) continue;
    bucket.take(amount, nowMs);
    taken.push({ atMs: nowMs, amount });
  }
  return taken;
}

it('lets through at most the burst and the rate times the time, in every window', () => {
  fc.assert(
    fc.property(rates, asks, (rate, list) => {
      const taken = run(rate, list);
      for (let first = 0; first < taken.length; first++) {
        let sum = 0;
        for (let last = first; last < taken.length; last++) {
          sum += taken[last]!.amount;
          const seconds = (taken[last]!.atMs - taken[first]!.atMs) / 1000;
          expect(sum).toBeLessThanOrEqual((rate.burst + rate.ratePerSecond * seconds) * (1 + 1e-9) + 1e-9);
        }
      }
    }),
    { numRuns: 200 },
  );
});

it('refuses nothing that it told the time of, and never tells longer than the amount takes to flow in', () => {
  fc.assert(
    fc.property(rates, fc.double({ min: 0.01, max: 40, noNaN: true }), (rate, amount) => {
      const bucket = new TokenBucket(rate.ratePerSecond, rate.burst, 0);
      fc.pre(amount <= rate.burst);
      expect(bucket.waitMs(amount, 0)).toBe(0);
      bucket.take(rate.burst, 0);
      const waitMs = bucket.waitMs(amount, 0);
      expect(waitMs).toBeLessThanOrEqual(Math.ceil((amount / rate.ratePerSecond) * 1000 * (1 + 1e-9)));
      expect(bucket.waitMs(amount, waitMs - 1.001)).toBeGreaterThan(0);
    }),
  );
});

it('keeps what was used up where its rate or burst changes', () => {
  fc.assert(
    fc.property(rates, rates, fc.double({ min: 0, max: 1, noNaN: true }), (before, after, share) => {
      const bucket = new TokenBucket(before.ratePerSecond, before.burst, 0);
      const used = before.burst * share;
      bucket.take(used, 0);
      bucket.change(after.ratePerSecond, after.burst, 0);
      const left = Math.max(0, after.burst - used);
      expect(bucket.waitMs(left * (1 - 1e-9), 0)).toBe(0);
      fc.pre(used > 1e-3);
      expect(bucket.waitMs(Math.min(after.burst, left + used / 2), 0)).toBeGreaterThan(0);
    }),
  );
});
