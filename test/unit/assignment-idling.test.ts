/** Idle utilities far below all else: they decide who works, and must not blur who does what. */
import { describe, expect, it } from 'vitest';
import type { HardProblem, HardResult } from '../../src/assignment/hard.js';
import { idlingNeverPays } from '../../src/assignment/idling.js';
import { solveHard } from '../../src/assignment/solve.js';
import type { SparseProblem } from '../../src/assignment/sparse-problem.js';
import { solveSparse } from '../../src/assignment/sparse-solve.js';
import type { Solver } from '../../src/problem.js';
import { bruteForce } from '../assignment-cases.js';
import { distanceUtility, hardProblem, randomFrom } from './assignment-problems.js';

const seed = 9_241;
const control = { nowMs: () => 0, cancelled: () => false };
const farBelow = [-1e4, -1e9, -1e15, -1e20, -3e38];

function solve(problem: HardProblem): HardResult {
  return solveHard(problem, control)!;
}

/** What the assigned pairs are worth, and how many there are. */
function workOf({ utility, taskCount }: HardProblem, { taskOfAgent }: HardResult): { pairs: number; worth: number } {
  let worth = 0;
  let pairs = 0;
  taskOfAgent.forEach((task, agent) => {
    if (task < 0) return;
    worth += utility[agent * taskCount + task]!;
    pairs++;
  });
  return { pairs, worth };
}

describe(`an idle utility far below all else (seed ${seed})`, () => {
  for (const [agents, tasks] of [
    [30, 40],
    [40, 40],
    [40, 30],
  ] as const) {
    for (const solver of ['AUTO', 'EXACT'] as const) {
      it(`leaves the best assignment the best, to the last digit: ${agents} x ${tasks}, ${solver}`, () => {
        const problem = hardProblem(agents, tasks, distanceUtility(agents, tasks, 100, seed), { solver });
        const best = solve(problem);
        for (const idleUtility of farBelow) {
          const result = solve({ ...problem, idleUtility });
          expect(workOf(problem, result)).toEqual(workOf(problem, best));
          const idle = idleUtility * Math.max(agents - tasks, 0);
          expect(Math.abs(result.objective / (best.objective + idle) - 1)).toBeLessThan(1e-9);
          expect(result).toMatchObject({ solver: 'exact', upperBound: result.objective });
        }
      });
    }
  }

  for (const solver of ['AUCTION', 'GREEDY'] as const) {
    it(`leaves the gap of an answer and its bound what they are: ${solver}`, () => {
      const problem = hardProblem(30, 40, distanceUtility(30, 40, 100, seed), { solver });
      const { objective, upperBound } = solve(problem);
      for (const idleUtility of farBelow) {
        expect(solve({ ...problem, idleUtility })).toMatchObject({ objective, upperBound });
      }
    });
  }

  it('with forbidden pairs has as many agents at work as can be, and of those the best', () => {
    const random = randomFrom(seed);
    for (let round = 0; round < 300; round++) {
      const [agents, tasks] = [1 + Math.floor(7 * random()), 1 + Math.floor(7 * random())];
      const utility = Float32Array.from({ length: agents * tasks }, () =>
        random() < 0.5 ? -Infinity : 20 * random() - 10,
      );
      const problem = hardProblem(agents, tasks, utility, { solver: random() < 0.5 ? 'EXACT' : 'AUTO' });
      const best = bruteForce(problem);
      for (const idleUtility of [-500, -1e9, -1e20]) {
        const work = workOf(problem, solve({ ...problem, idleUtility }));
        expect(work.pairs).toBe(best.cardinality);
        expect(work.worth).toBeCloseTo(best.objective, 9);
      }
    }
  });

  it('that one more agent at work could still be worth is weighed like any other', () => {
    // The second agent can only have the task of the first, who would have to take one that is worth 10 less.
    const utility = Float32Array.of(0, -10, 0, -Infinity);
    const idleAt = (idleUtility: number): number =>
      solve(hardProblem(2, 2, utility, { idleUtility, solver: 'EXACT' })).taskOfAgent.filter((task) => task < 0).length;
    expect(idleAt(-9)).toBe(1);
    expect(idleAt(-11)).toBe(0);
    expect(idleAt(-1e15)).toBe(0);
  });
});

describe('where idling never pays', () => {
  const demands = (more: Partial<HardProblem>) => hardProblem(10, 10, new Float32Array(100), more);

  it('is below every pair where all are allowed, and below what others may lose by it where not, or changes are limited', () => {
    const range = { low: -5, high: 5 };
    const pays = (idleUtility: number | null, dense: boolean, more: Partial<HardProblem> = {}): boolean =>
      !idlingNeverPays(demands({ idleUtility, ...more }), { ...range, dense });
    expect(pays(null, true)).toBe(true);
    expect(pays(-5, true)).toBe(true);
    expect(pays(-5.1, true)).toBe(false);
    expect(pays(-5.1, true, { maxChange: 0.5 })).toBe(true);
    expect(pays(-115, false)).toBe(true);
    expect(pays(-115.1, false)).toBe(false);
    expect(idlingNeverPays(demands({ idleUtility: -1 }), null)).toBe(false);
  });
});

describe('large swarms of which some have to idle', () => {
  const swarm = (agents: Float32Array, tasks: Float32Array, idleUtility: number, solver: Solver): SparseProblem => ({
    ...hardProblem(agents.length / 2, tasks.length / 2, new Float32Array(0), { idleUtility, solver }),
    values: { kind: 'distance', agents, stride: 2, tasks, width: 2 },
    taskPrices: null,
  });

  /** Time stands still; looks at the clock count the work. */
  function solved(problem: SparseProblem, mostLooks: number): HardResult {
    let looks = 0;
    const nowMs = (): number => {
      if (++looks > mostLooks) throw new Error(`still at it after ${mostLooks} looks at the clock`);
      return 0;
    };
    return solveSparse(problem, { nowMs, cancelled: () => false });
  }

  for (const solver of ['AUTO', 'EXACT', 'AUCTION'] as const) {
    it(`end without a war of prices where all stand at one point: ${solver}`, () => {
      const result = solved(swarm(new Float32Array(2 * 40), new Float32Array(2 * 35), -10, solver), 10_000);
      expect(result).toMatchObject({ objective: -50, upperBound: -50, solver: 'sparse-exact' });
    });
  }

  for (const solver of ['AUTO', 'AUCTION'] as const) {
    it(`end without one where idling is worth more than a single task: ${solver}`, () => {
      const tasks = new Float32Array(2 * 35);
      tasks[0] = 11;
      const result = solved(swarm(new Float32Array(2 * 40), tasks, -10, solver), 100_000);
      expect(result.objective).toBe(-60);
      expect(result.upperBound - result.objective).toBeLessThan(0.02 * 60);
    });
  }
});
