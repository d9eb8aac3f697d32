/** The service's own batcher, queue and policy in virtual time, on an engine that takes as long as a table says. */
import { Registry } from 'prom-client';
import { Batcher } from '../../src/batching/batcher.js';
import type { Job } from '../../src/batching/job.js';
import { defaultMaxPaddingWaste } from '../../src/batching/policy.js';
import type { ProgramSource } from '../../src/batching/program-source.js';
import type { Clock } from '../../src/clock.js';
import type { LoadedProgram, RunResult } from '../../src/engine/engine.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { type Bucket, bucketName, type ProgramSpec, type Signature, specKey } from '../../src/operators/signature.js';
import { settle, VirtualClock } from '../virtual-clock.js';
import { type AnswerForm, type CostTable, engineMsOf, solverMsOf } from './schedule-costs.js';
import type { SimulatedRequest } from './schedule-load.js';
import { SimulatedSolver } from './schedule-solver.js';
import { type Outcome, Tally, type Window } from './schedule-tally.js';

/** As the service's defaults are. */
const limits = { maxBatch: 32, maxQueueDelayMs: 25, maxQueue: 256, maxPaddingWaste: defaultMaxPaddingWaste };

/** In virtual time; a full queue takes a fraction of it. */
const mostDrainMs = 30_000;

/** Nothing is packed or unpacked: what is simulated is when and with whom, not what. */
const emptySignature: Signature = { inputs: [], outputs: [], parameters: [] };

const specs: Readonly<Record<AnswerForm, ProgramSpec>> = { TOP_K: specOf(8), HARD: specOf(0) };
const keys: Readonly<Record<AnswerForm, string>> = { TOP_K: specKey(specs.TOP_K), HARD: specKey(specs.HARD) };

function specOf(topK: number): ProgramSpec {
  const soft = {
    form: 'scaling',
    iterations: 10,
    bias: false,
    slack: false,
    plan: false,
    topK,
    potentials: false,
  } as const;
  return {
    parameters: '',
    projection: null,
    utility: { source: 'bilinear', agentWidth: 64, taskWidth: 64 },
    utilityOut: topK === 0,
    soft: topK === 0 ? null : soft,
    consensus: { source: 'agents', width: 64, iterations: 10, start: 'MEDOID' },
  };
}

/** Runs one batch at a time, in the order in which they are handed over, each as long as the table says. */
class TimedEngine implements ProgramSource {
  readonly concurrency = 1;
  readonly fallingBack = false;
  readonly #clock: Clock;
  readonly #costs: CostTable;
  readonly #slowdown: (run: number) => number;
  #freeAtMs = 0;
  #runs = 0;

  constructor(clock: Clock, costs: CostTable, slowdown: (run: number) => number) {
    this.#clock = clock;
    this.#costs = costs;
    this.#slowdown = slowdown;
  }

  ready(spec: ProgramSpec, key: string, bucket: Bucket): LoadedProgram {
    const form = key === keys.TOP_K ? 'TOP_K' : 'HARD';
    return {
      engine: 'xla',
      spec,
      bucket,
      signature: emptySignature,
      fingerprint: bucketName(bucket),
      residentBytes: 0,
      run: () => this.#run(engineMsOf(this.#costs, form, Math.max(bucket.agents, bucket.tasks), bucket.batch)),
    };
  }

  prepare(spec: ProgramSpec, key: string, bucket: Bucket): Promise<LoadedProgram> {
    return Promise.resolve(this.ready(spec, key, bucket));
  }

  isActive(): boolean {
    return true;
  }

  isFallback(): boolean {
    return false;
  }

  succeeded(): void {
    // Nothing to learn.
  }

  failed(): boolean {
    return false;
  }

  #run(tableMs: number): Promise<RunResult> {
    const executeMs = tableMs * this.#slowdown(this.#runs++);
    this.#freeAtMs = Math.max(this.#freeAtMs, this.#clock.nowMs()) + executeMs;
    return new Promise((resolve) => {
      this.#clock.after(this.#freeAtMs - this.#clock.nowMs(), () =>
        resolve({ outputs: [], device: 'cpu', transferInMs: 0, executeMs, transferOutMs: 0 }),
      );
    });
  }
}

/** `slowdown`: what the n-th run takes over the table, at least 1. */
export async function simulateOurs(
  requests: readonly SimulatedRequest[],
  costs: CostTable,
  window: Window,
  slowdown: (run: number) => number,
): Promise<Outcome> {
  const clock = new VirtualClock();
  const solver = new SimulatedSolver(clock, 'deadline');
  const tally = new Tally(window);
  const batcher = new Batcher({
    afterTurn: (callback) => void clock.after(0, callback),
    store: new TimedEngine(clock, costs, slowdown),
    clock,
    metrics: createMetrics(new Registry()),
    limits,
  });
  const call = async (request: SimulatedRequest): Promise<void> => {
    const { form, count, deadlineMs } = request;
    const solveMs = solverMsOf(costs, form, count);
    tally.arrived(clock.nowMs());
    try {
      await batcher.submit({
        jobs: [jobOf(form, count)],
        priority: 'NORMAL',
        deadlineMs,
        expectedAfterMs: solveMs === 0 ? 0 : solver.expectedMs(solveMs),
        signal: new AbortController().signal,
      });
    } catch (thrown) {
      const { code } = CoordinatorError.from(thrown);
      if (code === 'DEADLINE_EXPIRED') tally.expired(clock.nowMs());
      else if (code === 'PREDICTED_LATE' || code === 'QUEUE_FULL') tally.refused(clock.nowMs());
      else throw thrown;
      return;
    }
    if (solveMs === 0) {
      tally.answered(request, clock.nowMs());
      return;
    }
    solver.solve({
      ms: solveMs,
      deadlineMs,
      done: (solved) => (solved ? tally.answered(request, clock.nowMs()) : tally.expired(clock.nowMs())),
    });
  };

  const calls: Promise<void>[] = [];
  const runUntil = async (untilMs: number): Promise<void> => {
    while (clock.nextDueMs <= untilMs) {
      clock.advance(clock.nextDueMs - clock.nowMs());
      await settle();
    }
    clock.advance(untilMs - clock.nowMs());
  };
  for (const request of requests) {
    await runUntil(request.arriveMs);
    calls.push(call(request));
  }
  await runUntil(window.untilMs);
  const outcome = tally.outcome();
  // What still waits is answered after the window, where nothing counts.
  const drain = { over: false };
  const ended = batcher.drain().then(() => (drain.over = true));
  await settle();
  while (!drain.over && clock.nextDueMs < window.untilMs + mostDrainMs) await runUntil(clock.nextDueMs);
  if (!drain.over) throw new Error(`requests still wait ${mostDrainMs} ms after the last one came`);
  await ended;
  await Promise.all(calls);
  return outcome;
}

const noInputs: Job['inputs'] = new Map();

function jobOf(form: AnswerForm, count: number): Job {
  return {
    spec: specs[form],
    key: keys[form],
    parameters: new Map(),
    agentCount: count,
    taskCount: count,
    inputs: noInputs,
  };
}
