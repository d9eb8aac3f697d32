import { describe, expect, it } from 'vitest';
import { boundOfPrices } from '../../src/assignment/bound.js';
import { betterBySample } from '../../src/assignment/coarse-prices.js';
import { solveExact } from '../../src/assignment/exact.js';
import { reduceProblem, type Reduction } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';
import { startPrices } from '../../src/assignment/start-prices.js';
import { distanceUtility, hardProblem, uniformUtility } from './assignment-problems.js';

const never = () => false;
const seed = 6_113;
const count = 600;

function provenBy(reduction: Reduction, price: Float64Array): number {
  return boundOfPrices(reduction, reduction.agents.length, -Infinity, price, never);
}

function optimumOf(reduction: Reduction): number {
  const { columnOfRow } = solveExact(reduction, null, never);
  let value = reduction.base;
  columnOfRow.forEach((column, row) => {
    if (column >= 0) value -= reduction.cost[row * reduction.tasks.length + column]!;
  });
  return value;
}

describe('prices of a sample', () => {
  const corner = distanceUtility(count, count, 5, seed);
  const cases = [
    { name: 'as many places as agents', problem: hardProblem(count, count, corner) },
    {
      name: 'two places of each task',
      problem: hardProblem(count, count / 2, distanceUtility(count, count / 2, 5, seed), {
        capacities: new Uint32Array(count / 2).fill(2),
      }),
    },
  ];
  for (const { name, problem } of cases) {
    it(`prove most of what there is where agents start in a corner: ${name} (seed ${seed})`, () => {
      const reduction = reduceProblem(problem);
      const cold = startPrices(reduction, null, count);
      const best = optimumOf(reduction);
      const before = provenBy(reduction, cold) - best;
      const price = betterBySample(reduction, cold, never);
      if (price === null) throw new Error('the sample was thought to be of no use');
      expect(price.every((value) => value >= 0)).toBe(true);
      const after = provenBy(reduction, price) - best;
      expect(after).toBeGreaterThanOrEqual(0);
      expect(after).toBeLessThan(before / 4);
    });
  }

  it(`are not taken where they say nothing, and not asked for where pairs are forbidden, somebody may or must idle or agents are few (seed ${seed})`, () => {
    const noise = reduceProblem(hardProblem(count, count, uniformUtility(count, count, seed)));
    expect(betterBySample(noise, startPrices(noise, null, count), never)).toBeNull();
    const forbidden = corner.slice();
    forbidden[7] = -Infinity;
    for (const problem of [
      hardProblem(count, count, forbidden),
      hardProblem(count, count, corner, { idleUtility: -90 }),
      hardProblem(count, 500, distanceUtility(count, 500, 5, seed)),
      hardProblem(300, 300, distanceUtility(300, 300, 5, seed)),
    ]) {
      const reduction = reduceProblem(problem);
      expect(betterBySample(reduction, new Float64Array(reduction.tasks.length), never)).toBeNull();
    }
  });

  it('leave the auction an answer that is allowed, with a bound that holds, whenever it is stopped', () => {
    const problem = hardProblem(count, count, corner, { solver: 'AUCTION', budgetMs: 1 });
    const best = optimumOf(reduceProblem(problem));
    for (const questions of [1, 3, 10, 40, 150, 600]) {
      let asked = 0;
      const result = solveHard(problem, { nowMs: () => (++asked > questions ? 2 : 0), cancelled: never })!;
      expect(new Set(result.taskOfAgent).size).toBe(count);
      expect(result.objective).toBeLessThanOrEqual(best + 1e-9 * Math.abs(best));
      expect(result.upperBound).toBeGreaterThanOrEqual(best);
    }
  });
});
