import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.js';
import type { CoordinatorError } from '../../src/errors.js';
import type { LargeProblem } from '../../src/large/large-messages.js';
import { createLargeSolver, type LargeSolver } from '../../src/large/large-solver.js';
import { VirtualClock } from '../virtual-clock.js';

const workerEntry = new URL('faulty-large-worker.mjs', import.meta.url);

/** How many rejected agents it names tells the worker what to do. */
const problem = (rejected: number): Omit<LargeProblem, 'timeLeftMs'> => ({
  agentActive: new Uint8Array(4),
  rejectedAgents: new Array<number>(rejected).fill(0),
  states: null,
  projection: null,
  responses: null,
  consensus: null,
  assignment: null,
  bilinear: null,
  soft: null,
  isHard: false,
});
const [answers, dies, waits] = [0, 1, 2];

let solver: LargeSolver;
const open = (maxWaiting = 8, clock = systemClock): LargeSolver =>
  (solver = createLargeSolver({ clock, workerEntry, maxWaiting }));
afterEach(() => solver.close());

const patient = { signal: new AbortController().signal, deadlineMs: Infinity };
const codeOf = (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'OK',
    (error: unknown) => (error as CoordinatorError).code,
  );

describe('the thread for large requests', () => {
  it('answers INTERNAL to the request that it dies of, and the next one as if nothing had been', async () => {
    open();
    const codes = [dies, answers, dies, answers].map((kind) => codeOf(solver.solve(problem(kind), patient)));
    expect(await Promise.all(codes)).toEqual(['INTERNAL', 'OK', 'INTERNAL', 'OK']);
  });

  it('stops what nobody waits for any more, and goes on with what waits', async () => {
    open();
    const caller = new AbortController();
    const stopped = codeOf(solver.solve(problem(waits), { ...patient, signal: caller.signal }));
    const next = codeOf(solver.solve(problem(answers), patient));
    caller.abort();
    expect(await Promise.all([stopped, next])).toEqual(['CANCELLED', 'OK']);
  });

  it('tells a caller at its deadline, whether its request waits or runs', async () => {
    const clock = new VirtualClock();
    open(8, clock);
    const runs = codeOf(solver.solve(problem(waits), { ...patient, deadlineMs: clock.nowMs() + 50 }));
    const queued = codeOf(solver.solve(problem(answers), { ...patient, deadlineMs: clock.nowMs() + 20 }));
    clock.advance(100);
    expect(await Promise.all([runs, queued])).toEqual(['DEADLINE_EXPIRED', 'DEADLINE_EXPIRED']);
    expect(await codeOf(solver.solve(problem(answers), patient))).toBe('OK');
  });

  it('refuses more than may wait, and everything once it is closed', async () => {
    open(2);
    const waiting = [waits, waits, answers].map((kind) => codeOf(solver.solve(problem(kind), patient)));
    expect(await waiting[2]).toBe('QUEUE_FULL');
    await solver.close();
    expect(await Promise.all(waiting)).toEqual(['DRAINING', 'DRAINING', 'QUEUE_FULL']);
    expect(await codeOf(solver.solve(problem(answers), patient))).toBe('DRAINING');
  });
});
