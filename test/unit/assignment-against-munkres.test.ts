/** The solvers that need not find the optimum, beside the Hungarian method: never better than it, and bounded above it. */
import { munkres } from 'munkres';
import { describe, expect, it } from 'vitest';
import { solveHard } from '../../src/assignment/solve.js';
import { solveSparse } from '../../src/assignment/sparse-solve.js';
import { distanceUtility, hardProblem, uniformUtility } from './assignment-problems.js';

const control = { nowMs: () => 0, cancelled: () => false };
const seed = 5_503;

function optimumOf(agents: number, tasks: number, utility: Float32Array): number {
  const lines = Array.from({ length: agents }, (_, agent) =>
    Array.from({ length: tasks }, (_, task) => -utility[agent * tasks + task]!),
  );
  return munkres(lines).reduce((sum, [agent, task]) => sum - lines[agent]![task]!, 0);
}

describe(`beside the Hungarian method (seed ${seed})`, () => {
  const kinds = [
    { name: 'uniform', make: uniformUtility },
    { name: 'distances', make: (n: number, m: number, from: number) => distanceUtility(n, m, 100, from) },
    { name: 'distances from one corner', make: (n: number, m: number, from: number) => distanceUtility(n, m, 1, from) },
  ];
  for (const { name, make } of kinds) {
    for (const [agents, tasks] of [
      [300, 300],
      [300, 200],
      [200, 300],
    ] as const) {
      const utility = make(agents, tasks, seed);
      const optimum = optimumOf(agents, tasks, utility);
      const rounding = 1e-9 * Math.abs(optimum);

      it(`a greedy answer is complete and bounded: ${name}, ${agents} x ${tasks}`, () => {
        const result = solveHard(hardProblem(agents, tasks, utility, { solver: 'GREEDY' }), control)!;
        expect(result.taskOfAgent.filter((task) => task >= 0)).toHaveLength(Math.min(agents, tasks));
        expect(result.objective).toBeLessThanOrEqual(optimum + rounding);
        expect(result.upperBound).toBeGreaterThanOrEqual(optimum - rounding);
      });

      it(`the solver of large swarms is within a thousandth, and its bound holds: ${name}, ${agents} x ${tasks}`, () => {
        const problem = hardProblem(agents, tasks, new Float32Array(0), { solver: 'EXACT' });
        const result = solveSparse({ ...problem, values: { kind: 'given', utility }, taskPrices: null }, control);
        expect(result.objective).toBeLessThanOrEqual(optimum + rounding);
        expect(result.objective).toBeGreaterThanOrEqual(optimum - 1e-3 * Math.abs(optimum));
        expect(result.upperBound).toBeGreaterThanOrEqual(optimum - rounding);
      });
    }
  }
});
