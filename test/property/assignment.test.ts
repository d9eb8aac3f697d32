import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certifiedUpperBound } from '../../src/assignment/bound.js';
import { solveGreedy } from '../../src/assignment/greedy.js';
import type { HardProblem } from '../../src/assignment/hard.js';
import { reduceProblem } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';
import { bruteForce, checkFeasible, problems } from '../assignment-cases.js';

const control = { nowMs: () => 0, cancelled: () => false };

const potentialsFor = (problem: HardProblem, values: readonly number[]): HardProblem['potentials'] => ({
  row: Float32Array.from({ length: problem.agentCount }, (_, agent) => values[agent % values.length]!),
  column: Float32Array.from({ length: problem.taskCount }, (_, task) => values[(7 * task + 3) % values.length]!),
});

/** fast-check prints the seed and the smallest counterexample itself. */
const runs = { numRuns: 3000 };

describe('hard assignment against brute force', () => {
  it('gives a feasible optimum of greatest cardinality when exact', () => {
    fc.assert(
      fc.property(problems, (problem) => {
        const best = bruteForce(problem);
        const result = solveHard(problem, control)!;
        const cardinality = checkFeasible(problem, result);
        if (problem.idleUtility === null) expect(cardinality).toBe(best.cardinality);
        expect(result.objective).toBeCloseTo(best.objective, 8);
        expect(result.upperBound).toBe(result.objective);
        expect(result.solver).toBe('exact');
      }),
      runs,
    );
  });

  it('gives a feasible greedy answer of greatest cardinality, bounded from above by no less than the optimum', () => {
    fc.assert(
      fc.property(problems, (drawn) => {
        const problem: HardProblem = { ...drawn, solver: 'GREEDY' };
        const best = bruteForce(problem);
        const result = solveHard(problem, control)!;
        const cardinality = checkFeasible(problem, result);
        if (problem.idleUtility === null) expect(cardinality).toBe(best.cardinality);
        expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective);
        expect(result.objective).toBeLessThanOrEqual(best.objective + 1e-9);
        expect(result.solver).toBe('greedy');
      }),
      runs,
    );
  });

  it('never bounds below the optimum, whatever the potentials', () => {
    const garbage = fc.array(
      fc.oneof(
        fc.double({ min: -20, max: 20, noNaN: true }),
        fc.constantFrom(NaN, Infinity, -Infinity, 1e30, -1e30, 0),
      ),
      { minLength: 1, maxLength: 9 },
    );
    fc.assert(
      fc.property(problems, garbage, (drawn, values) => {
        const problem = { ...drawn, solver: 'GREEDY' as const, potentials: potentialsFor(drawn, values) };
        const best = bruteForce(problem);
        const result = solveHard(problem, control)!;
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective);
        expect(Number.isFinite(result.upperBound)).toBe(true);
        // By itself, without a good assignment to lean on.
        const reduction = reduceProblem(problem);
        const cardinality = solveGreedy(reduction).filter((column) => column >= 0).length;
        const alone = certifiedUpperBound(reduction, cardinality, best.objective - 10, problem.potentials);
        expect(alone).toBeGreaterThanOrEqual(best.objective);
      }),
      runs,
    );
  });

  it('takes the best available pair each time when greedy, ties to the lower agent and task', () => {
    fc.assert(
      fc.property(problems, (problem) => {
        const reduction = reduceProblem(problem);
        const width = reduction.tasks.length;
        const left = reduction.capacities.slice();
        const expected = new Int32Array(reduction.agents.length).fill(-1);
        const order = Array.from(reduction.cost.keys()).filter((cell) => reduction.cost[cell]! < Infinity);
        order.sort((a, b) => reduction.cost[a]! - reduction.cost[b]! || a - b);
        for (const cell of order) {
          const row = Math.floor(cell / width);
          const column = cell % width;
          if (expected[row] !== -1 || left[column] === 0) continue;
          expected[row] = column;
          left[column]!--;
        }
        const actual = solveGreedy(reduction);
        // Where plain greed leaves nobody out, nothing is changed afterwards.
        if (reduction.idleAllowed || !expected.includes(-1)) expect(actual).toEqual(expected);
      }),
      runs,
    );
  });

  it('bounds a problem in which everybody is locked by what the locks are worth', () => {
    const problem: HardProblem = {
      agentCount: 2,
      taskCount: 2,
      utility: Float32Array.of(1, 2, 4, 8),
      bias: null,
      agentActive: Uint8Array.of(1, 1),
      taskActive: Uint8Array.of(1, 1),
      capacities: null,
      idleUtility: null,
      previous: null,
      keepBonus: 0,
      locks: Int32Array.of(1, -1),
      solver: 'GREEDY',
      maxChange: null,
      warm: null,
      budgetMs: null,
      potentials: null,
    };
    const reduction = reduceProblem(problem);
    expect(certifiedUpperBound(reduction, 0, 2, null)).toBe(2);
  });
});
