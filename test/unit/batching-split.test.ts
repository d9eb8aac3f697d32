import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextBatchSize } from '../../src/batching/split.js';

const sizes = [1, 2, 4, 8, 16, 32];
const line = (fixedMs: number, slotMs: number) => (size: number) => fixedMs + slotMs * size;

const positive = fc.double({ min: 0.01, max: 100, noNaN: true });
/** Any costs of which a larger batch has no smaller one. */
const ascendingCosts = fc.array(positive, { minLength: sizes.length, maxLength: sizes.length }).map((costs) => {
  const ascending = costs.toSorted((a, b) => a - b);
  return (size: number) => ascending[sizes.indexOf(size)]!;
});

/** Sizes in the order in which `count` jobs are run one batch after another. */
function plan(count: number, runMs: (size: number) => number): number[] {
  const batches: number[] = [];
  for (let left = count; left > 0; left -= batches.at(-1)!) batches.push(nextBatchSize(left, 1, sizes, runMs));
  return batches;
}

describe('the next batch size', () => {
  it('is what holds all jobs where padding costs nothing', () => {
    for (let count = 1; count <= 32; count++) {
      expect(nextBatchSize(count, 1, sizes, () => 4)).toBe(sizes.find((size) => size >= count));
    }
  });

  it('is a full one where each slot costs, the largest first', () => {
    expect(plan(20, line(0.1, 0.5))).toEqual([16, 4]);
    expect(plan(24, line(0.1, 0.5))).toEqual([16, 8]);
    expect(plan(9, line(0.1, 0.5))).toEqual([8, 1]);
  });

  it('is a padded one where the fixed part outweighs the padding', () => {
    expect(plan(20, line(10, 0.5))).toEqual([32]);
    expect(plan(31, line(0.1, 0.5))).toEqual([32]);
    // 16 and 1 cost 28.5 together, 32 alone 26.
    expect(plan(17, line(10, 0.5))).toEqual([32]);
    expect(plan(17, line(1, 0.5))).toEqual([16, 1]);
  });

  it('is a smaller one where a larger one costs more for each slot', () => {
    const runMs = (size: number) => (size === 32 ? 40 : size);
    expect(nextBatchSize(32, 1, sizes, runMs)).toBe(16);
  });

  it('spreads the jobs over places side by side where that ends sooner', () => {
    expect(nextBatchSize(32, 4, sizes, line(0.1, 0.5))).toBe(8);
    expect(nextBatchSize(32, 2, sizes, line(0.1, 0.5))).toBe(16);
    expect(nextBatchSize(3, 8, sizes, line(0.1, 0.5))).toBe(1);
    expect(nextBatchSize(32, 4, sizes, line(10, 0.01))).toBe(32);
  });

  it('ends within a ninth of the least time that any cut of the jobs takes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 32 }), ascendingCosts, (count, runMs) => {
        const least = [0];
        for (let jobs = 1; jobs <= count; jobs++) {
          least.push(Math.min(...sizes.map((size) => runMs(size) + least[Math.max(jobs - size, 0)]!)));
        }
        const first = nextBatchSize(count, 1, sizes, runMs);
        const takenMs = runMs(first) + least[Math.max(count - first, 0)]!;
        expect(takenMs).toBeLessThanOrEqual(least[count]! * (10 / 9) * 1.000001);
      }),
    );
  });

  it('is never slower than padding all jobs to one batch where a run costs a fixed part and one for each slot', () => {
    const costs = fc.tuple(positive, positive).map(([fixedMs, slotMs]) => line(fixedMs, slotMs));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 32 }), costs, (count, runMs) => {
        const splitMs = plan(count, runMs).reduce((sum, size) => sum + runMs(size), 0);
        const paddedMs = runMs(sizes.find((size) => size >= count)!);
        expect(splitMs).toBeLessThanOrEqual(paddedMs * 1.000001);
      }),
      { numRuns: 1000 },
    );
  });
});
