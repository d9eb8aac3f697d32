/** The batcher's promises under random load, on a virtual clock. A failing case prints its seed and the shrunk scenario. */
import fc from 'fast-check';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { Batcher } from '../../src/batching/batcher.js';
import { agentBucket, maxBatch, sizeLadder, taskBucket } from '../../src/batching/buckets.js';
import type { Job, JobResult } from '../../src/batching/job.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import type { Priority } from '../../src/problem.js';
import type { Bucket } from '../../src/operators/signature.js';
import { expectedPlan, FakePrograms, givenJob, givenSpec, type FakeRun } from '../fake-programs.js';
import { settle, VirtualClock } from '../virtual-clock.js';

/** Keys whose programs are there from the start, are compiled on first use, and cannot be compiled. */
const warmKeys = [10, 11];
const coldKeys = [20, 21];
const brokenKey = 30;

const jobSpecs = fc.record({
  agentCount: fc.integer({ min: 1, max: 70 }),
  taskCount: fc.integer({ min: 1, max: 40 }),
  iterations: fc.constantFrom<number>(10, 10, 10, 11, 20, 21, 30),
});

const arrivals = fc.record({
  gapMs: fc.constantFrom(0, 0, 0, 0.25, 1, 3, 20, 150),
  jobs: fc.oneof(
    { arbitrary: fc.array(jobSpecs, { minLength: 1, maxLength: 1 }), weight: 4 },
    { arbitrary: fc.array(jobSpecs, { minLength: 2, maxLength: 6 }), weight: 1 },
  ),
  priority: fc.constantFrom('LOW', 'NORMAL', 'HIGH'),
  deadlineInMs: fc.constantFrom(Infinity, Infinity, Infinity, 0, 1, 7, 30, 200),
  cancelInMs: fc.constantFrom(Infinity, Infinity, Infinity, Infinity, 0, 1, 7, 30),
  forbidFallback: fc.constantFrom(false, false, false, true),
  tenant: fc.constantFrom('', '', 'a', 'b'),
  bytes: fc.constantFrom(0, 0, 10, 60, 500),
  expectedAfterMs: fc.constantFrom(0, 0, 0, 2, 15),
});

const scenarios = fc.record({
  arrivals: fc.array(arrivals, { minLength: 1, maxLength: 60 }),
  limits: fc.record({
    maxBatch: fc.constantFrom(1, 2, 3, 8, 32),
    maxQueueDelayMs: fc.constantFrom(0, 2, 10),
    maxQueue: fc.constantFrom(1, 4, 64),
    maxQueueBytes: fc.constantFrom<number>(100, 10_000),
    tenantWeights: fc.constantFrom(new Map<string, number>(), new Map([['a', 4]])),
    maxPaddingWaste: fc.constantFrom(0, 0.4, 0.9),
  }),
  concurrency: fc.constantFrom(1, 1, 2),
  runMs: fc.array(fc.constantFrom(0.5, 2, 10, 40), { minLength: 1, maxLength: 5 }),
  /** Every so many runs fail; 0 = none. */
  failEvery: fc.constantFrom(0, 0, 1, 3, 7),
  /** Whether another engine runs what failed, once. */
  hasFallback: fc.boolean(),
  compileMs: fc.constantFrom(0, 5, 60),
  drainAtMs: fc.constantFrom(Infinity, Infinity, 30),
});

type Scenario = typeof scenarios extends fc.Arbitrary<infer S> ? S : never;

interface Call {
  readonly jobs: readonly TrackedJob[];
  readonly tenant: string;
  readonly priority: Priority;
  readonly bytes: number;
  readonly deadlineMs: number;
  readonly controller: AbortController;
  /** One of its batches failed for good, so its rejection is on its way. */
  failing: boolean;
  readonly forbidFallback: boolean;
  outcome: readonly JobResult[] | CoordinatorError | null;
  answers: number;
}

interface TrackedJob {
  readonly job: Job;
  readonly own: Bucket;
  runs: number;
  failures: number;
}

/** Plays a scenario and checks every promise as it goes. Times before the first arrival are 0. */
class Simulation {
  readonly clock = new VirtualClock();
  readonly calls: Call[] = [];
  readonly #scenario: Scenario;
  readonly #store: FakePrograms;
  readonly #batcher: Batcher;
  readonly #byMark = new Map<number, { readonly call: Call; readonly tracked: TrackedJob }>();
  /** Failed assertions that the batcher or a promise would otherwise take for a failing engine. */
  readonly #violations: unknown[] = [];
  /** Whether any batch has run. */
  #measured = false;
  #drained: Promise<void> | null = null;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    const { concurrency, runMs, failEvery, compileMs, hasFallback, limits } = scenario;
    this.#store = new FakePrograms({
      clock: this.clock,
      concurrency,
      runMs: (_bucket, run) => runMs[run % runMs.length]!,
      failure: (run) => {
        if (failEvery === 0 || run % failEvery !== failEvery - 1) return null;
        for (const mark of this.#store.runs[run]!.marks) {
          if (mark === 0) continue;
          const { call, tracked } = this.#byMark.get(mark)!;
          if (++tracked.failures > 1 || !hasFallback || call.forbidFallback) call.failing = true;
        }
        return new CoordinatorError('ENGINE_FAILED', 'lost');
      },
      isWarm: (spec) => warmKeys.includes(spec.soft!.iterations),
      compileMs: (_spec, bucket) => compileMs * bucket.batch,
      hasFallback,
      compileFailure: (spec) =>
        spec.soft!.iterations === brokenKey ? new CoordinatorError('COMPILE_FAILED', 'refused') : null,
      onRun: (run) => this.#keep(() => this.#checkRun(run)),
    });
    this.#batcher = new Batcher({
      store: this.#store,
      clock: this.clock,
      metrics: createMetrics(new Registry()),
      limits,
    });
  }

  async play(): Promise<void> {
    let atMs = 0;
    for (const arrival of this.#scenario.arrivals) {
      atMs += arrival.gapMs;
      this.clock.after(atMs, () => this.#arrive(arrival));
    }
    const { drainAtMs } = this.#scenario;
    if (drainAtMs !== Infinity) {
      this.clock.after(drainAtMs, () => {
        this.#drained = this.#batcher.drain();
      });
    }
    for (let steps = 0; this.clock.pendingTimers > 0; steps++) {
      if (steps > 20_000) throw new Error('the simulation does not end');
      const untilNextMs = this.clock.nextDueMs - this.clock.nowMs();
      await this.clock.advanceAsync(untilNextMs);
      this.#checkRest();
    }
    await (this.#drained ?? this.#batcher.drain());
    await settle();
    if (this.#violations.length > 0) throw this.#violations[0];
    expect(this.#batcher.depth).toBe(0);
    expect(this.#batcher.inFlight).toBe(0);
  }

  #arrive(arrival: Scenario['arrivals'][number]): void {
    const { jobs, priority, deadlineInMs, cancelInMs, forbidFallback, tenant, bytes, expectedAfterMs } = arrival;
    const nowMs = this.clock.nowMs();
    const tracked = jobs.map(({ agentCount, taskCount, iterations }, i): TrackedJob => ({
      job: givenJob(agentCount, taskCount, this.#byMark.size + i + 1, givenSpec(iterations)),
      own: { batch: 1, agents: agentBucket(agentCount), tasks: taskBucket(taskCount) },
      runs: 0,
      failures: 0,
    }));
    const controller = new AbortController();
    const call: Call = {
      jobs: tracked,
      tenant,
      priority,
      bytes,
      deadlineMs: nowMs + deadlineInMs,
      controller,
      failing: false,
      forbidFallback,
      outcome: null,
      answers: 0,
    };
    this.calls.push(call);
    for (const one of tracked) this.#byMark.set(one.job.inputs.get('utility')!.data[0]!, { call, tracked: one });
    const settled = (outcome: Call['outcome']) => {
      call.outcome = outcome;
      call.answers++;
    };
    const waitingBefore = this.#waiting();
    this.#batcher
      .submit({
        jobs: tracked.map(({ job }) => job),
        priority,
        forbidFallback,
        tenant,
        bytes,
        expectedAfterMs,
        deadlineMs: call.deadlineMs,
        signal: controller.signal,
      })
      .then(settled, (thrown: unknown) => {
        settled(thrown as CoordinatorError);
        this.#keep(() => this.#checkRefusal(thrown, call, waitingBefore));
      });
    if (cancelInMs !== Infinity) this.clock.after(cancelInMs, () => controller.abort());
  }

  #keep(check: () => void): void {
    try {
      check();
    } catch (violation) {
      this.#violations.push(violation);
    }
  }

  #checkRefusal(thrown: unknown, { bytes, deadlineMs }: Call, waitingBefore: readonly Call[]): void {
    if (!(thrown instanceof CoordinatorError) || thrown.code === 'INTERNAL') throw thrown;
    if (thrown.code === 'PREDICTED_LATE') {
      expect(deadlineMs).toBeLessThan(Infinity);
      expect(this.#measured).toBe(true);
    }
    if (thrown.code === 'PREDICTED_LATE' || thrown.code === 'QUEUE_FULL')
      expect(thrown.retryAfterMs).toBeGreaterThan(0);
    // One that is displaced was let in before.
    if (thrown.code !== 'QUEUE_FULL' || thrown.message.includes('took the place')) return;
    const { maxQueue, maxQueueBytes } = this.#scenario.limits;
    const held = waitingBefore.reduce((sum, call) => sum + call.bytes, bytes);
    expect(waitingBefore.length >= maxQueue || held > maxQueueBytes).toBe(true);
  }

  /** Calls with jobs that wait; those that had their answer by now are not among them. */
  #waiting(): readonly Call[] {
    return this.calls.filter(
      ({ answers, jobs }) => answers === 0 && jobs.some(({ runs, failures }) => runs === failures),
    );
  }

  /** A batch was handed to the engine. */
  #checkRun({ key, bucket, marks }: FakeRun): void {
    const nowMs = this.clock.nowMs();
    const { limits } = this.#scenario;
    const members = marks.filter((mark) => mark !== 0).map((mark) => this.#byMark.get(mark)!);
    expect(members.length).toBeGreaterThan(0);
    expect(members.length).toBeLessThanOrEqual(maxBatch(bucket.agents, bucket.tasks, limits.maxBatch));
    expect(sizeLadder).toContain(bucket.agents);
    expect(sizeLadder).toContain(bucket.tasks);
    for (const { call, tracked } of members) {
      expect(tracked.job.key).toBe(key);
      expect(tracked.own.agents).toBeLessThanOrEqual(bucket.agents);
      expect(tracked.own.tasks).toBeLessThanOrEqual(bucket.tasks);
      // Once, and once more where the first run failed.
      expect(++tracked.runs).toBe(tracked.failures + 1);
      expect(tracked.failures).toBeLessThanOrEqual(this.#scenario.hasFallback && !call.forbidFallback ? 1 : 0);
      expect(call.answers).toBe(0);
      expect(call.controller.signal.aborted).toBe(false);
      expect(call.deadlineMs).toBeGreaterThan(nowMs);
    }
    this.#measured = true;
  }

  /** Nothing more happens at this time. */
  #checkRest(): void {
    const { limits, concurrency } = this.#scenario;
    // What failed comes back to the queue, however full it is.
    const returning = this.#scenario.hasFallback ? (concurrency + 1) * limits.maxBatch : 0;
    expect(this.#batcher.depth).toBeLessThanOrEqual(limits.maxQueue + returning);
    expect(this.#batcher.inFlight).toBeLessThanOrEqual(concurrency + 1);
    const runnable = this.#runnable();
    if (this.#batcher.inFlight < concurrency) expect(runnable).toEqual([]);
    expect(this.#waiting().reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(
      limits.maxQueueBytes + returning * 500 + 500,
    );
    for (const { answers, deadlineMs, controller } of this.calls) {
      if (deadlineMs <= this.clock.nowMs() || controller.signal.aborted) expect(answers).toBe(1);
    }
  }

  /** Jobs that wait although their own program is ready. Those of a call that is about to fail are not waited for. */
  #runnable(): TrackedJob[] {
    const nowMs = this.clock.nowMs();
    return this.calls
      .filter(
        ({ answers, controller, deadlineMs, failing, jobs }) =>
          answers === 0 &&
          !controller.signal.aborted &&
          deadlineMs > nowMs &&
          !failing &&
          !jobs.some(({ job }) => job.spec.soft!.iterations === brokenKey),
      )
      .flatMap(({ jobs }) => jobs)
      .filter(({ runs, failures, job, own }) => runs === failures && this.#store.isReady(job.spec, own));
  }
}

describe('the batcher', () => {
  it('keeps its promises whatever arrives, fails, compiles slowly, is cancelled or comes late', async () => {
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const simulation = new Simulation(scenario);
        await simulation.play();
        for (const { jobs, outcome, answers } of simulation.calls) {
          expect(answers).toBe(1);
          if (outcome === null || outcome instanceof CoordinatorError) continue;
          expect(outcome).toHaveLength(jobs.length);
          for (const [i, { job }] of jobs.entries()) expect(outcome[i]!.outputs.get('plan')).toEqual(expectedPlan(job));
        }
      }),
      { numRuns: 150 },
    );
  });

  it('answers all callers who neither leave nor hurry when nothing fails, LOW ones under any load included', async () => {
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const patient: Scenario = {
          ...scenario,
          arrivals: scenario.arrivals.map((arrival) => ({
            ...arrival,
            jobs: arrival.jobs.map((job) => ({
              ...job,
              iterations: job.iterations === brokenKey ? coldKeys[0]! : job.iterations,
            })),
            deadlineInMs: Infinity,
            cancelInMs: Infinity,
          })),
          limits: { ...scenario.limits, maxQueue: 64, maxQueueBytes: 100_000 },
          failEvery: 0,
          drainAtMs: Infinity,
        };
        const simulation = new Simulation(patient);
        await simulation.play();
        for (const { outcome } of simulation.calls) expect(outcome).toBeInstanceOf(Array);
      }),
      { numRuns: 50 },
    );
  });
});
