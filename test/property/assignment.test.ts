import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certifiedUpperBound } from '../../src/assignment/bound.js';
import { solveGreedy } from '../../src/assignment/greedy.js';
import type { HardProblem, HardResult } from '../../src/assignment/hard.js';
import { reduceProblem } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';

const control = { nowMs: () => 0, cancelled: () => false };

interface Best {
  readonly cardinality: number;
  readonly objective: number;
}

/** Value of a pair by the definition in hard.ts, independently of the solvers. */
function valueOf(problem: HardProblem, agent: number, task: number, withKeep: boolean): number {
  const cell = agent * problem.taskCount + task;
  const kept = withKeep && problem.previous?.[agent] === task ? problem.keepBonus : 0;
  return problem.utility[cell]! + (problem.bias?.[cell] ?? 0) + kept;
}

/** Tries every assignment. Greatest cardinality first, where there is no idle utility. */
function bruteForce(problem: HardProblem): Best {
  const left = Array.from({ length: problem.taskCount }, (_, task) =>
    problem.taskActive[task] === 1 ? (problem.capacities?.[task] ?? 1) : 0,
  );
  let best: Best = { cardinality: -1, objective: -Infinity };
  const visit = (agent: number, cardinality: number, objective: number): void => {
    if (agent === problem.agentCount) {
      const larger = problem.idleUtility === null && cardinality > best.cardinality;
      const comparable = problem.idleUtility !== null || cardinality === best.cardinality;
      if (larger || (comparable && objective > best.objective)) best = { cardinality, objective };
      return;
    }
    if (problem.agentActive[agent] === 0) {
      visit(agent + 1, cardinality, objective);
      return;
    }
    const lock = problem.locks?.[agent] ?? -2;
    if (lock < 0) visit(agent + 1, cardinality, objective + (problem.idleUtility ?? 0));
    if (lock === -1) return;
    for (let task = 0; task < problem.taskCount; task++) {
      const value = valueOf(problem, agent, task, true);
      if (left[task] === 0 || value === -Infinity || (lock >= 0 && lock !== task)) continue;
      left[task]!--;
      visit(agent + 1, cardinality + 1, objective + value);
      left[task]!++;
    }
  };
  visit(0, 0, 0);
  return best;
}

/** Checks every rule an answer must keep; returns its cardinality. */
function checkFeasible(problem: HardProblem, result: HardResult): number {
  const used = new Array<number>(problem.taskCount).fill(0);
  let cardinality = 0;
  let objective = 0;
  let totalUtility = 0;
  expect(result.taskOfAgent).toHaveLength(problem.agentCount);
  result.taskOfAgent.forEach((task, agent) => {
    const lock = problem.locks?.[agent] ?? -2;
    if (problem.agentActive[agent] === 0) {
      expect(task).toBe(-1);
      return;
    }
    if (lock !== -2) expect(task).toBe(lock);
    if (task === -1) {
      objective += problem.idleUtility ?? 0;
      totalUtility += problem.idleUtility ?? 0;
      return;
    }
    cardinality++;
    used[task]!++;
    expect(problem.taskActive[task]).toBe(1);
    objective += valueOf(problem, agent, task, true);
    totalUtility += valueOf(problem, agent, task, false);
    expect(Number.isFinite(objective)).toBe(true);
  });
  used.forEach((count, task) => expect(count).toBeLessThanOrEqual(problem.capacities?.[task] ?? 1));
  expect(result.objective).toBeCloseTo(objective, 9);
  expect(result.totalUtility).toBeCloseTo(totalUtility, 9);
  return cardinality;
}

const utility = fc.oneof(
  { weight: 6, arbitrary: fc.double({ min: -10, max: 10, noNaN: true }) },
  { weight: 3, arbitrary: fc.integer({ min: -2, max: 2 }) },
  { weight: 3, arbitrary: fc.constant(-Infinity) },
);

/** Problems of up to 6 x 6 with every kind of constraint at once; locks are made consistent with the rest. */
const problems: fc.Arbitrary<HardProblem> = fc
  .record({ agents: fc.integer({ min: 1, max: 6 }), tasks: fc.integer({ min: 0, max: 6 }) })
  .chain(({ agents, tasks }) => {
    const cells = { minLength: agents * tasks, maxLength: agents * tasks };
    const perAgent = { minLength: agents, maxLength: agents };
    const perTask = { minLength: tasks, maxLength: tasks };
    const mostlyOn = fc.oneof({ weight: 5, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(0) });
    const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null });
    return fc
      .record({
        utility: fc.oneof(fc.array(utility, cells), fc.array(fc.double({ min: -10, max: 10, noNaN: true }), cells)),
        bias: maybe(fc.array(utility, cells)),
        agentActive: fc.array(mostlyOn, perAgent),
        taskActive: fc.array(mostlyOn, perTask),
        capacities: maybe(fc.array(fc.integer({ min: 0, max: 8 }), perTask)),
        idleUtility: maybe(fc.double({ min: -12, max: 12, noNaN: true })),
        previous: maybe(fc.array(fc.integer({ min: -1, max: tasks - 1 }), perAgent)),
        keepBonus: fc.double({ min: 0, max: 5, noNaN: true }),
        locks: maybe(
          fc.array(
            fc.oneof(
              { weight: 3, arbitrary: fc.constant(-2) },
              { weight: 1, arbitrary: fc.integer({ min: -1, max: tasks - 1 }) },
            ),
            perAgent,
          ),
        ),
      })
      .map((drawn): HardProblem => {
        const problem = {
          agentCount: agents,
          taskCount: tasks,
          utility: Float32Array.from(drawn.utility),
          bias: drawn.bias === null ? null : Float32Array.from(drawn.bias),
          agentActive: Uint8Array.from(drawn.agentActive),
          taskActive: Uint8Array.from(drawn.taskActive),
          capacities: drawn.capacities === null ? null : Uint32Array.from(drawn.capacities),
          idleUtility: drawn.idleUtility,
          previous: drawn.previous === null ? null : Int32Array.from(drawn.previous),
          keepBonus: drawn.keepBonus,
          locks: drawn.locks === null ? null : Int32Array.from(drawn.locks),
          solver: 'EXACT' as const,
          budgetMs: null,
          potentials: null,
          maxChange: null,
          warm: null,
        };
        dropContradictions(problem);
        return problem;
      });
  });

function dropContradictions(problem: HardProblem): void {
  if (problem.locks === null) return;
  const left = Array.from({ length: problem.taskCount }, (_, task) => problem.capacities?.[task] ?? 1);
  problem.locks.forEach((lock, agent) => {
    if (lock < 0 || problem.agentActive[agent] === 0) return;
    const allowed = problem.taskActive[lock] === 1 && valueOf(problem, agent, lock, true) > -Infinity;
    if (allowed && left[lock]! > 0) left[lock]!--;
    else problem.locks![agent] = -2;
  });
}

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
