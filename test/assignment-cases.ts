/** Small hard problems with every kind of constraint, and what is true of their answers, tried out. */
import fc from 'fast-check';
import { expect } from 'vitest';
import type { HardProblem, HardResult } from '../src/assignment/hard.js';

export interface Best {
  readonly cardinality: number;
  readonly objective: number;
}

/** Value of a pair by the definition in hard.ts, independently of the solvers. */
export function valueOf(problem: HardProblem, agent: number, task: number, withKeep: boolean): number {
  const cell = agent * problem.taskCount + task;
  const kept = withKeep && problem.previous?.[agent] === task ? problem.keepBonus : 0;
  return problem.utility[cell]! + (problem.bias?.[cell] ?? 0) + kept;
}

/** Tries every assignment with as many changes at most. Greatest cardinality first, where there is no idle utility. */
export function bruteForce(problem: HardProblem, mostChanges = Infinity): Best {
  const left = Array.from({ length: problem.taskCount }, (_, task) =>
    problem.taskActive[task] === 1 ? (problem.capacities?.[task] ?? 1) : 0,
  );
  let best: Best = { cardinality: -1, objective: -Infinity };
  const visit = (agent: number, cardinality: number, objective: number, changes: number): void => {
    if (changes > mostChanges) return;
    if (agent === problem.agentCount) {
      const larger = problem.idleUtility === null && cardinality > best.cardinality;
      const comparable = problem.idleUtility !== null || cardinality === best.cardinality;
      if (larger || (comparable && objective > best.objective)) best = { cardinality, objective };
      return;
    }
    if (problem.agentActive[agent] === 0) {
      visit(agent + 1, cardinality, objective, changes);
      return;
    }
    const lock = problem.locks?.[agent] ?? -2;
    const changed = (task: number): number => changes + Number((problem.previous?.[agent] ?? task) !== task);
    if (lock < 0) visit(agent + 1, cardinality, objective + (problem.idleUtility ?? 0), changed(-1));
    if (lock === -1) return;
    for (let task = 0; task < problem.taskCount; task++) {
      const value = valueOf(problem, agent, task, true);
      if (left[task] === 0 || value === -Infinity || (lock >= 0 && lock !== task)) continue;
      left[task]!--;
      visit(agent + 1, cardinality + 1, objective + value, changed(task));
      left[task]!++;
    }
  };
  visit(0, 0, 0, 0);
  return best;
}

/** Checks every rule an answer must keep; returns its cardinality. */
export function checkFeasible(problem: HardProblem, result: HardResult): number {
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

/** Problems of up to 7 x 7 with every kind of constraint at once; locks are made consistent with the rest. */
export const problems: fc.Arbitrary<HardProblem> = fc
  .record({ agents: fc.integer({ min: 1, max: 7 }), tasks: fc.integer({ min: 0, max: 7 }) })
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

/** Active agents whose task is not the previous one. */
export function changesOf(problem: HardProblem, taskOfAgent: Int32Array): number {
  return taskOfAgent.filter((task, agent) => problem.agentActive[agent] === 1 && task !== problem.previous?.[agent])
    .length;
}
