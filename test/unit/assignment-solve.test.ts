import { describe, expect, it } from 'vitest';
import type { HardProblem, HardResult } from '../../src/assignment/hard.js';
import { PairOrder } from '../../src/assignment/pair-order.js';
import { contentionOf } from '../../src/assignment/contention.js';
import { reduceProblem } from '../../src/assignment/reduction.js';
import { solveHard } from '../../src/assignment/solve.js';
import { SolveTimes } from '../../src/assignment/solve-time.js';
import { CoordinatorError } from '../../src/errors.js';
import { distanceUtility, hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const control = { nowMs: () => 0, cancelled: () => false };

function solve(problem: HardProblem): HardResult {
  const result = solveHard(problem, control);
  if (result === null) throw new Error('stopped without being asked to');
  return result;
}

describe('exact against greedy at size 300', () => {
  const seed = 20_260;
  const kinds = [
    { name: 'uniform', make: (n: number, m: number) => uniformUtility(n, m, seed) },
    { name: 'distances', make: (n: number, m: number) => distanceUtility(n, m, 100, seed) },
    { name: 'distances from one corner', make: (n: number, m: number) => distanceUtility(n, m, 5, seed) },
  ];
  const shapes = [
    { agents: 300, tasks: 300, capacity: 1 },
    { agents: 300, tasks: 120, capacity: 1 },
    { agents: 120, tasks: 300, capacity: 1 },
    { agents: 300, tasks: 60, capacity: 5 },
    { agents: 100, tasks: 60, capacity: 50 },
  ];
  for (const kind of kinds) {
    for (const { agents, tasks, capacity } of shapes) {
      it(`orders greedy <= exact <= bound for ${kind.name}, ${agents} x ${tasks} x ${capacity} (seed ${seed})`, () => {
        const utility = kind.make(agents, tasks);
        const capacities = new Uint32Array(tasks).fill(capacity);
        const exact = solve(hardProblem(agents, tasks, utility, { capacities, solver: 'EXACT' }));
        const greedy = solve(hardProblem(agents, tasks, utility, { capacities, solver: 'GREEDY' }));
        const assigned = (result: HardResult) => result.taskOfAgent.filter((task) => task >= 0).length;
        expect(assigned(exact)).toBe(Math.min(agents, tasks * capacity));
        expect(assigned(greedy)).toBe(assigned(exact));
        expect(greedy.objective).toBeLessThanOrEqual(exact.objective + 1e-9);
        expect(greedy.upperBound).toBeGreaterThanOrEqual(exact.objective);
        expect(exact.upperBound).toBe(exact.objective);
      });
    }
  }
});

describe('AUTO', () => {
  const utility = uniformUtility(200, 200, 1);

  it('is exact without a budget and with one that suffices', () => {
    expect(solve(hardProblem(200, 200, utility)).solver).toBe('exact');
    expect(solve(hardProblem(200, 200, utility, { budgetMs: 1000 })).solver).toBe('exact');
  });

  it('leaves it to the auction where the exact solver took too long before, and tries that one again some day', () => {
    const times = new SolveTimes();
    const problem = hardProblem(200, 200, utility, { budgetMs: 20 });
    times.record('exact', 200, 200, 400, contentionOf(reduceProblem(problem)));
    expect(solveHard(problem, control, times)).toMatchObject({ solver: 'auction' });
    let rounds = 1;
    while (solveHard(problem, control, times)?.solver === 'auction' && rounds < 1000) rounds++;
    expect(rounds).toBeGreaterThan(20);
    expect(rounds).toBeLessThan(1000);
  });

  it('gives the exact solver what it needs of the budget, up to nine tenths', () => {
    const clustered = distanceUtility(300, 300, 1, 7);
    const timed = (budgetMs: number): { solver: string | undefined; tookMs: number } => {
      let nowMs = 0;
      const problem = hardProblem(300, 300, clustered, { budgetMs });
      const solver = solveHard(problem, { ...control, nowMs: () => (nowMs += 0.25) })?.solver;
      return { solver, tookMs: nowMs };
    };
    const { solver, tookMs } = timed(10_000);
    expect(solver).toBe('exact');
    expect(timed(tookMs / 0.8).solver).toBe('exact');
    expect(timed(tookMs).solver).toBe('auction');
  });

  it('does the least where nothing is left of the budget', () => {
    expect(solve(hardProblem(200, 200, utility, { budgetMs: -5 })).solver).toBe('greedy');
    expect(solve(hardProblem(300, 300, uniformUtility(300, 300, 2), { budgetMs: -5 })).solver).not.toBe('exact');
  });

  it('stops the exact solver in time for the answer and the bound', () => {
    const clustered = distanceUtility(300, 300, 1, 7);
    const best = solve(hardProblem(300, 300, clustered, { solver: 'EXACT' })).objective;
    let nowMs = 0;
    const problem = hardProblem(300, 300, clustered, { budgetMs: 20 });
    const result = solveHard(problem, { ...control, nowMs: () => (nowMs += 0.25) });
    expect(result?.solver).toBe('auction');
    expect(result!.upperBound).toBeGreaterThanOrEqual(best);
    expect(result!.objective).toBeLessThanOrEqual(best + 1e-9);
    expect(nowMs).toBeLessThan(22);
    expect(nowMs).toBeGreaterThan(15);
  });

  it('leaves the budget to AUTO: EXACT ignores it', () => {
    let nowMs = 0;
    const problem = hardProblem(200, 200, utility, { budgetMs: 1, solver: 'EXACT' });
    expect(solveHard(problem, { ...control, nowMs: () => (nowMs += 1000) })?.solver).toBe('exact');
  });
});

describe('cancellation', () => {
  it('stops the exact solver at work', () => {
    let asked = 0;
    const cancelled = () => ++asked > 10;
    const problem = hardProblem(200, 200, uniformUtility(200, 200, 1), { solver: 'EXACT' });
    expect(solveHard(problem, { ...control, cancelled })).toBeNull();
    expect(asked).toBeLessThan(15);
  });
});

describe('degenerate problems', () => {
  it('gives equal utilities to equal indices, whichever solver', () => {
    for (const solver of ['EXACT', 'AUCTION', 'GREEDY'] as const) {
      const result = solve(hardProblem(40, 40, new Float32Array(1600).fill(3), { solver }));
      expect(result.taskOfAgent).toEqual(Int32Array.from({ length: 40 }, (_, index) => index));
      expect(result.upperBound).toBeCloseTo(120, 6);
    }
  });

  it('leaves everybody idle where everything is forbidden, or nothing is there', () => {
    for (const solver of ['EXACT', 'AUCTION', 'GREEDY'] as const) {
      const forbidden = solve(hardProblem(3, 2, new Float32Array(6).fill(-Infinity), { solver, idleUtility: 2 }));
      expect(forbidden).toMatchObject({ taskOfAgent: Int32Array.of(-1, -1, -1), objective: 6, upperBound: 6 });
      const empty = solve(hardProblem(2, 0, new Float32Array(0), { solver }));
      expect(empty).toMatchObject({ taskOfAgent: Int32Array.of(-1, -1), objective: 0, upperBound: 0 });
    }
  });

  it('never assigns a pair whose utility is not a number, and never answers one', () => {
    for (const solver of ['EXACT', 'AUCTION', 'GREEDY'] as const) {
      const result = solve(hardProblem(2, 2, Float32Array.of(NaN, 1, Infinity, 2), { solver }));
      expect(result.taskOfAgent).toEqual(Int32Array.of(-1, 1));
      expect(result.objective).toBe(2);
      expect(result.upperBound).toBeCloseTo(2, 9);
    }
  });

  it('prefers one more agent to any utility, over 30 orders of magnitude', () => {
    // Agent 1 can do task 0 only. Agent 0 would rather do that one.
    const utility = Float32Array.of(1e30, -1e30, 1e-3, -Infinity);
    for (const solver of ['EXACT', 'AUCTION', 'GREEDY'] as const) {
      expect(solve(hardProblem(2, 2, utility, { solver })).taskOfAgent).toEqual(Int32Array.of(1, 0));
    }
  });
});

describe('locks', () => {
  const utility = Float32Array.of(1, 2, 3, -Infinity);

  it('refuses a lock on a forbidden pair, a masked task or a full one, naming the agent', () => {
    const refusals: Partial<HardProblem>[] = [
      { locks: Int32Array.of(-2, 1) },
      { locks: Int32Array.of(-2, 0), taskActive: Uint8Array.of(0, 1) },
      { locks: Int32Array.of(-2, 0), capacities: Uint32Array.of(0, 1) },
    ];
    for (const more of refusals) {
      let thrown: unknown;
      try {
        solve(hardProblem(2, 2, utility, more));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(CoordinatorError);
      expect(thrown).toMatchObject({ code: 'REQUEST_INVALID', violations: [{ field: 'assignment.locks[1]' }] });
    }
  });

  it('counts a locked pair and a locked idler in the objective', () => {
    const locks = Int32Array.of(0, -1);
    const result = solve(
      hardProblem(2, 2, utility, { locks, idleUtility: 10, previous: Int32Array.of(0, 0), keepBonus: 5 }),
    );
    expect(result).toMatchObject({
      taskOfAgent: Int32Array.of(0, -1),
      objective: 16,
      totalUtility: 11,
      upperBound: 16,
    });
  });
});

describe('PairOrder', () => {
  it('sorts by cost, equal costs in the order of arrival, in small and in large lists (seed 5)', () => {
    const random = randomFrom(5);
    for (const size of [0, 1, 100, 20_000]) {
      const order = new PairOrder();
      const costs = Float64Array.from({ length: size }, () => {
        const kind = random();
        if (kind < 0.2) return Math.floor(4 * random()) - 2;
        if (kind < 0.3) return -0;
        return (random() - 0.5) * 10 ** (40 * (random() - 0.5));
      });
      costs.forEach((cost, pair) => order.push(cost, pair));
      const expected = Array.from(costs.keys()).sort((a, b) => costs[a]! - costs[b]! || a - b);
      expect(Array.from(order.sorted())).toEqual(expected);
      expect(order.size).toBe(0);
    }
  });
});
