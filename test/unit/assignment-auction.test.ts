import { munkres } from 'munkres';
import { describe, expect, it } from 'vitest';
import type { HardProblem, HardResult } from '../../src/assignment/hard.js';
import { changeLimitOf } from '../../src/assignment/hysteresis.js';
import { solveHard } from '../../src/assignment/solve.js';
import { SolveTimes } from '../../src/assignment/solve-time.js';
import { changesOf } from '../assignment-cases.js';
import { distanceUtility, hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const control = { nowMs: () => 0, cancelled: () => false };
const seed = 7_301;

function solve(problem: HardProblem): HardResult {
  const result = solveHard(problem, control);
  if (result === null) throw new Error('stopped without being asked to');
  return result;
}

function optimumByMunkres(agents: number, tasks: number, utility: Float32Array): number {
  const lines = Array.from({ length: agents }, (_, agent) =>
    Array.from({ length: tasks }, (_, task) => -utility[agent * tasks + task]!),
  );
  return munkres(lines).reduce((sum, [agent, task]) => sum - lines[agent]![task]!, 0);
}

describe('auction against the Hungarian method', () => {
  const kinds = [
    { name: 'uniform', make: (n: number, m: number) => uniformUtility(n, m, seed) },
    { name: 'distances', make: (n: number, m: number) => distanceUtility(n, m, 100, seed) },
    { name: 'distances from one corner', make: (n: number, m: number) => distanceUtility(n, m, 1, seed) },
  ];
  for (const { name, make } of kinds) {
    for (const [agents, tasks] of [
      [300, 300],
      [300, 200],
      [200, 300],
      [30, 300],
    ] as const) {
      it(`is within 1e-5 of the optimum and bounds it: ${name}, ${agents} x ${tasks} (seed ${seed})`, () => {
        const utility = make(agents, tasks);
        const best = optimumByMunkres(agents, tasks, utility);
        const result = solve(hardProblem(agents, tasks, utility, { solver: 'AUCTION' }));
        expect(result.solver).toBe('auction');
        expect(result.objective).toBeGreaterThanOrEqual(best - 1e-5 * Math.abs(best));
        expect(result.objective).toBeLessThanOrEqual(best + 1e-9 * Math.abs(best));
        expect(result.upperBound).toBeGreaterThanOrEqual(best);
        expect(result.upperBound - result.objective).toBeLessThanOrEqual(2e-5 * Math.abs(best));
      });
    }
  }
});

describe('warm starts', () => {
  it('say that they were used, and start the next tick from task prices', () => {
    const utility = distanceUtility(120, 100, 100, seed);
    for (const solver of ['EXACT', 'AUCTION'] as const) {
      const first = solve(hardProblem(120, 100, utility, { solver }));
      expect(first.warmStartUsed).toBe(false);
      expect(first.taskPrices!.every((price) => price >= 0)).toBe(true);
      const warm = { taskPrices: first.taskPrices, taskOfAgent: first.taskOfAgent };
      const again = solve(hardProblem(120, 100, utility, { solver, warm }));
      expect(again.warmStartUsed).toBe(true);
      expect(Math.abs(again.objective - first.objective)).toBeLessThanOrEqual(2e-5 * Math.abs(first.objective));
    }
    const warm = { taskPrices: new Float64Array(100), taskOfAgent: null };
    expect(solve(hardProblem(120, 100, utility, { solver: 'GREEDY', warm })).warmStartUsed).toBe(false);
  });

  it('have a price for each task in the game, and none for the others', () => {
    const taskActive = new Uint8Array(20).fill(1);
    taskActive[7] = 0;
    const { taskPrices } = solve(hardProblem(20, 20, uniformUtility(20, 20, seed), { taskActive }));
    expect(Array.from(taskPrices!.keys()).filter((task) => Number.isNaN(taskPrices![task]!))).toEqual([7]);
  });
});

describe('max_change at size 150', () => {
  const count = 150;
  const random = randomFrom(seed);
  const before = distanceUtility(count, count, 100, seed);
  const previous = solve(hardProblem(count, count, before)).taskOfAgent;
  // Everybody has moved a good deal since.
  const utility = before.map((value) => value + 40 * (random() - 0.5));
  const free = solve(hardProblem(count, count, utility, { previous }));

  for (const solver of ['AUTO', 'AUCTION', 'GREEDY'] as const) {
    it(`changes as few as it may, with a certified gap (${solver}, seed ${seed})`, () => {
      let better = -Infinity;
      for (const maxChange of [0, 0.1, 0.3, 0.6]) {
        const problem = hardProblem(count, count, utility, { previous, maxChange, solver });
        const result = solve(problem);
        expect(result.changeLimited).toBe(true);
        expect(changesOf(problem, result.taskOfAgent)).toBeLessThanOrEqual(changeLimitOf(problem)!);
        expect(new Set(result.taskOfAgent).size).toBe(count);
        expect(result.objective).toBeGreaterThanOrEqual(better);
        expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
        expect(result.objective).toBeLessThan(free.objective);
        better = result.objective;
        if (solver !== 'GREEDY') {
          expect((result.upperBound - result.objective) / Math.abs(result.objective)).toBeLessThan(0.1);
        }
      }
    });
  }

  it('takes a share as it is meant, though float32 cannot hold it', () => {
    const problem = hardProblem(10, 1, new Float32Array(10), { previous: new Int32Array(10).fill(-1) });
    expect(changeLimitOf({ ...problem, maxChange: Math.fround(0.7) })).toBe(7);
    expect(changeLimitOf({ ...problem, maxChange: Math.fround(0.3) })).toBe(3);
    expect(changeLimitOf({ ...problem, maxChange: 0.69 })).toBe(6);
    expect(changeLimitOf({ ...problem, maxChange: null })).toBeNull();
  });

  it('stops in time and still keeps to the limit', () => {
    for (const budgetMs of [1, 10, 50]) {
      let nowMs = 0;
      const problem = hardProblem(count, count, utility, { previous, maxChange: 0.2, budgetMs });
      const result = solveHard(problem, { ...control, nowMs: () => (nowMs += 0.05) })!;
      expect(changesOf(problem, result.taskOfAgent)).toBeLessThanOrEqual(30);
      expect(result.upperBound).toBeGreaterThanOrEqual(result.objective);
      expect(nowMs).toBeLessThan(budgetMs + 3);
    }
  });

  it('begins no try that by measured times would end late', () => {
    const gapWhere = (passMs: number): number => {
      const times = new SolveTimes();
      times.record('pass', count, count, passMs);
      let nowMs = 0;
      const problem = hardProblem(count, count, utility, { previous, maxChange: 0.2, budgetMs: 20, solver: 'AUCTION' });
      const result = solveHard(problem, { ...control, nowMs: () => (nowMs += 0.05) }, times)!;
      expect(changesOf(problem, result.taskOfAgent)).toBeLessThanOrEqual(30);
      expect(nowMs).toBeLessThan(20 + 3);
      return (result.upperBound - result.objective) / Math.abs(result.objective);
    };
    // By this clock passes take no time, and tries what they do: each makes the gap smaller.
    expect(gapWhere(0.01)).toBeLessThan(0.1);
    expect(gapWhere(40)).toBeGreaterThan(1);
  });
});

describe('SolveTimes', () => {
  it('follows what was measured, for the size and its neighbours, each kind by itself', () => {
    const times = new SolveTimes();
    const ruleMs = times.expectedMs('exact', 1000, 1000);
    for (let run = 0; run < 40; run++) times.record('exact', 1000, 1000, 10 * ruleMs);
    expect(times.expectedMs('exact', 1000, 1000)).toBeCloseTo(10 * ruleMs, 6);
    expect(times.expectedMs('exact', 1500, 1000)).toBeGreaterThan(10 * ruleMs);
    expect(times.expectedMs('exact-warm', 1000, 1000)).toBeLessThan(ruleMs);
    times.record('exact', 1000, 1000, ruleMs);
    expect(times.expectedMs('exact', 1000, 1000)).toBeLessThan(8 * ruleMs);
  });
});
