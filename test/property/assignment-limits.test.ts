import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { solveAuction } from '../../src/assignment/auction.js';
import { solveExact } from '../../src/assignment/exact.js';
import type { HardProblem } from '../../src/assignment/hard.js';
import { changeLimitOf } from '../../src/assignment/hysteresis.js';
import { type Reduction, reduceProblem } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';
import type { SolverOutcome, SolverStart } from '../../src/assignment/solver-outcome.js';
import { bruteForce, changesOf, checkFeasible, problems } from '../assignment-cases.js';

const control = { nowMs: () => 0, cancelled: () => false };
const runs = { numRuns: 2000 };

/** Stops at the `count`-th question. */
const stopAfter = (count: number): (() => boolean) => {
  let asked = 0;
  return () => ++asked > count;
};

/** Weak duality by the book: what any prices prove about any assignment of `cardinality` rows (with idling: of any). */
function provenBound(reduction: Reduction, columnPrice: Float64Array, cardinality: number): number {
  const { cost, capacities, idleAllowed, base, agents } = reduction;
  const width = columnPrice.length;
  const best = Array.from(agents, (_, row) => {
    let greatest = -Infinity;
    for (let column = 0; column < width; column++) {
      greatest = Math.max(greatest, -cost[row * width + column]! - columnPrice[column]!);
    }
    return greatest;
  });
  const places = columnPrice.reduce((sum, price, column) => sum + price * capacities[column]!, 0);
  best.sort((left, right) => right - left);
  const counted = idleAllowed ? best.filter((value) => value > 0) : best.slice(0, cardinality);
  return base + places + counted.reduce((sum, value) => sum + value, 0);
}

function checkOutcome(problem: HardProblem, reduction: Reduction, outcome: SolverOutcome): void {
  const best = bruteForce(problem);
  const { cost, capacities, tasks, agents } = reduction;
  const left = capacities.slice();
  let total = 0;
  let cardinality = 0;
  expect(outcome.columnOfRow).toHaveLength(agents.length);
  outcome.columnOfRow.forEach((column, row) => {
    if (column < 0) return;
    cardinality++;
    total += cost[row * tasks.length + column]!;
    expect(--left[column]!).toBeGreaterThanOrEqual(0);
  });
  expect(Number.isFinite(total)).toBe(true);
  const locked = reduction.lockedTasks.filter((task) => task >= 0).length;
  if (problem.idleUtility === null) expect(cardinality + locked).toBe(best.cardinality);
  expect(reduction.base - total).toBeLessThanOrEqual(best.objective + 1e-8);
  for (const price of outcome.columnPrice) expect(price >= 0 && price < Infinity).toBe(true);
  expect(provenBound(reduction, outcome.columnPrice, cardinality)).toBeGreaterThanOrEqual(best.objective - 1e-8);
}

const price = fc.oneof(
  fc.double({ min: 0, max: 20, noNaN: true }),
  fc.constantFrom(NaN, Infinity, -Infinity, -1, 0, 1e30),
);
interface DrawnStart {
  readonly prices: readonly number[] | null;
  readonly columns: readonly number[] | null;
}

const starts: fc.Arbitrary<DrawnStart | null> = fc.option(
  fc.record({
    prices: fc.option(fc.array(price, { minLength: 1, maxLength: 6 }), { nil: null }),
    columns: fc.option(fc.array(fc.integer({ min: -1, max: 7 }), { minLength: 1, maxLength: 6 }), { nil: null }),
  }),
  { nil: null },
);

function startFor(reduction: Reduction, drawn: DrawnStart | null): SolverStart | null {
  if (drawn === null) return null;
  const { prices, columns } = drawn;
  return {
    columnPrice:
      prices === null ? null : Float64Array.from(reduction.tasks, (_, column) => prices[column % prices.length]!),
    columnOfRow:
      columns === null ? null : Int32Array.from(reduction.agents, (_, row) => columns[row % columns.length]!),
  };
}

describe('solvers of reduced problems', () => {
  it('auction: allowed, of greatest cardinality and truly bounded, whatever it starts from and whenever it is stopped', () => {
    fc.assert(
      fc.property(problems, starts, fc.integer({ min: 0, max: 40 }), (problem, drawn, questions) => {
        const reduction = reduceProblem(problem);
        const shouldStop = stopAfter(questions);
        checkOutcome(
          problem,
          reduction,
          solveAuction(reduction, startFor(reduction, drawn), { shouldStop, targetGap: 0, interval: 1 }),
        );
      }),
      runs,
    );
  });

  it('exact: the same', () => {
    fc.assert(
      fc.property(problems, starts, fc.integer({ min: 0, max: 40 }), (problem, drawn, questions) => {
        const reduction = reduceProblem(problem);
        checkOutcome(problem, reduction, solveExact(reduction, startFor(reduction, drawn), stopAfter(questions), 1));
      }),
      runs,
    );
  });

  it('auction: within its target of the optimum when it ends by itself', () => {
    fc.assert(
      fc.property(problems, starts, (problem, drawn) => {
        const reduction = reduceProblem(problem);
        const outcome = solveAuction(reduction, startFor(reduction, drawn), {
          shouldStop: () => false,
          targetGap: 1e-6,
        });
        expect(outcome.complete).toBe(true);
        const result = solveHard({ ...problem, solver: 'AUCTION' }, control)!;
        const cardinality = checkFeasible(problem, result);
        const best = bruteForce(problem);
        if (problem.idleUtility === null) expect(cardinality).toBe(best.cardinality);
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective);
        expect(best.objective - result.objective).toBeLessThanOrEqual(1e-4 * Math.abs(best.objective) + 1e-6);
      }),
      runs,
    );
  });
});

describe('max_change', () => {
  const limited = fc
    .record({
      drawn: problems.filter((problem) => problem.previous !== null),
      maxChange: fc.double({ min: 0, max: 1, noNaN: true }),
      solver: fc.constantFrom('EXACT' as const, 'AUCTION' as const, 'GREEDY' as const, 'AUTO' as const),
    })
    .map(({ drawn, maxChange, solver }): HardProblem => ({ ...drawn, maxChange, solver }));

  it('never changes more than it says or must, bounds truly, and is within the gap of the best within the limit', () => {
    let optimal = 0;
    let bound = 0;
    fc.assert(
      fc.property(limited, (problem) => {
        const result = solveHard(problem, control)!;
        const cardinality = checkFeasible(problem, result);
        let limit = changeLimitOf(problem)!;
        while (bruteForce(problem, limit).cardinality < 0) limit++;
        expect(changesOf(problem, result.taskOfAgent)).toBeLessThanOrEqual(limit);
        const best = bruteForce(problem, limit);
        if (problem.idleUtility === null) expect(cardinality).toBeLessThanOrEqual(best.cardinality);
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective - 1e-9);
        expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
        if (problem.solver === 'GREEDY' || !result.changeLimited) return;
        bound++;
        const same = problem.idleUtility !== null || cardinality === best.cardinality;
        if (same) expect(result.objective).toBeLessThanOrEqual(best.objective + 1e-8);
        if (same && result.objective >= best.objective - 1e-8) optimal++;
      }),
      runs,
    );
    // A measure of quality: nearly always the very best.
    expect(optimal / bound).toBeGreaterThan(0.9);
  });

  it('changes nothing it need not at 0, and is no limit at 1', () => {
    fc.assert(
      fc.property(limited, (drawn) => {
        const kept = solveHard({ ...drawn, solver: 'EXACT', maxChange: 0 }, control)!;
        let forced = 0;
        while (bruteForce(drawn, forced).cardinality < 0) forced++;
        expect(changesOf(drawn, kept.taskOfAgent)).toBe(forced);
        const free = solveHard({ ...drawn, solver: 'EXACT', maxChange: 1 }, control)!;
        expect(free.changeLimited).toBe(false);
        expect(free.objective).toBeCloseTo(bruteForce(drawn).objective, 8);
      }),
      { numRuns: 500 },
    );
  });
});
