import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pairUtility, type PairValues, type SparseProblem } from '../../src/assignment/sparse-problem.js';
import { solveSparse } from '../../src/assignment/sparse-solve.js';
import type { Solver } from '../../src/problem.js';
import { randomFrom } from '../unit/assignment-problems.js';

const control = { nowMs: () => 0, cancelled: () => false };

interface Best {
  readonly cardinality: number;
  readonly objective: number;
}

/** Tries every assignment; greatest cardinality first where there is no idle utility. */
function bruteForce(problem: SparseProblem): Best {
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
    const lock = problem.locks?.[agent] ?? -2;
    if (problem.agentActive[agent] === 0) {
      visit(agent + 1, cardinality, objective);
      return;
    }
    if (lock < 0) visit(agent + 1, cardinality, objective + (problem.idleUtility ?? 0));
    if (lock === -1) return;
    for (let task = 0; task < problem.taskCount; task++) {
      if (left[task] === 0 || (lock >= 0 && lock !== task)) continue;
      const value = pairUtility(problem, agent, task);
      if (!Number.isFinite(value)) continue;
      left[task]!--;
      const kept = problem.previous?.[agent] === task ? problem.keepBonus : 0;
      visit(agent + 1, cardinality + 1, objective + value + kept);
      left[task]!++;
    }
  };
  visit(0, 0, 0);
  return best;
}

/** Fails where the assignment breaks a constraint; gives how many agents it assigns. */
function assertFeasible(problem: SparseProblem, taskOfAgent: Int32Array): number {
  const load = new Uint32Array(problem.taskCount);
  let cardinality = 0;
  taskOfAgent.forEach((task, agent) => {
    const lock = problem.locks?.[agent] ?? -2;
    if (problem.agentActive[agent] === 0) {
      expect(task).toBe(-1);
      return;
    }
    if (lock !== -2) expect(task).toBe(lock);
    if (task < 0) return;
    cardinality++;
    load[task]!++;
    expect(problem.taskActive[task]).toBe(1);
    expect(Number.isFinite(pairUtility(problem, agent, task))).toBe(true);
    expect(load[task]).toBeLessThanOrEqual(problem.capacities?.[task] ?? 1);
  });
  return cardinality;
}

const kinds = ['plane', 'space', 'wide', 'product', 'given'] as const;

function problemFrom(seed: number, largestSide: number, solver: Solver = 'EXACT'): SparseProblem {
  const random = randomFrom(seed);
  const agentCount = 1 + Math.floor(random() * largestSide);
  const taskCount = 1 + Math.floor(random() * largestSide);
  const floats = (count: number): Float32Array =>
    Float32Array.from({ length: count }, () => (random() < 0.2 ? Math.round(random() * 4) : random() * 10));
  const kind = kinds[Math.floor(random() * kinds.length)]!;
  const width = kind === 'plane' ? 2 : kind === 'space' ? 3 : 6;
  const forbid = (data: Float32Array): Float32Array => data.map((value) => (random() < 0.3 ? -Infinity : value));
  const values: PairValues =
    kind === 'given'
      ? { kind, utility: forbid(floats(agentCount * taskCount)) }
      : kind === 'product'
        ? { kind, agents: floats(agentCount * width), tasks: floats(taskCount * width), width }
        : {
            kind: 'distance',
            agents: floats(agentCount * (width + 1)),
            stride: width + 1,
            tasks: floats(taskCount * width),
            width,
          };
  const maybe = (chance: number): boolean => random() < chance;
  const taskActive = Uint8Array.from({ length: taskCount }, () => (maybe(0.15) ? 0 : 1));
  const capacities = maybe(0.4) ? Uint32Array.from({ length: taskCount }, () => Math.floor(random() * 4)) : null;
  const problem: SparseProblem = {
    agentCount,
    taskCount,
    values,
    bias: maybe(0.25) ? forbid(floats(agentCount * taskCount)) : null,
    agentActive: Uint8Array.from({ length: agentCount }, () => (maybe(0.15) ? 0 : 1)),
    taskActive,
    capacities,
    idleUtility: maybe(0.3) ? (kind === 'plane' || kind === 'space' || kind === 'wide' ? -1 : 1) * 6 * random() : null,
    previous: maybe(0.5)
      ? Int32Array.from({ length: agentCount }, () => Math.floor(random() * (taskCount + 1)) - 1)
      : null,
    keepBonus: maybe(0.5) ? 4 * random() - 1 : 0,
    locks: null,
    solver,
    budgetMs: null,
    maxChange: null,
    taskPrices: maybe(0.2) ? Float64Array.from({ length: taskCount }, () => (maybe(0.3) ? NaN : 8 * random())) : null,
  };
  return maybe(0.3) ? { ...problem, locks: locksFor(problem, random) } : problem;
}

function locksFor(problem: SparseProblem, random: () => number): Int32Array {
  const left = Array.from({ length: problem.taskCount }, (_, task) => problem.capacities?.[task] ?? 1);
  return Int32Array.from({ length: problem.agentCount }, (_, agent) => {
    if (random() < 0.6) return -2;
    const task = Math.floor(random() * (problem.taskCount + 1)) - 1;
    if (task < 0) return -1;
    const allowed = Number.isFinite(pairUtility(problem, agent, task)) && problem.taskActive[task] === 1;
    if (problem.agentActive[agent] === 0 || !allowed || left[task] === 0) return -2;
    left[task]!--;
    return task;
  });
}

describe('the sparse solver', () => {
  it('is feasible, has an honest bound, and finds the optimum with every constraint', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const problem = problemFrom(seed, 7);
        const best = bruteForce(problem);
        const result = solveSparse(problem, control);
        const cardinality = assertFeasible(problem, result.taskOfAgent);
        if (problem.idleUtility === null) expect(cardinality).toBe(best.cardinality);
        const tolerance = 1e-9 * Math.max(1, Math.abs(best.objective));
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective - tolerance);
        expect(result.objective).toBeLessThanOrEqual(best.objective + tolerance);
        // Where not everybody can have a task the auction may stop early; elsewhere it is as good as exact.
        const wanted = problem.agentActive.filter((one, agent) => one === 1 && problem.locks?.[agent] !== -1).length;
        const room = problem.taskActive.reduce((sum, one, task) => sum + one * (problem.capacities?.[task] ?? 1), 0);
        const isHopeless = problem.idleUtility === null && best.cardinality < Math.min(wanted, room);
        const size = Math.max(1, Math.abs(best.objective), Math.abs(result.objective));
        if (!isHopeless) expect(result.objective).toBeGreaterThanOrEqual(best.objective - 0.02 * size);
        if (result.solver === 'sparse-exact') expect(result.objective).toBeGreaterThanOrEqual(best.objective - 1e-7);
      }),
      { numRuns: 400 },
    );
  });

  it('is feasible and has an honest bound wherever it is interrupted', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 0, max: 60 }), fc.boolean(), (seed, looks, greedy) => {
        const problem = { ...problemFrom(seed, 7, greedy ? 'GREEDY' : 'AUTO'), budgetMs: looks };
        let nowMs = 0;
        const result = solveSparse(problem, { nowMs: () => nowMs++, cancelled: () => false });
        const cardinality = assertFeasible(problem, result.taskOfAgent);
        const best = bruteForce(problem);
        if (problem.idleUtility === null) expect(cardinality).toBe(best.cardinality);
        const tolerance = 1e-9 * Math.max(1, Math.abs(best.objective));
        expect(result.upperBound).toBeGreaterThanOrEqual(best.objective - tolerance);
        expect(result.objective).toBeLessThanOrEqual(best.objective + tolerance);
      }),
      { numRuns: 300 },
    );
  });

  it('keeps within max_change where that is possible, and says that it was limited', () => {
    fc.assert(
      fc.property(fc.integer(), fc.double({ min: 0, max: 1, noNaN: true }), (seed, maxChange) => {
        const random = randomFrom(seed);
        const count = 2 + Math.floor(random() * 30);
        const floats = (): Float32Array => Float32Array.from({ length: 2 * count }, random);
        const previous = Int32Array.from({ length: count }, (_, agent) => (agent + 1) % count);
        const problem: SparseProblem = {
          ...problemFrom(seed, 1),
          agentCount: count,
          taskCount: count,
          values: { kind: 'distance', agents: floats(), stride: 2, tasks: floats(), width: 2 },
          bias: null,
          agentActive: new Uint8Array(count).fill(1),
          taskActive: new Uint8Array(count).fill(1),
          capacities: null,
          idleUtility: null,
          previous,
          keepBonus: 0,
          locks: null,
          taskPrices: null,
          maxChange,
        };
        const free = solveSparse({ ...problem, maxChange: null }, control);
        const result = solveSparse(problem, control);
        assertFeasible(problem, result.taskOfAgent);
        const changes = (tasks: Int32Array): number => tasks.filter((task, agent) => task !== previous[agent]).length;
        expect(changes(result.taskOfAgent)).toBeLessThanOrEqual(Math.floor(maxChange * count + 1e-9));
        expect(result.changeLimited).toBe(changes(free.taskOfAgent) > Math.floor(maxChange * count + 1e-9));
        expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
      }),
      { numRuns: 60 },
    );
  });
});
