import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certifiedUpperBound } from '../../src/assignment/bound.js';
import { solveExact } from '../../src/assignment/exact.js';
import type { HardProblem } from '../../src/assignment/hard.js';
import { type Reduction, reduceProblem } from '../../src/assignment/reduction.js';
import type { SolverStart } from '../../src/assignment/solver-outcome.js';
import { bruteForce, problems } from '../assignment-cases.js';
import { checkColumns, leastCost } from '../unit/assignment-certificate.js';

const never = (): boolean => false;

/** fast-check prints the seed and the smallest counterexample itself. */
const runs = { numRuns: 3000 };

const anyNumber = fc.oneof(
  { weight: 4, arbitrary: fc.double({ min: 0, max: 20, noNaN: true }) },
  { weight: 2, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity, 1e300, 1e16, -5, 5e-324, 0) },
);

/** Starts of the size of any problem here, cut to fit. */
const starts = fc.record({
  prices: fc.option(fc.array(anyNumber, { minLength: 6, maxLength: 6 }), { nil: null }),
  columns: fc.option(fc.array(fc.integer({ min: -3, max: 8 }), { minLength: 6, maxLength: 6 }), { nil: null }),
});

function fit(
  reduction: Reduction,
  { prices, columns }: { prices: number[] | null; columns: number[] | null },
): SolverStart {
  return {
    columnPrice: prices === null ? null : Float64Array.from(reduction.tasks, (_, at) => prices[at]!),
    columnOfRow: columns === null ? null : Int32Array.from(reduction.agents, (_, at) => columns[at]!),
  };
}

/** The optimum in terms of the reduction: locked agents and those that nothing is left for are not in it. */
function optimumOf(problem: HardProblem, reduction: Reduction): { cost: number; cardinality: number } {
  const best = bruteForce(problem);
  const locked = reduction.lockedTasks.filter((task) => task >= 0).length;
  return { cost: reduction.base - best.objective, cardinality: best.cardinality - locked };
}

describe('the exact solver against brute force', () => {
  it('is as good from nothing and from any start, and proves it by its prices', () => {
    fc.assert(
      fc.property(problems, starts, (problem, drawn) => {
        const reduction = reduceProblem(problem);
        const optimum = optimumOf(problem, reduction);
        const cold = solveExact(reduction, null, never);
        for (const start of [null, fit(reduction, drawn), cold]) {
          const outcome = solveExact(reduction, start, never);
          expect(outcome.complete).toBe(true);
          const { cost, cardinality } = checkColumns(reduction, outcome.columnOfRow);
          expect(cost).toBeCloseTo(optimum.cost, 8);
          if (!reduction.idleAllowed) expect(cardinality).toBe(optimum.cardinality);
          expect(leastCost(reduction, outcome.columnPrice, cardinality)).toBeCloseTo(optimum.cost, 8);
        }
      }),
      runs,
    );
  });

  it('answers something allowed of greatest cardinality at every question whether to stop, with a bound that holds', () => {
    fc.assert(
      fc.property(problems, starts, (problem, drawn) => {
        const reduction = reduceProblem(problem);
        const optimum = optimumOf(problem, reduction);
        for (const start of [null, fit(reduction, drawn)]) {
          let complete = false;
          for (let stopAt = 1; !complete; stopAt++) {
            let calls = 0;
            const outcome = solveExact(reduction, start, () => ++calls >= stopAt, 1);
            complete = outcome.complete;
            // It is not asked again once it was told to stop, and only then not done.
            expect(calls).toBeLessThanOrEqual(stopAt);
            expect(complete).toBe(calls < stopAt);
            const { cost, cardinality } = checkColumns(reduction, outcome.columnOfRow);
            if (!reduction.idleAllowed) expect(cardinality).toBe(optimum.cardinality);
            expect(cost).toBeGreaterThanOrEqual(optimum.cost - 1e-8);
            const slack = 1e-9 * (1 + Math.max(0, ...outcome.columnPrice));
            expect(leastCost(reduction, outcome.columnPrice, optimum.cardinality)).toBeLessThanOrEqual(
              optimum.cost + slack,
            );
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('gives prices that bound.ts makes a bound of', () => {
    fc.assert(
      fc.property(problems, (problem) => {
        const reduction = reduceProblem(problem);
        const { cost, cardinality } = optimumOf(problem, reduction);
        const outcome = solveExact(reduction, null, never);
        const column = new Float32Array(problem.taskCount);
        outcome.columnPrice.forEach((price, at) => (column[reduction.tasks[at]!] = -price));
        const potentials = { row: new Float32Array(problem.agentCount), column };
        const objective = reduction.base - cost;
        const bound = certifiedUpperBound(reduction, cardinality, objective - 100, potentials);
        expect(bound).toBeGreaterThanOrEqual(objective - 1e-9);
      }),
      runs,
    );
  });
});
