/** The policy in virtual time against callers in a closed loop, with and without knowing what runs cost. */
import { describe, expect, it } from 'vitest';
import type { RunCosts } from '../../src/batching/cost-model.js';
import { decide, type BatchLimits, type WaitingJob } from '../../src/batching/policy.js';
import type { Bucket } from '../../src/operators/signature.js';

/** Every batch size costs the same, so jobs are padded to one batch; and nothing is known of the engine's end. */
const unknown: RunCosts = { runMs: () => 1 };
const limits: BatchLimits = { maxBatch: 32, maxQueueDelayMs: 25, maxPaddingWaste: 0.4 };
/** As good a fixed time as any. */
const unknowing: BatchLimits = { ...limits, maxQueueDelayMs: 2 };
/** Packing and sending a batch, and unpacking and sending one answer. */
const packMs = 0.4;
const answerMs = 0.1;

interface Job extends WaitingJob {
  readonly caller: number;
}

interface Running {
  readonly jobs: readonly Job[];
  readonly readyMs: number;
  readonly runMs: number;
}

/** `begunMs`: of the first, null while it is still packed. */
interface Engine {
  readonly queue: Running[];
  begunMs: number | null;
}

/** Milliseconds that `jobCount` jobs of `callers` callers take, each sending its next job when it has its answer. */
function timeOf(callers: number, jobCount: number, runMs: (bucket: Bucket) => number, costs: RunCosts): number {
  let nowMs = 0;
  let answered = 0;
  let waiting: Job[] = [];
  const arrivals: { readonly atMs: number; readonly caller: number }[] = [];
  for (let caller = 0; caller < callers; caller++) arrivals.push({ atMs: caller * answerMs, caller });
  const engine: Engine = { queue: [], begunMs: null };
  while (answered < jobCount) {
    const running = engine.queue[0];
    if (running !== undefined) engine.begunMs ??= Math.max(nowMs, running.readyMs);
    const endMs = running === undefined ? Infinity : engine.begunMs! + running.runMs;
    const view = {
      waiting: { inOrder: () => waiting, earliestStartByMs: Infinity, jobCount: waiting.length },
      inFlight: engine.queue.length,
      concurrency: 1,
      stageAtMs: costs === unknown || running === undefined ? Infinity : engine.begunMs! + 0.9 * running.runMs - packMs,
      freeAtMs: costs === unknown || running === undefined ? Infinity : engine.begunMs! + running.runMs,
      gatherUntilMs: -Infinity,
      draining: false,
    };
    const decision = decide(view, nowMs, costs === unknown ? unknowing : limits, costs);
    if (decision.kind === 'dispatch') {
      const { jobs, bucket } = decision.batch;
      const taken = jobs.slice(0, bucket.batch);
      waiting = waiting.filter((job) => !taken.includes(job));
      engine.queue.push({ jobs: taken, readyMs: nowMs + packMs, runMs: runMs(bucket) });
      continue;
    }
    const untilMs = decision.kind === 'wait' ? decision.untilMs : Infinity;
    const arrivalMs = arrivals[0]?.atMs ?? Infinity;
    nowMs = Math.max(nowMs, Math.min(untilMs, arrivalMs, endMs));
    if (endMs <= nowMs) {
      const { jobs } = engine.queue.shift()!;
      engine.begunMs = null;
      answered += jobs.length;
      for (const [i, { caller }] of jobs.entries()) arrivals.push({ atMs: nowMs + (i + 1) * answerMs, caller });
      arrivals.sort((a, b) => a.atMs - b.atMs);
    }
    while ((arrivals[0]?.atMs ?? Infinity) <= nowMs) {
      const { caller } = arrivals.shift()!;
      const never = { deadlineMs: Infinity, dueMs: Infinity, startByMs: Infinity, urgencyMs: Infinity } as const;
      const job = { key: 'k', agents: 128, tasks: 128, priority: 'NORMAL', ...never } as const;
      waiting.push({ ...job, enqueuedMs: nowMs, compiling: null, caller });
    }
  }
  return nowMs;
}

/** Fixed and per slot, in milliseconds: engines whose slots cost all, much, little and nothing. */
const engines: readonly (readonly [number, number])[] = [
  [0.1, 0.5],
  [0.3, 0.07],
  [1, 0.02],
  [2, 0],
  [5, 0.5],
];
const callerCounts = [1, 2, 3, 5, 8, 12, 20, 24, 32, 40, 64];

describe('knowing what runs cost', () => {
  for (const [fixedMs, slotMs] of engines) {
    it(`never costs callers a fiftieth where a run takes ${fixedMs} ms and ${slotMs} ms a slot`, () => {
      const runMs = ({ batch }: Bucket) => fixedMs + slotMs * batch;
      const known: RunCosts = { runMs: (_key, bucket) => runMs(bucket) };
      for (const callers of callerCounts) {
        const ratio = timeOf(callers, 1000, runMs, known) / timeOf(callers, 1000, runMs, unknown);
        expect(ratio, `${callers} callers`).toBeLessThan(1.02);
      }
    });
  }

  it('saves a fifth of the time of 32 callers where slots cost as much as on a CPU', () => {
    for (const [fixedMs, slotMs] of engines.slice(0, 2)) {
      const runMs = ({ batch }: Bucket) => fixedMs + slotMs * batch;
      const knownMs = timeOf(32, 1000, runMs, { runMs: (_key, bucket) => runMs(bucket) });
      expect(knownMs).toBeLessThan(0.82 * timeOf(32, 1000, runMs, unknown));
    }
  });
});
