/** The batcher's promises, one claim a test under one virtual clock and one fake store; past 400 lines because they share both. */
import { getEventListeners } from 'node:events';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { Batcher, type BatcherLimits, type BatcherOptions } from '../../src/batching/batcher.js';
import type { Job, JobResult, Submission } from '../../src/batching/job.js';
import type { ProgramSource } from '../../src/batching/program-source.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import type { Priority } from '../../src/problem.js';
import { expectedPlan, FakePrograms, givenJob, givenSpec, type FakeProgramsOptions } from '../fake-programs.js';
import { VirtualClock } from '../virtual-clock.js';

interface Call {
  readonly controller: AbortController;
  outcome: readonly JobResult[] | CoordinatorError | null;
  answers: number;
}

interface CallOptions {
  readonly deadlineMs?: number;
  readonly priority?: Priority;
  readonly forbidFallback?: boolean;
}

function optionsOf(clock: VirtualClock, store: ProgramSource, limits: Partial<BatcherLimits> = {}): BatcherOptions {
  return {
    store,
    clock,
    metrics: createMetrics(new Registry()),
    limits: { maxBatch: 32, maxQueueDelayMs: 2, maxQueue: 256, maxPaddingWaste: 0.4, ...limits },
  };
}

function setUp(limits: Partial<BatcherLimits> = {}, programs: Omit<FakeProgramsOptions, 'clock'> = {}) {
  const clock = new VirtualClock(1000);
  const store = new FakePrograms({ clock, ...programs });
  const metrics = createMetrics(new Registry());
  const batcher = new Batcher({
    ...optionsOf(clock, store, limits),
    metrics,
  });
  const call = (jobs: Job | readonly Job[], options: CallOptions = {}): Call => {
    const { deadlineMs = Infinity, priority = 'NORMAL', forbidFallback = false } = options;
    const controller = new AbortController();
    const made: Call = { controller, outcome: null, answers: 0 };
    const list = Array.isArray(jobs) ? (jobs as readonly Job[]) : [jobs as Job];
    const { signal } = controller;
    const submission: Submission = { jobs: list, priority, forbidFallback, deadlineMs, signal };
    batcher.submit(submission).then(
      (results) => {
        made.outcome = results;
        made.answers++;
      },
      (thrown: unknown) => {
        made.outcome = thrown as CoordinatorError;
        made.answers++;
      },
    );
    return made;
  };
  const valueOf = async (name: 'shed' | 'batchDispatch' | 'queueDepth', label?: string): Promise<number> => {
    const { values } = await metrics[name].get();
    return values.find(({ labels }) => label === undefined || Object.values(labels).includes(label))?.value ?? 0;
  };
  return { clock, store, metrics, batcher, call, valueOf };
}

const codeOf = ({ outcome }: Call) => (outcome instanceof CoordinatorError ? outcome.code : null);
const resultsOf = ({ outcome }: Call): readonly JobResult[] => {
  if (outcome === null || outcome instanceof CoordinatorError) throw new Error(`no results: ${String(outcome)}`);
  return outcome;
};
const planOf = (call: Call) => resultsOf(call)[0]!.outputs.get('plan');

describe('a lone caller', () => {
  it('is dispatched at once by an idle engine and gets its own answer with its bucket and timings', async () => {
    const { clock, store, batcher, call } = setUp({}, { runMs: () => 5 });
    const job = givenJob(20, 10);
    const made = call(job);
    expect(store.runs).toMatchObject([{ key: job.key, bucket: { batch: 1, agents: 32, tasks: 16 }, startedMs: 1000 }]);
    expect(batcher.inFlight).toBe(1);
    expect(batcher.depth).toBe(0);
    await clock.advanceAsync(5);
    expect(planOf(made)).toEqual(expectedPlan(job));
    const [result] = resultsOf(made);
    expect(result).toMatchObject({ batchSize: 1, engine: 'onnx', device: 'cpu', fingerprint: 'b1 n32 m16' });
    expect(result!.timings).toEqual({ queueMs: 0, packMs: 0, transferInMs: 0, executeMs: 5, transferOutMs: 0 });
    expect(batcher.inFlight).toBe(0);
  });

  it('leaves no timer and no abort listener behind', async () => {
    const { clock, call } = setUp();
    const made = call(givenJob(4, 4), { deadlineMs: 1100 });
    await clock.advanceAsync(1);
    expect(made.answers).toBe(1);
    expect(getEventListeners(made.controller.signal, 'abort')).toHaveLength(0);
    await clock.advanceAsync(200);
    expect(clock.pendingTimers).toBe(0);
    made.controller.abort();
    await clock.advanceAsync(1);
    expect(made.answers).toBe(1);
  });
});

describe('while the engine is busy', () => {
  it('callers share the next batch, each with its own answer, and staged time counts as queueing', async () => {
    const { clock, store, call } = setUp({}, { runMs: () => 10 });
    call(givenJob(16, 16));
    const jobs = [givenJob(10, 12, 100), givenJob(16, 3, 200), givenJob(1, 16, 300)];
    const calls = jobs.map((job) => call(job));
    expect(store.runs).toHaveLength(1);
    await clock.advanceAsync(2);
    expect(store.runs[1]).toMatchObject({ bucket: { batch: 4, agents: 16, tasks: 16 }, startedMs: 1002 });
    await clock.advanceAsync(18);
    for (const [i, made] of calls.entries()) {
      expect(planOf(made)).toEqual(expectedPlan(jobs[i]!));
      expect(resultsOf(made)[0]!.timings).toMatchObject({ queueMs: 10, executeMs: 10 });
      expect(resultsOf(made)[0]!.batchSize).toBe(3);
    }
  });

  it('stages one batch and no more', async () => {
    const { clock, store, batcher, call } = setUp({ maxQueueDelayMs: 0 }, { runMs: () => 10 });
    for (let i = 0; i < 5; i++) call(givenJob(16, 16));
    expect(store.runs).toHaveLength(2);
    expect(batcher.depth).toBe(3);
    await clock.advanceAsync(10);
    expect(store.runs[2]).toMatchObject({ bucket: { batch: 4 }, startedMs: 1010 });
  });

  it('never mixes keys in a batch', async () => {
    const { clock, store, call } = setUp({}, { runMs: () => 10 });
    call(givenJob(16, 16));
    const calls = [1, 2, 1, 2].map((iterations) => call(givenJob(16, 16, iterations, givenSpec(iterations))));
    await clock.advanceAsync(40);
    expect(store.runs.slice(1).map(({ bucket }) => bucket.batch)).toEqual([2, 2]);
    expect(new Set(store.runs.map(({ key }) => key)).size).toBe(3);
    expect(calls.every(({ answers }) => answers === 1)).toBe(true);
  });
});

describe('what runs cost', () => {
  it('a batch is staged just before the engine is expected to be free, with all that came until then', async () => {
    const { clock, store, call } = setUp({ maxQueueDelayMs: 100 }, { runMs: () => 10 });
    call(givenJob(16, 16));
    await clock.advanceAsync(20);
    call(givenJob(16, 16));
    call(givenJob(16, 16));
    await clock.advanceAsync(8);
    call(givenJob(16, 16));
    expect(store.runs).toHaveLength(2);
    await clock.advanceAsync(1);
    expect(store.runs[2]).toMatchObject({ startedMs: 1029, bucket: { batch: 2 } });
  });

  it('a late batch does not keep others from being staged, and an early end does not idle the engine', async () => {
    const times = [10, 50, 4, 1];
    const { clock, store, call } = setUp({ maxQueueDelayMs: 100 }, { runMs: (_bucket, run) => times[run] ?? 1 });
    call(givenJob(16, 16));
    await clock.advanceAsync(20);
    call(givenJob(16, 16));
    await clock.advanceAsync(15);
    call(givenJob(16, 16));
    expect(store.runs).toHaveLength(3);
    await clock.advanceAsync(35);
    call(givenJob(16, 16));
    expect(store.runs).toHaveLength(3);
    await clock.advanceAsync(4);
    expect(store.runs[3]).toMatchObject({ startedMs: 1074 });
  });

  it('jobs are split over full batches where slots cost, and share a padded one where they do not', async () => {
    const batchesOf = async (runMs: (bucket: { readonly batch: number }) => number) => {
      const { clock, store, call } = setUp({ maxQueueDelayMs: 100 }, { runMs });
      for (const size of [1, 2, 4]) call(Array.from({ length: size }, () => givenJob(16, 16)));
      await clock.advanceAsync(200);
      const before = store.runs.length;
      call(givenJob(16, 16));
      for (let i = 0; i < 5; i++) call(givenJob(16, 16));
      await clock.advanceAsync(200);
      return store.runs.slice(before + 1).map(({ bucket }) => bucket.batch);
    };
    expect(await batchesOf(({ batch }) => 0.1 + batch * 10)).toEqual([4, 1]);
    expect(await batchesOf(({ batch }) => 10 + batch * 0.1)).toEqual([8]);
  });

  it('a larger program that stands in is filled', async () => {
    const clock = new VirtualClock();
    const fake = new FakePrograms({ clock, runMs: ({ batch }) => 10 * batch });
    const source = new Proxy<ProgramSource>(fake, {
      get: (target, name) => {
        if (name === 'ready') {
          const ready: ProgramSource['ready'] = (spec, key, wanted, parameters, avoid) =>
            fake.ready(spec, key, { ...wanted, batch: wanted.batch > 1 ? 8 : 1 }, parameters, avoid);
          return ready;
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const batcher = new Batcher(optionsOf(clock, source, { maxQueueDelayMs: 1000 }));
    const { signal } = new AbortController();
    const submit = (jobs: readonly Job[]) =>
      void batcher.submit({ jobs, priority: 'NORMAL', deadlineMs: Infinity, signal });
    submit([givenJob(16, 16)]);
    await clock.advanceAsync(10);
    submit([givenJob(16, 16)]);
    submit([1, 2, 3, 4, 5].map((mark) => givenJob(16, 16, mark)));
    await clock.advanceAsync(200);
    expect(fake.runs.slice(2).map(({ marks }) => marks)).toEqual([[1, 2, 3, 4, 5, 0, 0, 0]]);
  });

  it('what was expected of a batch is compared with what it took', async () => {
    const times = [10, 20, 30];
    const { clock, metrics, call } = setUp({}, { runMs: (_bucket, run) => times[run]! });
    for (let i = 0; i < 3; i++) {
      call(givenJob(16, 16));
      await clock.advanceAsync(100);
    }
    const { values } = await metrics.costModelError.get();
    const valueOf = (suffix: string) => values.find(({ metricName }) => metricName?.endsWith(suffix) === true)?.value;
    expect([valueOf('_count'), valueOf('_sum')]).toEqual([2, 2 + 3]);
  });
});

describe('refusals', () => {
  it('refuses at once when the queue is full, with the time in which the queue drains', async () => {
    const { clock, batcher, call, valueOf } = setUp({ maxQueue: 3, maxBatch: 1 }, { runMs: () => 10 });
    call(givenJob(4, 4));
    await clock.advanceAsync(10);
    const accepted = [0, 1, 2, 3, 4].map(() => call(givenJob(4, 4)));
    expect(batcher.depth).toBe(3);
    const refused = call(givenJob(4, 4));
    await clock.advanceAsync(0);
    expect(codeOf(refused)).toBe('QUEUE_FULL');
    expect((refused.outcome as CoordinatorError).retryAfterMs).toBe(30);
    expect(await valueOf('shed', 'queue_full')).toBe(1);
    await clock.advanceAsync(50);
    expect(accepted.map(({ answers }) => answers)).toEqual([1, 1, 1, 1, 1]);
    expect(accepted.map(codeOf)).toEqual([null, null, null, null, null]);
  });

  it('counts a submission with many jobs once', async () => {
    const { clock, batcher, call } = setUp({ maxQueue: 2, maxBatch: 1 }, { runMs: () => 10 });
    const many = () => Array.from({ length: 5 }, (_, mark) => givenJob(4, 4, mark));
    const calls = [call(many()), call(many())];
    expect(batcher.depth).toBe(2);
    const refused = call(givenJob(4, 4));
    await clock.advanceAsync(100);
    expect(codeOf(refused)).toBe('QUEUE_FULL');
    expect(calls.map((made) => resultsOf(made).length)).toEqual([5, 5]);
  });

  it('refuses what is late, cancelled or too large before it is queued', async () => {
    const { clock, store, batcher, call, valueOf } = setUp();
    const late = call(givenJob(4, 4), { deadlineMs: 1000 });
    const large = call(givenJob(5121, 1));
    const controller = new AbortController();
    controller.abort();
    const gone = batcher.submit({
      jobs: [givenJob(4, 4)],
      priority: 'HIGH',
      deadlineMs: Infinity,
      signal: controller.signal,
    });
    await expect(gone).rejects.toMatchObject({ code: 'CANCELLED' });
    await clock.advanceAsync(0);
    expect([late, large].map(codeOf)).toEqual(['DEADLINE_EXPIRED', 'SIZE_LIMIT']);
    expect(store.runs).toHaveLength(0);
    expect(await valueOf('shed', 'deadline')).toBe(1);
    expect(await valueOf('shed', 'cancelled')).toBe(1);
  });
});

describe('deadlines and cancellation', () => {
  it('a deadline that passes in the queue is answered on time, not at the next dispatch', async () => {
    const { clock, store, call, valueOf } = setUp({}, { runMs: () => 100 });
    call(givenJob(4, 4));
    call(givenJob(4, 4));
    await clock.advanceAsync(2);
    const late = call(givenJob(4, 4), { deadlineMs: 1010 });
    await clock.advanceAsync(7.5);
    expect(late.answers).toBe(0);
    await clock.advanceAsync(0.5);
    expect(codeOf(late)).toBe('DEADLINE_EXPIRED');
    await clock.advanceAsync(300);
    expect(store.runs).toHaveLength(2);
    expect(await valueOf('shed', 'deadline')).toBe(1);
  });

  it('a deadline that passes during execution rejects its caller once and spares the others of the batch', async () => {
    const { clock, call, valueOf } = setUp({}, { runMs: () => 10 });
    call(givenJob(4, 4));
    const patient = call(givenJob(4, 4, 7));
    const hasty = call(givenJob(4, 4, 8), { deadlineMs: 1015 });
    await clock.advanceAsync(15);
    expect(codeOf(hasty)).toBe('DEADLINE_EXPIRED');
    expect(patient.answers).toBe(0);
    await clock.advanceAsync(10);
    expect(planOf(patient)).toEqual(expectedPlan(givenJob(4, 4, 7)));
    expect([hasty.answers, patient.answers]).toEqual([1, 1]);
    expect(await valueOf('shed', 'deadline')).toBe(0);
  });

  it('a cancelled job never occupies a batch', async () => {
    const { clock, store, batcher, call, valueOf } = setUp({}, { runMs: () => 10 });
    call(givenJob(4, 4));
    const gone = call(givenJob(4, 4));
    gone.controller.abort();
    expect(batcher.depth).toBe(0);
    await clock.advanceAsync(30);
    expect(codeOf(gone)).toBe('CANCELLED');
    expect(store.runs).toHaveLength(1);
    expect(await valueOf('shed', 'cancelled')).toBe(1);
  });

  it('a call cancelled during execution is answered CANCELLED at once', async () => {
    const { clock, call } = setUp({}, { runMs: () => 10 });
    const gone = call(givenJob(4, 4));
    await clock.advanceAsync(5);
    gone.controller.abort();
    await clock.advanceAsync(0);
    expect(codeOf(gone)).toBe('CANCELLED');
    await clock.advanceAsync(10);
    expect(gone.answers).toBe(1);
  });
});

describe('failures', () => {
  it('a failing batch answers every member with its error, and the next batch runs', async () => {
    const lost = new CoordinatorError('ENGINE_FAILED', 'the worker was lost');
    const { clock, call } = setUp({}, { runMs: () => 10, failure: (run) => (run === 1 ? lost : null) });
    const first = call(givenJob(4, 4));
    const members = [call(givenJob(4, 4)), call(givenJob(5, 5))];
    await clock.advanceAsync(10);
    const next = call(givenJob(4, 4));
    await clock.advanceAsync(40);
    expect(members.map(({ outcome }) => outcome)).toEqual([lost, lost]);
    expect([codeOf(first), codeOf(next)]).toEqual([null, null]);
  });

  it('whatever else is thrown reaches callers as INTERNAL', async () => {
    const { clock, call } = setUp({}, { failure: () => new TypeError('boom') });
    const made = call(givenJob(4, 4));
    await clock.advanceAsync(10);
    expect(codeOf(made)).toBe('INTERNAL');
    expect((made.outcome as CoordinatorError).message).not.toContain('boom');
  });

  it('a job with a missing input fails alone', async () => {
    const { clock, store, call } = setUp({}, { runMs: () => 10 });
    call(givenJob(4, 4));
    const broken = givenJob(4, 4, 1);
    const inputs = new Map(broken.inputs);
    inputs.delete('utility');
    const bad = call({ ...broken, inputs });
    const good = call(givenJob(4, 4, 2));
    await clock.advanceAsync(30);
    expect(codeOf(bad)).toBe('INTERNAL');
    expect((bad.outcome as CoordinatorError).message).toContain('utility');
    expect(planOf(good)).toEqual(expectedPlan(givenJob(4, 4, 2)));
    expect(store.runs).toHaveLength(2);
  });

  it('a submission fails as a whole with its first failure, and the rest of it leaves the queue', async () => {
    const lost = new CoordinatorError('ENGINE_FAILED', 'the worker was lost');
    const { clock, store, batcher, call } = setUp(
      { maxBatch: 1, maxQueueDelayMs: 1000 },
      { runMs: () => 10, failure: (run) => (run === 1 ? lost : null) },
    );
    const made = call([1, 2, 3, 4, 5].map((mark) => givenJob(4, 4, mark)));
    await clock.advanceAsync(20);
    expect(made.outcome).toBe(lost);
    expect(batcher.depth).toBe(0);
    await clock.advanceAsync(100);
    expect(store.runs).toHaveLength(3);
    expect(made.answers).toBe(1);
  });
});

describe('where another engine can run what failed', () => {
  const failing = (failures: readonly number[]): Omit<FakeProgramsOptions, 'clock'> => ({
    hasFallback: true,
    runMs: () => 5,
    failure: (run) => (failures.includes(run) ? new CoordinatorError('ENGINE_FAILED', 'lost') : null),
  });

  it('every member of a failed batch is run once more there, and its neighbours in the queue are served', async () => {
    const { clock, store, call } = setUp({}, failing([0]));
    const jobs = [givenJob(16, 16, 1), givenJob(16, 16, 2), givenJob(16, 16, 3)];
    const calls = jobs.map((job) => call(job));
    await clock.advanceAsync(30);
    expect(calls.map(planOf)).toEqual(jobs.map(expectedPlan));
    expect(resultsOf(calls[0]!)[0]).toMatchObject({ engine: 'xla' });
    expect(resultsOf(calls[1]!)[0]).toMatchObject({ engine: 'onnx' });
    expect(calls.map(({ answers }) => answers)).toEqual([1, 1, 1]);
    expect(store.reports).toEqual(['execution_failed', 'succeeded', 'succeeded']);
  });

  it('a run that fails there, too, is answered with its error', async () => {
    const { clock, store, call } = setUp({}, failing([0, 1]));
    const made = call(givenJob(16, 16));
    await clock.advanceAsync(30);
    expect(codeOf(made)).toBe('ENGINE_FAILED');
    expect(store.runs).toHaveLength(2);
  });

  it('goes before what came later', async () => {
    const { clock, store, call } = setUp({ maxBatch: 1 }, failing([0]));
    for (const mark of [1, 2, 3, 4]) call(givenJob(16, 16, mark));
    await clock.advanceAsync(60);
    // The second was staged when the first failed.
    expect(store.runs.map(({ marks }) => marks[0])).toEqual([1, 2, 1, 3, 4]);
  });

  it('a deadline that has passed by then is answered as such', async () => {
    const { clock, store, call } = setUp({}, failing([0]));
    const made = call(givenJob(16, 16), { deadlineMs: 1005 });
    await clock.advanceAsync(30);
    expect(codeOf(made)).toBe('DEADLINE_EXPIRED');
    expect(store.runs).toHaveLength(1);
  });

  it('an answer with NaN is never given out', async () => {
    const { clock, store, call } = setUp({}, { hasFallback: true, givesNaN: (run) => run === 0 });
    const job = givenJob(16, 16);
    const made = call(job);
    await clock.advanceAsync(30);
    expect(planOf(made)).toEqual(expectedPlan(job));
    expect(store.reports).toEqual(['not_finite', 'succeeded']);
  });

  it('NaN is INTERNAL where there is no other engine', async () => {
    const { clock, call } = setUp({}, { givesNaN: () => true });
    const made = call(givenJob(16, 16));
    await clock.advanceAsync(30);
    expect(codeOf(made)).toBe('INTERNAL');
  });
});

describe('calls that forbid a fallback', () => {
  it('are refused at once while the preferred engine is down, and others are served', async () => {
    const { clock, store, call } = setUp();
    store.fallingBack = true;
    const strict = call(givenJob(16, 16), { forbidFallback: true });
    const other = call(givenJob(16, 16));
    await clock.advanceAsync(0);
    expect(codeOf(strict)).toBe('FALLBACK_FORBIDDEN');
    await clock.advanceAsync(10);
    expect(codeOf(other)).toBe(null);
    expect(other.answers).toBe(1);
  });

  it('are refused rather than run elsewhere when their run fails; their neighbours in the batch are answered', async () => {
    const failure = (run: number) => (run === 1 ? new CoordinatorError('ENGINE_FAILED', 'lost') : null);
    const { clock, call } = setUp({}, { hasFallback: true, runMs: () => 5, failure });
    call(givenJob(16, 16));
    const [strict, other] = [call(givenJob(16, 16), { forbidFallback: true }), call(givenJob(16, 16))];
    await clock.advanceAsync(60);
    expect(codeOf(strict)).toBe('FALLBACK_FORBIDDEN');
    expect(other.answers).toBe(1);
    expect(resultsOf(other)[0]).toMatchObject({ engine: 'xla' });
  });

  it('are refused where the preferred engine goes down while they wait', async () => {
    const { clock, store, call } = setUp({}, { runMs: () => 5 });
    call(givenJob(16, 16));
    const [strict, other] = [call(givenJob(16, 16), { forbidFallback: true }), call(givenJob(16, 16))];
    store.fallingBack = true;
    await clock.advanceAsync(60);
    expect(codeOf(strict)).toBe('FALLBACK_FORBIDDEN');
    expect(other.answers).toBe(1);
    expect(resultsOf(other)).toHaveLength(1);
  });
});

describe('programs that are not ready', () => {
  const cold = (iterations: number) => ({
    isWarm: (spec: { soft: { iterations: number } | null }) => spec.soft?.iterations !== iterations,
    compileMs: () => 50,
  });

  it('jobs wait for theirs without blocking other keys', async () => {
    const { clock, store, call } = setUp({}, cold(99));
    const waiting = call(givenJob(4, 4, 1, givenSpec(99)));
    const other = call(givenJob(4, 4, 2));
    await clock.advanceAsync(1);
    expect(planOf(other)).toEqual(expectedPlan(givenJob(4, 4, 2)));
    expect(waiting.answers).toBe(0);
    await clock.advanceAsync(49);
    expect(store.runs).toHaveLength(2);
    await clock.advanceAsync(1);
    expect(planOf(waiting)).toEqual(expectedPlan(givenJob(4, 4, 1)));
  });

  it('while a larger batch is compiled, jobs run one by one in what is ready', async () => {
    const { clock, store, call } = setUp({}, { ...cold(99), compileMs: (_spec, bucket) => 50 * bucket.batch });
    const calls = [1, 2, 3].map((mark) => call(givenJob(4, 4, mark, givenSpec(99))));
    await clock.advanceAsync(53);
    expect(calls.map(({ answers }) => answers)).toEqual([1, 1, 1]);
    expect(store.runs.map(({ bucket }) => bucket.batch)).toEqual([1, 1, 1]);
  });

  it('the jobs that run meanwhile are those that fit it', async () => {
    const clock = new VirtualClock();
    const fake = new FakePrograms({ clock });
    const only = { batch: 4, agents: 16, tasks: 16 };
    const store: ProgramSource = {
      concurrency: 1,
      fallingBack: false,
      ready: (spec, key, wanted, parameters, avoid) =>
        wanted.agents <= 16 ? fake.ready(spec, key, only, parameters, avoid) : null,
      prepare: () => new Promise(() => undefined),
      isActive: () => true,
      isFallback: () => false,
      succeeded: () => undefined,
      failed: () => false,
    };
    const { signal } = new AbortController();
    const batcher = new Batcher(optionsOf(clock, store));
    const submit = (job: Job) => batcher.submit({ jobs: [job], priority: 'NORMAL', deadlineMs: Infinity, signal });
    const first = submit(givenJob(16, 16, 1));
    const rest = [submit(givenJob(16, 16, 2)), submit(givenJob(32, 16, 3)), submit(givenJob(16, 16, 4))];
    await clock.advanceAsync(10);
    await first;
    expect(fake.runs.map(({ marks }) => marks)).toEqual([
      [1, 0, 0, 0],
      [2, 4, 0, 0],
    ]);
    expect(await Promise.all([rest[0], rest[2]])).toHaveLength(2);
    expect(batcher.depth).toBe(1);
  });

  it('a program that cannot be compiled fails the jobs that need it and no others', async () => {
    const refused = new CoordinatorError('COMPILE_FAILED', 'unsupported');
    const { clock, call } = setUp({}, { ...cold(99), compileFailure: () => refused });
    const bad = [call(givenJob(4, 4, 1, givenSpec(99))), call(givenJob(5, 5, 1, givenSpec(99)))];
    const good = call(givenJob(4, 4, 2));
    await clock.advanceAsync(60);
    expect(bad.map(codeOf)).toEqual(['COMPILE_FAILED', 'COMPILE_FAILED']);
    expect(codeOf(good)).toBeNull();
  });

  it('a deadline is kept while a program is compiled', async () => {
    const { clock, batcher, call } = setUp({}, cold(99));
    const made = call(givenJob(4, 4, 1, givenSpec(99)), { deadlineMs: 1020 });
    await clock.advanceAsync(20);
    expect(codeOf(made)).toBe('DEADLINE_EXPIRED');
    expect(batcher.depth).toBe(0);
  });
});

describe('draining', () => {
  it('answers what was accepted without holding it back, refuses the rest, and then resolves', async () => {
    const { clock, store, batcher, call, valueOf } = setUp({ maxQueueDelayMs: 1000 }, { runMs: () => 10 });
    const accepted = [call(givenJob(4, 4)), call(givenJob(4, 4)), call(givenJob(4, 4))];
    let drained = false;
    const done = batcher.drain().then(() => {
      drained = true;
    });
    const refused = call(givenJob(4, 4));
    expect(store.runs).toHaveLength(2);
    await clock.advanceAsync(19);
    expect(drained).toBe(false);
    await clock.advanceAsync(1);
    await done;
    expect(accepted.map(codeOf)).toEqual([null, null, null]);
    expect(accepted.map(({ answers }) => answers)).toEqual([1, 1, 1]);
    expect(codeOf(refused)).toBe('DRAINING');
    expect(await valueOf('batchDispatch', 'drain')).toBe(1);
    await expect(batcher.drain()).resolves.toBeUndefined();
  });
});

describe('metrics', () => {
  it('tell depth, batch sizes, padding, reasons and stages', async () => {
    const { clock, metrics, call, valueOf } = setUp({ maxBatch: 2 }, { runMs: () => 10 });
    call(givenJob(16, 16));
    call(givenJob(8, 16));
    call(givenJob(8, 16));
    call(givenJob(8, 16));
    expect(await valueOf('queueDepth')).toBe(1);
    await clock.advanceAsync(60);
    expect(await valueOf('queueDepth')).toBe(0);
    expect([await valueOf('batchDispatch', 'idle'), await valueOf('batchDispatch', 'full')]).toEqual([1, 1]);
    expect(await valueOf('batchDispatch', 'delay')).toBe(1);
    const sums = async (name: 'batchSize' | 'paddingRatio' | 'stageDuration') =>
      (await metrics[name].get()).values.filter(({ metricName }) => metricName?.endsWith('_sum') === true);
    expect((await sums('batchSize'))[0]?.value).toBe(4);
    expect((await sums('paddingRatio'))[0]?.value).toBeCloseTo(0 + 0.5 + 0.5);
    const stages = new Map((await sums('stageDuration')).map(({ labels, value }) => [labels.stage, value]));
    expect(stages.get('execute')).toBeCloseTo(0.04);
    const observed = (await metrics.stageDuration.get()).values.filter(
      ({ metricName, value }) => metricName.endsWith('_count') && value > 0,
    );
    expect(observed.map(({ labels }) => labels['stage'])).toEqual([
      'queue',
      'pack',
      'transfer_in',
      'execute',
      'transfer_out',
    ]);
  });
});

describe('what the event loop read together', () => {
  const onTurns = (options: Omit<FakeProgramsOptions, 'clock'> = {}) => {
    const clock = new VirtualClock();
    const store = new FakePrograms({ clock, ...options });
    const turns: (() => void)[] = [];
    const batcher = new Batcher({ ...optionsOf(clock, store), afterTurn: (callback) => void turns.push(callback) });
    const submit = (mark: number, deadlineMs = Infinity, solvesBeside = false) =>
      batcher.submit({
        solvesBeside,
        jobs: [givenJob(16, 16, mark)],
        priority: 'NORMAL',
        deadlineMs,
        signal: new AbortController().signal,
      });
    const endTurn = () => {
      expect(turns).toHaveLength(1);
      turns.pop()!();
    };
    /** So that the cost of a run is known, and callers are known to come together. */
    const measured = async () => {
      const first = [submit(0), submit(0)];
      endTurn();
      endTurn();
      await clock.advanceAsync(5);
      await Promise.all(first);
      store.runs.length = 0;
    };
    return { clock, store, turns, submit, endTurn, measured };
  };

  it('shares the first batch, which leaves when a turn brings nothing more', async () => {
    const { clock, store, turns, submit, endTurn } = onTurns();
    const answers = [1, 2, 3].map((mark) => submit(mark));
    expect(store.runs).toHaveLength(0);
    endTurn();
    endTurn();
    await clock.advanceAsync(5);
    await Promise.all(answers);
    expect(store.runs.map(({ marks }) => marks)).toEqual([[1, 2, 3, 0]]);
    expect(turns).toHaveLength(0);
  });

  it('is joined by what each next turn brings, until one brings nothing', async () => {
    const { clock, store, turns, submit, endTurn, measured } = onTurns({ runMs: () => 5 });
    await measured();
    const answers = [submit(1)];
    endTurn();
    answers.push(submit(2), submit(3));
    endTurn();
    expect(store.runs).toHaveLength(0);
    endTurn();
    await clock.advanceAsync(5);
    await Promise.all(answers);
    expect(store.runs.map(({ marks }) => marks)).toEqual([[1, 2, 3, 0]]);
    expect(turns).toHaveLength(0);
  });

  it('leaves at once where the caller before it was alone, too, and waits again after one that was not', async () => {
    const { clock, store, turns, submit, endTurn, measured } = onTurns({ runMs: () => 5 });
    await measured();
    const single = async (mark: number) => {
      const answer = submit(mark);
      const asked = turns.length;
      if (asked > 0) {
        endTurn();
        endTurn();
      }
      await clock.advanceAsync(5);
      await answer;
      return asked;
    };
    expect(await single(1)).toBe(1);
    expect(await single(2)).toBe(0);
    expect(await single(3)).toBe(0);
    const company = [submit(4), submit(5)];
    endTurn();
    await clock.advanceAsync(10);
    await Promise.all(company);
    expect(await single(6)).toBe(1);
    expect(store.runs.map(({ marks }) => marks)).toEqual([[1], [2], [3], [4], [5], [6]]);
  });

  it('tells the engine which run is for the only call there is, and has the cores to itself', async () => {
    const { clock, store, submit, endTurn } = onTurns({ runMs: () => 5 });
    const one = submit(1);
    endTurn();
    endTurn();
    await clock.advanceAsync(5);
    await one;
    const both = [submit(2)];
    await clock.advanceAsync(1);
    both.push(submit(3));
    endTurn();
    await clock.advanceAsync(10);
    await Promise.all(both);
    expect(store.runs.map(({ marks, alone }) => [marks[0], alone])).toEqual([
      [1, true],
      [2, true],
      [3, false],
    ]);
    const three = [submit(4), submit(5), submit(6)];
    endTurn();
    endTurn();
    await clock.advanceAsync(5);
    await Promise.all(three);
    expect(store.runs.at(-1)).toMatchObject({ marks: [4, 5, 6, 0], alone: false });
    store.runs.length = 0;
    const shared = submit(7, Infinity, true);
    endTurn();
    endTurn();
    await clock.advanceAsync(5);
    await shared;
    expect(store.runs.map(({ alone }) => alone)).toEqual([false]);
  });

  it('waits no longer than it would take the engine, and not where it would be late', async () => {
    const { clock, store, submit, endTurn, measured } = onTurns({ runMs: () => 5 });
    await measured();
    const answers = [submit(1)];
    const { runs } = store;
    for (let turn = 0; turn < 20 && runs.length < 1; turn++) {
      endTurn();
      await clock.advanceAsync(2);
      if (runs.length < 1) answers.push(submit(2 + turn));
    }
    // 5 ms a run of up to four, however many come.
    expect(answers.length).toBeLessThan(6);
    await clock.advanceAsync(20);
    await Promise.all(answers);
    store.runs.length = 0;
    const urgent = submit(9, clock.nowMs() + 5.05);
    endTurn();
    expect(store.runs.map(({ marks }) => marks[0])).toEqual([9]);
    await clock.advanceAsync(5);
    await urgent;
  });
});
