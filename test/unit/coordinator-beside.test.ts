import { Registry } from 'prom-client';
import { beforeEach, describe, expect, it } from 'vitest';
import type { HardResult, HardSolver } from '../../src/assignment/hard.js';
import type { PosedProblem } from '../../src/assignment/positions.js';
import type { JobResult } from '../../src/batching/job.js';
import type { CancelSignal } from '../../src/cancellation.js';
import { type CallContext, Coordinator } from '../../src/coordinator.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { base, decode } from '../request-fixtures.js';
import { VirtualClock } from '../virtual-clock.js';

interface Solve {
  readonly problem: PosedProblem;
  readonly signal: CancelSignal;
  readonly fail: (error: Error) => void;
}

let solves: Solve[] = [];
/** What was handed over, in order: problems in a microtask, as the pool does. */
let sent: ('problem' | 'batch')[] = [];
let failEngine: (error: Error) => void = () => undefined;
let coordinator: Coordinator;

beforeEach(() => {
  solves = [];
  sent = [];
  const solver: HardSolver = {
    solve: (problem, { signal }) =>
      new Promise<HardResult>((_resolve, reject) => {
        solves.push({ problem, signal, fail: reject });
        queueMicrotask(() => sent.push('problem'));
      }),
    expectedMs: () => 1,
    threadsFor: () => 2,
    close: () => Promise.resolve(),
  };
  const runner = {
    submit: () => {
      sent.push('batch');
      return new Promise<readonly JobResult[]>((_resolve, reject) => (failEngine = reject));
    },
  };
  const metrics = createMetrics(new Registry());
  const engine = { name: 'none', device: 'none' };
  coordinator = new Coordinator({ runner, solver, clock: new VirtualClock(), metrics, engine, solverThreads: 2 });
});

const hard = decode({ ...base, assignment: { forms: ['HARD'] } });

/** Handed to the engine, which has not answered. */
async function begin(problem = hard): Promise<{ readonly code: Promise<string>; readonly caller: AbortController }> {
  const caller = new AbortController();
  const context: CallContext = { deadlineMs: Infinity, signal: caller.signal, decodeMs: 0 };
  const code = coordinator.coordinate(problem, context).then(
    () => 'answered',
    (error: unknown) => (error as CoordinatorError).code,
  );
  await Promise.resolve();
  return { code, caller };
}

describe('a hard assignment by distance', () => {
  it('is solved while the engine works, where the solver has nothing else to do', async () => {
    const { code } = await begin();
    expect(solves).toHaveLength(1);
    expect(solves[0]!.problem).toMatchObject({ agentCount: 3, taskCount: 2 });
    expect(solves[0]!.signal.aborted).toBe(false);
    expect(sent, 'its thread wakes while the batch is packed').toEqual(['problem', 'batch']);
    failEngine(new CoordinatorError('ENGINE_FAILED', 'the engine failed'));
    expect(await code).toBe('ENGINE_FAILED');
    expect(solves[0]!.signal.aborted, 'nobody waits for it').toBe(true);
    expect(solves[0]!.signal.reason).toMatchObject({ code: 'ENGINE_FAILED' });
    solves[0]!.fail(new CoordinatorError('CANCELLED', 'cancelled'));
  });

  it('is given up by the solver at once when the caller goes away', async () => {
    const { code, caller } = await begin();
    caller.abort();
    expect(solves[0]!.signal.aborted).toBe(true);
    solves[0]!.fail(new CoordinatorError('CANCELLED', 'cancelled'));
    failEngine(new CoordinatorError('CANCELLED', 'the call was cancelled'));
    expect(await code).toBe('CANCELLED');
  });

  it('waits for the engine where the solver is busy, so that its turn is decided when that is known', async () => {
    const first = await begin();
    const failFirst = failEngine;
    const second = await begin();
    expect(solves).toHaveLength(1);
    for (const fail of [failFirst, failEngine]) fail(new CoordinatorError('ENGINE_FAILED', 'the engine failed'));
    expect(await Promise.all([first.code, second.code])).toEqual(['ENGINE_FAILED', 'ENGINE_FAILED']);
    solves[0]!.fail(new CoordinatorError('CANCELLED', 'cancelled'));
  });
});

it('a hard assignment by utilities that a program computes waits for them', async () => {
  const { code } = await begin(decode({ ...base, policy: 'bilinear', assignment: { forms: ['HARD'] } }));
  expect(solves).toEqual([]);
  failEngine(new CoordinatorError('ENGINE_FAILED', 'the engine failed'));
  expect(await code).toBe('ENGINE_FAILED');
});
