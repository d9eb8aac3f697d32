/** The way to the solver, under a virtual clock and a pool that takes as long as a test says. */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import {
  plainHardProblem,
  smallCells,
  type HardProblem,
  type HardResult,
  type SolveOptions,
} from '../../src/assignment/hard.js';
import type { RoomLimits } from '../../src/batching/queue.js';
import { SolverStage, type SolverCall, type SolverPlace } from '../../src/batching/solver-stage.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { VirtualClock } from '../virtual-clock.js';
import { randomFrom } from './assignment-problems.js';

/** Large: one at a time on two threads, but where a test says otherwise. */
const size = 300;

interface Solved {
  readonly name: string;
  outcome: HardResult | CoordinatorError | null;
  readonly place: SolverPlace;
  readonly controller: AbortController;
}

function setUp(
  limits: Partial<RoomLimits> = {},
  solveMs: () => number = () => 10,
  threadsForLarge = 1,
  answer: () => HardResult = () => ({ taskOfAgent: new Int32Array(1) }) as unknown as HardResult,
) {
  const clock = new VirtualClock(1000);
  const metrics = createMetrics(new Registry());
  const started: HardProblem[] = [];
  let running: Promise<void> = Promise.resolve();
  const pool = {
    expectedMs: () => 10,
    threadsFor: (agents: number, tasks: number) => (agents * tasks <= smallCells ? 2 : threadsForLarge),
    solve: (problem: HardProblem): Promise<HardResult> => {
      started.push(problem);
      const before = running;
      const ended = (async () => {
        await before;
        await new Promise<void>((resolve) => void clock.after(solveMs(), resolve));
      })();
      running = ended;
      return ended.then(answer);
    },
  };
  const stage = new SolverStage({ solver: pool, clock, metrics, threads: 2, limits: { maxQueue: 100, ...limits } });
  const order: string[] = [];
  const callOf = (options: Partial<SolverCall> = {}): SolverCall => ({
    agentCount: size,
    taskCount: size,
    tenant: '',
    priority: 'NORMAL',
    deadlineMs: Infinity,
    bytes: 0,
    mustFinish: true,
    ...options,
  });
  const solve = (name: string, options: Partial<SolverCall> = {}): Solved => {
    const controller = new AbortController();
    const place = stage.admit(callOf(options));
    const solved: Solved = { name, outcome: null, place, controller };
    const problem = (): HardProblem => {
      order.push(name);
      return plainHardProblem(1, new Float32Array(1), options.mustFinish === false ? 'AUTO' : 'EXACT');
    };
    stage
      .solve(place, problem, controller.signal)
      .then(
        (result) => (solved.outcome = result),
        (thrown: unknown) => (solved.outcome = CoordinatorError.from(thrown)),
      )
      .finally(() => stage.leave(place));
    return solved;
  };
  const shed = async (reason: string): Promise<number> =>
    (await metrics.shed.get()).values.find(({ labels }) => labels.reason === reason)?.value ?? 0;
  return { clock, stage, started, order, solve, callOf, shed };
}

/** An answer by budget, cut short or not. */
function cutShort(isCut: boolean): HardResult {
  const solver = isCut ? 'auction' : 'exact';
  return {
    taskOfAgent: new Int32Array(1),
    objective: 10,
    upperBound: isCut ? 11 : 10,
    solver,
  } as unknown as HardResult;
}

const codeOf = ({ outcome }: Solved) => (outcome instanceof CoordinatorError ? outcome.code : null);

describe('on the way to the solver', () => {
  it('the pool gets what keeps it busy, the rest by urgency, and problems are made when their turn comes', async () => {
    const { clock, stage, order, solve } = setUp();
    for (const [name, dueInMs] of [
      ['a', 900],
      ['b', 800],
      ['c', 700],
      ['d', 100],
    ] as const) {
      solve(name, { deadlineMs: 1000 + dueInMs });
    }
    expect(order).toEqual(['a', 'b']);
    expect(stage.depth).toBe(2);
    await clock.advanceAsync(100);
    expect(order).toEqual(['a', 'b', 'd', 'c']);
    expect(stage.isIdle).toBe(true);
  });

  it('the pool gets one more large problem than it has threads for such', () => {
    const { order, solve } = setUp({}, () => 10, 2);
    for (const name of ['a', 'b', 'c', 'd']) solve(name);
    expect(order).toEqual(['a', 'b', 'c']);
  });

  it('small problems do not wait behind large ones', () => {
    const { order, solve } = setUp();
    for (const name of ['a', 'b', 'c']) solve(name);
    solve('small', { agentCount: 10, taskCount: 10 });
    expect(order).toEqual(['a', 'b', 'small']);
  });

  it('tenants take turns, whoever came first', async () => {
    const { clock, order, solve } = setUp();
    for (let i = 0; i < 20; i++) solve('a', { tenant: 'a', deadlineMs: 3000 });
    for (let i = 0; i < 20; i++) solve('b', { tenant: 'b', deadlineMs: 9000 });
    await clock.advanceAsync(300);
    const half = order.slice(0, 30);
    expect(half.filter((name) => name === 'b').length).toBeGreaterThan(8);
  });

  it('what can no longer be solved in time is refused before it is, unless it may be cut short', async () => {
    const { clock, order, solve, shed } = setUp();
    for (let i = 0; i < 4; i++) solve('a', { deadlineMs: 1038, mustFinish: false });
    const late = solve('late', { deadlineMs: 1039 });
    const short = solve('short', { deadlineMs: 1046, mustFinish: false });
    await clock.advanceAsync(100);
    expect(codeOf(late)).toBe('PREDICTED_LATE');
    expect(codeOf(short)).toBeNull();
    expect(order).toEqual(['a', 'a', 'a', 'a', 'short']);
    expect(await shed('predicted_late')).toBe(1);
  });

  it('one that may be cut short waits for its turn where others like it took longer than its deadline', async () => {
    let solveMs = 200;
    const { clock, solve } = setUp({}, () => solveMs);
    solve('long');
    await clock.advanceAsync(200);
    solveMs = 12;
    const short = ['b', 'c', 'd'].map((name) => solve(name, { mustFinish: false, deadlineMs: clock.nowMs() + 60 }));
    await clock.advanceAsync(60);
    expect(short.map(codeOf)).toEqual([null, null, null]);
    expect(short.every(({ outcome }) => outcome !== null)).toBe(true);
  });

  it('a full room refuses, or gives up the least urgent for one that is more urgent', async () => {
    const { clock, solve, stage, callOf, shed } = setUp({ maxQueue: 2 });
    for (const name of ['a', 'b', 'c']) solve(name, { deadlineMs: 1500 });
    const last = solve('last', { deadlineMs: 1900 });
    expect(stage.full(callOf({ deadlineMs: 2500 }))?.code).toBe('QUEUE_FULL');
    expect(() => stage.admit(callOf({ deadlineMs: 2500 }))).toThrow('wait for a solver');
    solve('urgent', { deadlineMs: 1200 });
    await clock.advanceAsync(0);
    expect(codeOf(last)).toBe('QUEUE_FULL');
    expect(await shed('displaced')).toBe(1);
    expect(stage.depth).toBe(2);
  });

  it('one whose caller goes away leaves at once', async () => {
    const { clock, order, solve, stage } = setUp();
    const calls = ['a', 'b', 'c', 'd'].map((name) => solve(name));
    calls[2]!.controller.abort();
    await clock.advanceAsync(0);
    expect(codeOf(calls[2]!)).toBe('CANCELLED');
    expect(stage.depth).toBe(1);
    await clock.advanceAsync(100);
    expect(order).toEqual(['a', 'b', 'd']);
  });
});

describe('the outlook of a newcomer', () => {
  it('counts what is solved, what waits and what is still with the engine', () => {
    const { stage, solve, callOf } = setUp();
    const own = 10;
    const alone = stage.afterMs(callOf(), own);
    for (let i = 0; i < 3; i++) solve('a');
    const behind = stage.afterMs(callOf(), own, 0);
    expect(behind - alone).toBe(30);
    const coming = stage.admit(callOf());
    expect(stage.afterMs(callOf(), own, 0) - alone).toBe(40);
    expect(stage.afterMs(callOf(), own, 15) - alone).toBe(25);
    stage.leave(coming);
    stage.leave(coming);
    expect(stage.afterMs(callOf(), own, 0) - alone).toBe(30);
  });

  it('spreads what is in front over the threads that may work on such problems', () => {
    const { stage, solve, callOf } = setUp({}, () => 10, 2);
    const alone = stage.afterMs(callOf(), 10);
    for (let i = 0; i < 4; i++) solve('a');
    expect(stage.afterMs(callOf(), 10, 0) - alone).toBe(20);
  });

  it('takes what outlooks fall short by out of the time of a solver that gives what it has, down to half of it', () => {
    const { stage, solve, callOf } = setUp();
    for (let i = 0; i < 3; i++) solve('a');
    const outlook = (mustFinish: boolean, shortMs: number) => stage.afterMs(callOf({ mustFinish }), 10, 0, shortMs);
    expect([0, 4, 8].map((shortMs) => outlook(true, shortMs) - outlook(true, 0))).toEqual([0, 4, 8]);
    // It takes eight tenths of what is left: 12.5 ms for a budget of 10.
    expect([0, 4, 8].map((shortMs) => outlook(false, shortMs) - outlook(true, 0))).toEqual([2.5, 2.5, 3]);
  });

  it('counts only what is left of a problem that a thread is at', async () => {
    const { clock, stage, solve, callOf } = setUp();
    const alone = stage.afterMs(callOf(), 10, 0);
    for (let i = 0; i < 3; i++) solve('a');
    await clock.advanceAsync(4);
    expect(stage.afterMs(callOf(), 10, 0) - alone).toBe(26);
    await clock.advanceAsync(13);
    expect(stage.afterMs(callOf(), 10, 0) - alone).toBe(13);
  });

  it('follows what problems took, and forgets what is long ago', async () => {
    const { clock, stage, solve, callOf } = setUp({}, () => 80);
    solve('a');
    await clock.advanceAsync(80);
    expect(stage.admit(callOf()).ownMs).toBe(80);
    await clock.advanceAsync(5000);
    expect(stage.admit(callOf()).ownMs).toBe(5);
  });

  it('does not think problems shorter for having been cut short', async () => {
    const whole = setUp(
      {},
      () => 12,
      1,
      () => cutShort(false),
    );
    const cut = setUp(
      {},
      () => 12,
      1,
      () => cutShort(true),
    );
    for (const { clock, solve } of [whole, cut]) {
      for (let i = 0; i < 8; i++) {
        solve('a', { mustFinish: false });
        await clock.advanceAsync(20);
      }
    }
    expect(whole.stage.admit(whole.callOf()).ownMs).toBe(12);
    expect(cut.stage.admit(cut.callOf())).toMatchObject({ ownMs: 18, costMs: 12 });
  });

  it('refuses what needs no engine and would be late, but tries where nothing else is solved', () => {
    const { stage, solve, callOf } = setUp();
    const place = stage.admit(callOf({ deadlineMs: 1005 }));
    expect(() => stage.assertInTime(place)).not.toThrow();
    stage.leave(place);
    for (let i = 0; i < 3; i++) solve('a');
    const late = stage.admit(callOf({ deadlineMs: 1030 }));
    expect(() => stage.assertInTime(late)).toThrow('expected in');
    stage.leave(late);
    expect(() => stage.assertInTime(stage.admit(callOf({ deadlineMs: 1055 })))).not.toThrow();
  });
});

/** Calls at equal distances that take the engine 5 ms and one of two threads 18 ms, a third more or less. */
async function pacedCalls(load: number, count: number): Promise<{ readonly refused: number; readonly late: number }> {
  const clock = new VirtualClock(1000);
  const freeAtMs = [0, 0];
  const random = randomFrom(7);
  const pool = {
    expectedMs: () => 18,
    threadsFor: () => 2,
    solve: async (_problem: HardProblem, { deadlineMs = Infinity }: SolveOptions): Promise<HardResult> => {
      const thread = freeAtMs[0]! <= freeAtMs[1]! ? 0 : 1;
      const endMs = Math.max(freeAtMs[thread]!, clock.nowMs()) + 18 * (2 / 3 + (2 / 3) * random());
      freeAtMs[thread] = endMs;
      // The caller goes away at its deadline.
      await new Promise<void>((resolve) => void clock.after(Math.min(endMs, deadlineMs) - clock.nowMs(), resolve));
      if (endMs > deadlineMs) throw new CoordinatorError('CANCELLED', 'the caller has gone');
      return { taskOfAgent: new Int32Array(1) } as unknown as HardResult;
    },
  };
  const metrics = createMetrics(new Registry());
  const stage = new SolverStage({ solver: pool, clock, metrics, threads: 2, limits: { maxQueue: 100 } });
  const problem = (): HardProblem => plainHardProblem(1, new Float32Array(1), 'EXACT');
  let refused = 0;
  let late = 0;
  const call = async (): Promise<void> => {
    const deadlineMs = clock.nowMs() + 50;
    const sizes = { agentCount: size, taskCount: size, bytes: 0 };
    const place = stage.admit({ ...sizes, tenant: '', priority: 'NORMAL', deadlineMs, mustFinish: true });
    try {
      if (5 + place.afterMs > 50) throw new CoordinatorError('PREDICTED_LATE', 'at admission');
      await new Promise<void>((resolve) => void clock.after(5, resolve));
      stage.observeEngine(5);
      await stage.solve(place, problem, new AbortController().signal);
    } catch (thrown) {
      if (CoordinatorError.from(thrown).code === 'CANCELLED') late++;
      else refused++;
    } finally {
      stage.leave(place);
    }
  };
  const calls: Promise<void>[] = [];
  for (let sent = 0; sent < count; sent++) {
    calls.push(call());
    await clock.advanceAsync(18 / 2 / load);
  }
  await clock.advanceAsync(1000);
  await Promise.all(calls);
  return { refused, late };
}

describe('the time of a solver that gives what it has', () => {
  it('is eight tenths of what is left, less what it overran by lately, and six tenths at least', async () => {
    const { clock, stage } = setUp();
    expect(stage.budgetMs(clock.nowMs() + 50)).toBe(40);
    expect(stage.budgetMs(clock.nowMs() - 1)).toBe(0);
    const {
      clock: slowClock,
      stage: slow,
      callOf,
    } = setUp(
      {},
      () => 26,
      1,
      () => cutShort(true),
    );
    const solveOnce = async (): Promise<void> => {
      const place = slow.admit(callOf({ mustFinish: false, deadlineMs: slowClock.nowMs() + 30 }));
      const problem = (): HardProblem => ({ ...plainHardProblem(1, new Float32Array(1), 'AUTO'), budgetMs: 20 });
      const solved = slow.solve(place, problem, new AbortController().signal);
      await slowClock.advanceAsync(30);
      await solved;
      slow.leave(place);
    };
    for (let i = 0; i < 30; i++) await solveOnce();
    expect(slow.budgetMs(slowClock.nowMs() + 50)).toBeCloseTo(40 - 6, 1);
    expect(slow.budgetMs(slowClock.nowMs() + 10)).toBe(6);
    // With nothing cut short any more it is forgotten.
    await slowClock.advanceAsync(5000);
    expect(slow.budgetMs(slowClock.nowMs() + 50)).toBeGreaterThan(39);
  });

  it('never has a lone call refused whose problem takes longer than its deadline (seed 3)', async () => {
    const random = randomFrom(3);
    let budget = 0;
    const { clock, stage, callOf } = setUp(
      {},
      () => budget + 8 * random(),
      2,
      () => cutShort(true),
    );
    const outlooks: number[] = [];
    for (let i = 0; i < 100; i++) {
      const deadlineMs = clock.nowMs() + 60;
      const place = stage.admit(callOf({ mustFinish: false, deadlineMs }));
      outlooks.push(place.afterMs);
      budget = stage.budgetMs(deadlineMs);
      const problem = (): HardProblem => ({ ...plainHardProblem(1, new Float32Array(1), 'AUTO'), budgetMs: budget });
      const solved = stage.solve(place, problem, new AbortController().signal);
      await clock.advanceAsync(100);
      await solved;
      stage.leave(place);
    }
    expect(Math.max(...outlooks)).toBeLessThan(55);
    expect(Math.max(...outlooks.slice(10))).toBeGreaterThan(30);
  });

  /** Calls at twice what two threads can do, each of 4 to 16 ms to the end, cut short at their budgets or 0 to 4 ms later. */
  it('is enough for half of the answers to be whole, and hardly any to be late, under twice the load for as long as it lasts (seed 11)', async () => {
    const clock = new VirtualClock(1000);
    const random = randomFrom(11);
    const freeAtMs = [0, 0];
    const pool = {
      expectedMs: () => 10,
      threadsFor: () => 2,
      solve: async (problem: HardProblem): Promise<HardResult> => {
        const thread = freeAtMs[0]! <= freeAtMs[1]! ? 0 : 1;
        const beginMs = Math.max(freeAtMs[thread]!, clock.nowMs());
        const leftMs = problem.budgetMs! - (beginMs - clock.nowMs());
        const wholeMs = 4 + 12 * random();
        const isCut = wholeMs > leftMs;
        const endMs = beginMs + (isCut ? Math.max(leftMs, 1) + 4 * random() : wholeMs);
        freeAtMs[thread] = endMs;
        await new Promise<void>((resolve) => void clock.after(endMs - clock.nowMs(), resolve));
        return cutShort(isCut);
      },
    };
    const metrics = createMetrics(new Registry());
    const stage = new SolverStage({ solver: pool, clock, metrics, threads: 2, limits: { maxQueue: 100 } });
    const count = { refused: 0, late: 0, whole: 0, cut: 0 };
    const call = async (counts: boolean): Promise<void> => {
      const deadlineMs = clock.nowMs() + 50;
      const sizes = { agentCount: size, taskCount: size, bytes: 0 };
      const place = stage.admit({ ...sizes, tenant: '', priority: 'NORMAL', deadlineMs, mustFinish: false });
      const problem = (): HardProblem => ({
        ...plainHardProblem(1, new Float32Array(1), 'AUTO'),
        budgetMs: stage.budgetMs(deadlineMs),
      });
      try {
        if (place.afterMs > 50) throw new CoordinatorError('PREDICTED_LATE', 'at admission');
        const { solver } = await stage.solve(place, problem, new AbortController().signal);
        // The way back takes 1 ms.
        if (!counts) return;
        if (clock.nowMs() > deadlineMs - 1) count.late++;
        else count[solver === 'exact' ? 'whole' : 'cut']++;
      } catch {
        if (counts) count.refused++;
      } finally {
        stage.leave(place);
      }
    };
    const calls: Promise<void>[] = [];
    for (let sent = 0; sent < 3000; sent++) {
      calls.push(call(sent >= 1000));
      await clock.advanceAsync(2.5);
    }
    await clock.advanceAsync(1000);
    await Promise.all(calls);
    const answered = count.whole + count.cut + count.late;
    expect(answered + count.refused).toBe(2000);
    expect(answered).toBeGreaterThan(900);
    expect(count.whole).toBeGreaterThan(0.5 * answered);
    expect(count.late).toBeLessThan(0.02 * answered);
  });
});

describe('calls at equal distances', () => {
  for (const load of [0.5, 0.8]) {
    it(`are all answered in time at ${load} times what the threads can do`, async () => {
      expect(await pacedCalls(load, 300)).toEqual({ refused: 0, late: 0 });
    });
  }

  it('are refused as far as they are too many, and hardly any of the others is late', async () => {
    const { refused, late } = await pacedCalls(2, 400);
    expect(refused).toBeGreaterThan(150);
    expect(refused).toBeLessThan(240);
    expect(late).toBeLessThan(40);
  });
});
