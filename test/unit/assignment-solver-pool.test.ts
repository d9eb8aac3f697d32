import { afterEach, describe, expect, it } from 'vitest';
import type { HardProblem, HardSolver } from '../../src/assignment/hard.js';
import { solveHard } from '../../src/assignment/solve.js';
import { createSolverPool, type SolverPoolOptions } from '../../src/assignment/solver-pool.js';
import { longMs, ThreadReservation } from '../../src/assignment/thread-reservation.js';
import { systemClock } from '../../src/clock.js';
import { settle, VirtualClock } from '../virtual-clock.js';
import { distanceUtility, hardProblem, randomFrom, uniformUtility } from './assignment-problems.js';

const nobody = (): AbortSignal => new AbortController().signal;
const pools: HardSolver[] = [];

function pool(options: Partial<SolverPoolOptions> = {}): HardSolver {
  const created = createSolverPool({ clock: systemClock, threads: 1, ...options });
  pools.push(created);
  return created;
}

afterEach(async () => {
  await Promise.all(pools.splice(0).map((created) => created.close()));
});

const small = (seed: number, more: Partial<HardProblem> = {}) =>
  hardProblem(20, 20, uniformUtility(20, 20, seed), more);

/** Would keep the exact solver busy for longer than a test may take. */
const endless = () => hardProblem(2500, 2500, distanceUtility(2500, 2500, 1, 4), { solver: 'EXACT' });

describe('solver pool', () => {
  it('answers each of many concurrent problems with its own optimum', async () => {
    const solver = pool({ threads: 2 });
    const answers = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        // The diagonal shifted by the index is worth most.
        const size = 5 + (index % 7);
        const utility = new Float32Array(size * size);
        for (let agent = 0; agent < size; agent++) utility[agent * size + ((agent + index) % size)] = 1;
        return solver.solve(hardProblem(size, size, utility), { signal: nobody() });
      }),
    );
    answers.forEach((answer, index) => {
      const size = 5 + (index % 7);
      expect(answer.taskOfAgent).toEqual(Int32Array.from({ length: size }, (_, agent) => (agent + index) % size));
      expect(answer).toMatchObject({ objective: size, upperBound: size, solver: 'exact' });
    });
  });

  it('leaves the rest of a buffer alone of which the utility is a part', async () => {
    const buffer = new Float32Array(200 * 200 + 10).fill(7);
    const answer = await pool().solve(hardProblem(200, 200, buffer.subarray(10)), { signal: nobody() });
    expect(answer.objective).toBe(1400);
    expect(buffer.length).toBe(200 * 200 + 10);
    expect(buffer[0]).toBe(7);
  });

  it('passes on why a problem is refused, without harm to its neighbours', async () => {
    const solver = pool();
    const bad = solver.solve(small(1, { locks: new Int32Array(20).fill(3) }), { signal: nobody() });
    const good = solver.solve(small(2), { signal: nobody() });
    await expect(bad).rejects.toMatchObject({
      code: 'REQUEST_INVALID',
      violations: [{ field: 'assignment.locks[1]' }],
    });
    await expect(good).resolves.toMatchObject({ solver: 'exact' });
  });

  it('counts the time in the queue towards the budget', async () => {
    const clock = new VirtualClock();
    const solver = pool({ clock });
    const late = solver.solve(small(1, { budgetMs: 1000 }), { signal: nobody() });
    const patient = solver.solve(small(1, { budgetMs: 100_000 }), { signal: nobody() });
    // The thread is not up yet: both wait.
    clock.advance(2000);
    await expect(late).resolves.toMatchObject({ solver: 'greedy' });
    await expect(patient).resolves.toMatchObject({ solver: 'exact' });
  });

  it('solves what waits in order of deadline, equal ones in order of arrival', async () => {
    const clock = new VirtualClock();
    const solver = pool({ clock });
    const solved: number[] = [];
    // The thread is not up yet: all wait.
    const deadlines = Array.from({ length: 40 }, (_, index) => 1000 + ((index * 7) % 20));
    await Promise.all(
      deadlines.map(async (deadlineMs, index) => {
        await solver.solve(small(index), { signal: nobody(), deadlineMs });
        solved.push(index);
      }),
    );
    const expected = Array.from(deadlines.keys()).sort((a, b) => deadlines[a]! - deadlines[b]! || a - b);
    expect(solved).toEqual(expected);
  });

  it('lets nobody starve: a problem without a deadline overtakes urgent ones that came much later', async () => {
    const clock = new VirtualClock();
    const solver = pool({ clock });
    const solved: string[] = [];
    const submit = async (name: string, deadlineMs: number): Promise<void> => {
      await solver.solve(small(1), { signal: nobody(), deadlineMs });
      solved.push(name);
    };
    const patient = submit('patient', Infinity);
    const urgent = submit('urgent', 100_000);
    clock.advance(60_000);
    const late = submit('late', 61_000);
    await Promise.all([patient, urgent, late]);
    expect(solved).toEqual(['patient', 'urgent', 'late']);
  });

  it('rejects what waits beyond its deadline, before it costs anything', async () => {
    const clock = new VirtualClock();
    const solver = pool({ clock });
    const late = solver.solve(small(1), { signal: nobody(), deadlineMs: 1000 });
    const large = solver.solve(endless(), { signal: nobody(), deadlineMs: 1000 });
    const inTime = solver.solve(small(2), { signal: nobody(), deadlineMs: 3000 });
    clock.advance(2000);
    await expect(late).rejects.toMatchObject({ code: 'DEADLINE_EXPIRED' });
    await expect(large).rejects.toMatchObject({ code: 'DEADLINE_EXPIRED' });
    await expect(inTime).resolves.toMatchObject({ solver: 'exact' });
  });

  it('expects more time the more is waiting, half of it with twice the threads, and no more than a solve when idle', async () => {
    const clock = new VirtualClock();
    const one = pool({ clock });
    const two = pool({ clock, threads: 2 });
    const idleMs = one.expectedMs(20, 20);
    expect(two.expectedMs(20, 20)).toBe(idleMs);
    expect(one.expectedMs(1000, 1000)).toBeGreaterThan(100 * idleMs);
    const problems = (solver: HardSolver) =>
      Array.from({ length: 20 }, (_, index) => solver.solve(small(index), { signal: nobody() }));
    const waiting = [...problems(one), ...problems(two)];
    expect(one.expectedMs(20, 20)).toBeCloseTo(21 * idleMs, 9);
    expect(two.expectedMs(20, 20)).toBeCloseTo(11 * idleMs, 9);
    await Promise.all(waiting);
    // What was measured counts now.
    const measuredMs = one.expectedMs(20, 20);
    expect(measuredMs).toBeGreaterThan(0);
    const again = problems(one);
    expect(one.expectedMs(20, 20)).toBeCloseTo(21 * measuredMs, 9);
    await Promise.all(again);
  });

  it('carries every part of a problem through shared memory, and problems too big for it as well', async () => {
    const solver = pool();
    const random = randomFrom(77);
    for (const agents of [20, 100, 150]) {
      const utility = uniformUtility(agents, 40, agents);
      const problem = hardProblem(agents, 40, utility, {
        bias: Float32Array.from(utility, () => (random() < 0.1 ? -Infinity : random())),
        agentActive: Uint8Array.from({ length: agents }, () => Number(random() < 0.9)),
        taskActive: Uint8Array.from({ length: 40 }, () => Number(random() < 0.9)),
        capacities: Uint32Array.from({ length: 40 }, () => Math.floor(4 * random())),
        idleUtility: 0.5,
        previous: Int32Array.from({ length: agents }, () => Math.floor(41 * random()) - 1),
        keepBonus: 0.25,
        locks: Int32Array.from({ length: agents }, () => (random() < 0.1 ? -1 : -2)),
        maxChange: 0.3,
        solver: 'EXACT',
        warm: { taskPrices: Float64Array.from({ length: 40 }, random), taskOfAgent: null },
        potentials: { row: new Float32Array(agents), column: new Float32Array(40) },
      });
      const here = solveHard(problem, { nowMs: () => 0, cancelled: () => false })!;
      expect(await solver.solve(problem, { signal: nobody() })).toEqual(here);
      expect(here.changeLimited).toBe(true);
    }
  });

  it('stops an exact solve at its budget and goes on with the same thread', async () => {
    const solver = pool();
    const answer = await solver.solve({ ...endless(), solver: 'AUTO', budgetMs: 150 }, { signal: nobody() });
    expect(answer.solver).not.toBe('exact');
    expect(answer.upperBound).toBeGreaterThanOrEqual(answer.objective);
    await expect(solver.solve(small(3), { signal: nobody() })).resolves.toMatchObject({ solver: 'exact' });
  });

  it('rejects a cancelled problem at once, wherever it is, and lets the others be', async () => {
    const solver = pool();
    const controller = new AbortController();
    const running = solver.solve(endless(), { signal: controller.signal });
    const waiting = solver.solve(small(1), { signal: controller.signal });
    const other = solver.solve(small(2), { signal: nobody() });
    // The thread has the first one when it is ready; the second message it can get comes only after that.
    await expect(Promise.race([other, settle().then(() => 'pending')])).resolves.toBe('pending');
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(solver.solve(small(3), { signal: controller.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(other).resolves.toMatchObject({ solver: 'exact' });
  });

  it('interrupts a solve whose caller has gone, so that the thread is free again', async () => {
    const solver = pool();
    await solver.solve(small(1), { signal: nobody() });
    const controller = new AbortController();
    const running = solver.solve(endless(), { signal: controller.signal });
    // The thread is up, so the problem is with it after this.
    await settle();
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(solver.solve(small(2), { signal: nobody() })).resolves.toMatchObject({ solver: 'exact' });
  });

  it('keeps a thread free of long problems, so that small ones overtake them', async () => {
    const solver = pool({ threads: 2 });
    const controller = new AbortController();
    const large = [
      solver.solve(endless(), { signal: controller.signal }),
      solver.solve(endless(), { signal: controller.signal }),
    ];
    const outcomes = Promise.allSettled(large);
    await expect(solver.solve(small(1), { signal: nobody() })).resolves.toMatchObject({ solver: 'exact' });
    controller.abort();
    expect((await outcomes).map((outcome) => outcome.status)).toEqual(['rejected', 'rejected']);
  });

  describe('with problems of middle length', () => {
    /** Its threads answer a large problem only when another one of them has one, too. */
    const meeting = (clock: VirtualClock): HardSolver =>
      pool({ clock, threads: 2, workerEntry: new URL(`meeting-solver-worker.mjs?${pools.length}`, import.meta.url) });
    const middle = (seed: number) => hardProblem(200, 200, uniformUtility(200, 200, seed));

    it('uses every thread where no small ones come', async () => {
      const solver = meeting(new VirtualClock());
      expect(solver.threadsFor(200, 200)).toBe(2);
      expect(solver.threadsFor(2500, 2500)).toBe(1);
      await Promise.all([1, 2].map((seed) => solver.solve(middle(seed), { signal: nobody() })));
    });

    it('keeps a thread free for a second after a small one, and uses it again after that', async () => {
      const clock = new VirtualClock();
      const solver = meeting(clock);
      await solver.solve(small(1), { signal: nobody() });
      expect(solver.threadsFor(200, 200)).toBe(1);
      let solved = 0;
      const both = [1, 2].map(async (seed) => {
        await solver.solve(middle(seed), { signal: nobody() });
        solved++;
      });
      // A small one, sent after them, is answered by the thread that is kept free.
      await settle();
      await solver.solve(small(2), { signal: nobody() });
      expect(solved).toBe(0);
      clock.advance(999);
      await solver.solve(small(3), { signal: nobody() });
      expect(solved).toBe(0);
      clock.advance(1000);
      await Promise.all(both);
    });

    it('leaves a thread that no long one has, and lets long ones have the others', () => {
      const reservation = new ThreadReservation(3);
      expect(reservation.mayStart(longMs, 0, 0, 0)).toBe(true);
      expect(reservation.mayStart(longMs, 1, 1, 0)).toBe(true);
      expect(reservation.mayStart(longMs, 2, 2, 0)).toBe(false);
      expect(reservation.mayStart(longMs, 2, 1, 0)).toBe(true);
      expect(reservation.mayStart(longMs - 1, 2, 2, 0)).toBe(true);
      expect(reservation.mayStart(longMs - 1, 3, 2, 0)).toBe(false);
      expect(new ThreadReservation(1).mayStart(longMs, 0, 0, 0)).toBe(true);
    });
  });

  it('loses only the problem that kills its thread', async () => {
    const solver = pool({ workerEntry: new URL('faulty-solver-worker.mjs', import.meta.url) });
    const deadly = hardProblem(13, 13, uniformUtility(13, 13, 1));
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 5 }, (_, index) => solver.solve(small(index), { signal: nobody() })),
      solver.solve(deadly, { signal: nobody() }),
      ...Array.from({ length: 5 }, (_, index) => solver.solve(small(10 + index), { signal: nobody() })),
    ]);
    const rejected = outcomes.flatMap((outcome, index) => (outcome.status === 'rejected' ? [index] : []));
    expect(rejected).toEqual([5]);
    expect(outcomes[5]).toMatchObject({ reason: { code: 'INTERNAL' } });
    await expect(solver.solve(small(30), { signal: nobody() })).resolves.toMatchObject({ solver: 'exact' });
  });

  it('refuses what waits when no thread can be started', async () => {
    const solver = pool({ workerEntry: new URL('broken-solver-worker.mjs', import.meta.url) });
    await expect(solver.solve(small(1), { signal: nobody() })).rejects.toMatchObject({ code: 'INTERNAL' });
    await expect(solver.solve(small(2), { signal: nobody() })).rejects.toMatchObject({ code: 'INTERNAL' });
  });

  it('rejects everything that is not answered when it closes, and everything after', async () => {
    const solver = pool();
    const outcomes = Promise.allSettled([
      solver.solve(endless(), { signal: nobody() }),
      solver.solve(small(1), { signal: nobody() }),
    ]);
    await settle();
    await solver.close();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ reason: { code: 'DRAINING' } });
    await expect(solver.solve(small(2), { signal: nobody() })).rejects.toMatchObject({ code: 'DRAINING' });
  });
});
