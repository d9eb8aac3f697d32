import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import type { HardSolver } from '../../src/assignment/hard.js';
import type { Job } from '../../src/batching/job.js';
import { Coordinator } from '../../src/coordinator.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import type { Problem } from '../../src/problem.js';
import { tickStateOf, warmStartFor } from '../../src/warm-start.js';
import { base, decode } from '../request-fixtures.js';
import { VirtualClock } from '../virtual-clock.js';

const solver: HardSolver = {
  solve: () => Promise.reject(new CoordinatorError('INTERNAL', 'nothing to solve')),
  expectedMs: () => 0,
  threadsFor: () => 1,
  close: () => Promise.resolve(),
};

/** The iterations of the program that the problem is submitted for. */
async function iterationsFor(problem: Problem, isReady: boolean): Promise<number> {
  const submitted: Job[] = [];
  const coordinator = new Coordinator({
    runner: {
      submit: ({ jobs }) => {
        submitted.push(...jobs);
        return Promise.reject(new CoordinatorError('ENGINE_FAILED', 'no engine'));
      },
    },
    solver,
    clock: new VirtualClock(),
    metrics: createMetrics(new Registry()),
    reduced: { isReady: () => isReady },
    engine: { name: 'none', device: 'none' },
  });
  const context = { deadlineMs: Infinity, signal: new AbortController().signal, decodeMs: 0 };
  await expect(coordinator.coordinate(problem, context)).rejects.toMatchObject({ code: 'ENGINE_FAILED' });
  return submitted[0]!.spec.soft!.iterations;
}

describe('a warm call that may need fewer iterations', () => {
  const cold = decode({ ...base, assignment: { forms: ['TOP_K'] } });
  const sinkhorn = { columnPotential: Float32Array.of(0, -1), iterations: 50, marginalError: 0 };
  const state = tickStateOf({ hard: null, sinkhorn, consensus: null }, cold)!;
  const warm: Problem = { ...cold, warmStart: warmStartFor(state, cold) };

  it('runs them where their program is loaded, and all of them where it would have to wait for it', async () => {
    expect(await iterationsFor(warm, true)).toBe(20);
    expect(await iterationsFor(warm, false)).toBe(50);
  });

  it('is unlike a cold one, which always runs all', async () => {
    expect(await iterationsFor(cold, true)).toBe(50);
  });
});
