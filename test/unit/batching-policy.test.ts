import { describe, expect, it } from 'vitest';
import type { RunCosts } from '../../src/batching/cost-model.js';
import {
  decide,
  defaultMaxPaddingWaste,
  type BatchingView,
  type BatchLimits,
  type Decision,
  type WaitingJob,
} from '../../src/batching/policy.js';

interface NamedJob extends WaitingJob {
  readonly name: string;
}

const limits: BatchLimits = { maxBatch: 4, maxQueueDelayMs: 2, maxPaddingWaste: defaultMaxPaddingWaste };
const nowMs = 10_000;

/** `dueMs` and `startByMs` are as for a job whose cost is not known, unless given. */
function job(name: string, ageMs = 0, options: Partial<NamedJob> = {}): NamedJob {
  const deadlineMs = options.deadlineMs ?? Infinity;
  return {
    name,
    key: 'k',
    agents: 128,
    tasks: 128,
    priority: 'NORMAL',
    enqueuedMs: nowMs - ageMs,
    deadlineMs,
    dueMs: Infinity,
    startByMs: deadlineMs,
    urgencyMs: nowMs - ageMs,
    compiling: null,
    ...options,
  };
}

/** `jobs` in the order of service. */
function view(jobs: readonly NamedJob[], load: Partial<BatchingView<NamedJob>> = {}): BatchingView<NamedJob> {
  const earliestStartByMs = Math.min(Infinity, ...jobs.map(({ startByMs }) => startByMs));
  return {
    waiting: { inOrder: () => jobs, earliestStartByMs, jobCount: jobs.length },
    inFlight: 0,
    concurrency: 1,
    stageAtMs: Infinity,
    freeAtMs: Infinity,
    gatherUntilMs: -Infinity,
    draining: false,
    ...load,
  };
}

/** Padding costs nothing. */
const flat: RunCosts = { runMs: () => 5 };
/** A run costs `fixedMs`, and `cellMs` for every 128 x 128 cells of its slots. */
const perCell = (fixedMs: number, cellMs: number): RunCosts => ({
  runMs: (_key, { batch, agents, tasks }) => fixedMs + (batch * agents * tasks * cellMs) / 128 ** 2,
});

const decideOn = (
  jobs: readonly NamedJob[],
  load: Partial<BatchingView<NamedJob>> = {},
  changed: Partial<BatchLimits> = {},
  costs = flat,
) => decide(view(jobs, load), nowMs, { ...limits, ...changed }, costs);

const namesOf = (jobs: readonly NamedJob[]) => jobs.map(({ name }) => name).join(' ');

/** What a decision says, in short. */
function told(decision: Decision<NamedJob>): unknown {
  if (decision.kind === 'wait') return { untilMs: decision.untilMs };
  if (decision.kind === 'drop') return { expired: namesOf(decision.expired), late: namesOf(decision.late) };
  const { jobs, bucket } = decision.batch;
  return [
    decision.reason,
    jobs.map(({ name }) => name).join(' '),
    `b${bucket.batch} n${bucket.agents} m${bucket.tasks}`,
  ];
}

describe('when a batch is dispatched', () => {
  it('waits for nothing when nothing waits', () => {
    expect(told(decideOn([]))).toEqual({ untilMs: Infinity });
  });

  it('at once when the engine is idle', () => {
    expect(told(decideOn([job('a')]))).toEqual(['idle', 'a', 'b1 n128 m128']);
    expect(told(decideOn([job('a')], { inFlight: 1, concurrency: 2 }))).toEqual(['idle', 'a', 'b1 n128 m128']);
  });

  it('held back behind a running batch until the oldest job has waited long enough', () => {
    const busy = { inFlight: 1 };
    expect(told(decideOn([job('a', 1.5), job('b', 0.5)], busy))).toEqual({ untilMs: nowMs + 0.5 });
    expect(told(decideOn([job('a', 2), job('b', 0.5)], busy))).toEqual(['delay', 'a b', 'b2 n128 m128']);
  });

  it('held back until just before the engine is expected to be free, where that can be told', () => {
    const jobs = [job('a', 1.5), job('b', 0.5)];
    const patient = { maxQueueDelayMs: 20 };
    expect(told(decideOn(jobs, { inFlight: 1, stageAtMs: nowMs + 9 }, patient))).toEqual({ untilMs: nowMs + 9 });
    expect(told(decideOn(jobs, { inFlight: 1, stageAtMs: nowMs + 90 }, patient))).toEqual({ untilMs: nowMs + 90 });
    for (const stageAtMs of [nowMs, nowMs - 50]) {
      expect(told(decideOn(jobs, { inFlight: 1, stageAtMs }, patient))).toEqual(['delay', 'a b', 'b2 n128 m128']);
    }
  });

  it('at once behind a running batch when it is full', () => {
    const jobs = ['a', 'b', 'c', 'd', 'e'].map((name) => job(name));
    expect(told(decideOn(jobs, { inFlight: 1 }))).toEqual(['full', 'a b c d', 'b4 n128 m128']);
    expect(told(decideOn(jobs))).toEqual(['full', 'a b c d', 'b4 n128 m128']);
  });

  it('never as a second staged batch, however full or late', () => {
    const jobs = ['a', 'b', 'c', 'd'].map((name) => job(name, 1000));
    expect(told(decideOn(jobs, { inFlight: 2 }))).toEqual({ untilMs: Infinity });
  });

  it('not while more is about to come to an idle engine, unless it is full, busy or draining', () => {
    const gathering = { gatherUntilMs: nowMs + 1 };
    expect(told(decideOn([job('a')], gathering))).toEqual({ untilMs: Infinity });
    expect(told(decideOn([job('a')], { gatherUntilMs: nowMs }))).toEqual(['idle', 'a', 'b1 n128 m128']);
    expect(told(decideOn([job('a')], { ...gathering, draining: true }))).toEqual(['drain', 'a', 'b1 n128 m128']);
    const full = ['a', 'b', 'c', 'd'].map((name) => job(name));
    expect(told(decideOn(full, gathering))).toEqual(['full', 'a b c d', 'b4 n128 m128']);
    expect(told(decideOn(full, { ...gathering, inFlight: 1 }))).toEqual(['full', 'a b c d', 'b4 n128 m128']);
  });

  it('without holding back while draining', () => {
    expect(told(decideOn([job('a')], { inFlight: 1, draining: true }))).toEqual(['drain', 'a', 'b1 n128 m128']);
    expect(told(decideOn([job('a')], { draining: true }))).toEqual(['drain', 'a', 'b1 n128 m128']);
  });

  it('not for jobs whose program is being compiled, which do not block the others', () => {
    const blocked = job('a', 50, { compiling: 'p' });
    expect(told(decideOn([blocked]))).toEqual({ untilMs: Infinity });
    expect(told(decideOn([blocked, job('b')]))).toEqual(['idle', 'b', 'b1 n128 m128']);
    expect(told(decideOn([blocked, job('b')], { inFlight: 1 }))).toEqual({ untilMs: nowMs + 2 });
  });
});

describe('expired jobs', () => {
  it('are dropped before anything is dispatched, even while their program compiles', () => {
    const jobs = [
      job('late', 5, { deadlineMs: nowMs }),
      job('later', 5, { deadlineMs: nowMs - 3, compiling: 'p' }),
      job('b', 5, { deadlineMs: nowMs + 0.1 }),
    ];
    expect(told(decideOn(jobs))).toEqual({ expired: 'late later', late: '' });
    expect(told(decideOn(jobs, { inFlight: 2 }))).toEqual({ expired: 'late later', late: '' });
  });

  it('are waited for where nothing else happens before', () => {
    const hasty = job('a', 0, { deadlineMs: nowMs + 1 });
    expect(told(decideOn([hasty], { inFlight: 1 }))).toEqual({ untilMs: nowMs + 1 });
    expect(told(decideOn([hasty], { inFlight: 2 }))).toEqual({ untilMs: nowMs + 1 });
    expect(told(decideOn([job('a', 0, { deadlineMs: nowMs + 9 })], { inFlight: 1 }))).toEqual({ untilMs: nowMs + 2 });
  });
});

/** With a measured cost: must be done in `dueInMs`, and takes `ownMs` by itself. */
const due = (name: string, dueInMs: number, ownMs: number, options: Partial<NamedJob> = {}) => {
  const dueMs = nowMs + dueInMs;
  return job(name, 0, { deadlineMs: dueMs + 1, dueMs, startByMs: dueMs - ownMs, ...options });
};

describe('jobs that cannot be done in time', () => {
  it('are dropped before anything is dispatched, with or without a free engine', () => {
    const jobs = [due('late', 4, 5), job('expired', 9, { deadlineMs: nowMs }), due('b', 6, 5)];
    expect(told(decideOn(jobs))).toEqual({ expired: 'expired', late: 'late' });
    expect(told(decideOn(jobs, { inFlight: 2 }))).toEqual({ expired: 'expired', late: 'late' });
  });

  it('are looked at again when the first of them becomes late', () => {
    expect(told(decideOn([due('a', 8, 5)], { inFlight: 2 }))).toEqual({ untilMs: nowMs + 3 });
  });

  it('are not staged behind a batch that ends too late for them', () => {
    const busy = { inFlight: 1, stageAtMs: nowMs, freeAtMs: nowMs + 4 };
    expect(told(decideOn([due('a', 8, 5), due('b', 10, 5)], busy))).toEqual(['delay', 'b', 'b1 n128 m128']);
    expect(told(decideOn([due('a', 8, 5)], busy))).toEqual({ untilMs: nowMs + 3 });
  });
});

describe('how many jobs run at once, by when they are due', () => {
  const costs = perCell(2, 1);

  it('so many that all are done in time, the sooner the better', () => {
    const hurried = [due('a', 4.5, 3), due('b', 20, 3), due('c', 20, 3), due('d', 20, 3)];
    expect(told(decideOn(hurried, {}, {}, costs))).toEqual(['full', 'a b c d', 'b1 n128 m128']);
    const two = [due('a', 4.5, 3), due('b', 4.5, 3), due('c', 20, 3), due('d', 20, 3)];
    expect(told(decideOn(two, {}, {}, costs))).toEqual(['full', 'a b c d', 'b2 n128 m128']);
    const relaxed = hurried.map((each) => ({ ...each, dueMs: nowMs + 20 }));
    expect(told(decideOn(relaxed, {}, {}, costs))).toEqual(['full', 'a b c d', 'b4 n128 m128']);
  });

  it('a job that would make many others late is left out', () => {
    const others = Array.from({ length: 12 }, (_, i) => due(`${i}`, 18.5, 3));
    const decision = decideOn([due('edge', 3.5, 3), ...others], {}, {}, costs);
    expect(told(decision)).toEqual(['full', '0 1 2', 'b4 n128 m128']);
  });

  it('the first one alone where all would be late by the estimate', () => {
    const jobs = [due('a', 2, 1), due('b', 2, 1)];
    expect(told(decideOn(jobs, {}, {}, costs))).toEqual(['idle', 'a b', 'b1 n128 m128']);
  });
});

describe('who shares a batch', () => {
  const sized = (name: string, agents: number, tasks: number) => job(name, 0, { agents, tasks });

  it('only jobs of one key, in order, in the smallest batch size that holds them', () => {
    const jobs = [job('a', 5), job('x', 4, { key: 'other' }), job('b', 3), job('c', 2)];
    expect(told(decideOn(jobs))).toEqual(['idle', 'a b c', 'b4 n128 m128']);
  });

  it('a smaller job joins a larger bucket and a larger one widens it, in N and M independently', () => {
    expect(told(decideOn([sized('a', 128, 64), sized('b', 128, 128)]))).toEqual(['idle', 'a b', 'b2 n128 m128']);
    expect(told(decideOn([sized('a', 128, 128), sized('b', 64, 64)]))).toEqual(['idle', 'a b', 'b2 n128 m128']);
    expect(told(decideOn([sized('a', 64, 128), sized('b', 128, 64)], {}, { maxPaddingWaste: 0.5 }))).toEqual([
      'idle',
      'a b',
      'b2 n128 m128',
    ]);
  });

  it('not where the whole batch would be padded beyond the limit', () => {
    // (16 + 1) / 32 of the cells would be the jobs' own: a waste of 0.47.
    expect(told(decideOn([sized('a', 128, 128), sized('b', 32, 32)]))).toEqual(['idle', 'a', 'b1 n128 m128']);
    // (32 + 1) / 48: 0.31.
    const pair = [sized('a', 128, 128), sized('b', 128, 128), sized('c', 32, 32)];
    expect(told(decideOn(pair))).toEqual(['idle', 'a b c', 'b4 n128 m128']);
    // One large job does not drag many small ones along.
    const small = [sized('a', 64, 64), sized('b', 64, 64), sized('c', 128, 128)];
    expect(told(decideOn(small))).toEqual(['idle', 'a b', 'b2 n64 m64']);
    expect(told(decideOn(pair, {}, { maxPaddingWaste: 0 }))).toEqual(['idle', 'a b', 'b2 n128 m128']);
  });

  it('never beyond the batch limit of the bucket that the batch has grown to', () => {
    const many = { maxBatch: 32, maxPaddingWaste: 1 };
    const jobs = [sized('a', 512, 16), sized('b', 512, 16), sized('c', 512, 16), sized('d', 1024, 16)];
    expect(told(decideOn(jobs, {}, many))).toEqual(['idle', 'a b c', 'b4 n512 m16']);
    expect(told(decideOn([sized('a', 512, 16), sized('d', 1024, 16)], {}, many))).toEqual([
      'full',
      'a d',
      'b2 n1024 m16',
    ]);
  });

  it('a job alone runs in its own bucket whatever the limits', () => {
    expect(told(decideOn([sized('a', 5120, 5120)], {}, { maxPaddingWaste: 0 }))).toEqual([
      'full',
      'a',
      'b1 n5120 m5120',
    ]);
    expect(told(decideOn([job('a', 0, { tasks: 0 })], {}, { maxPaddingWaste: 0 }))).toEqual([
      'idle',
      'a',
      'b1 n128 m0',
    ]);
  });
});

describe('how many jobs run at once, by what runs cost', () => {
  const jobsOf = (count: number) => Array.from({ length: count }, (_, i) => job(`${i}`));
  const sizeOf = (count: number, load: Partial<BatchingView<NamedJob>>, costs: RunCosts) => {
    const decision = decideOn(jobsOf(count), load, { maxBatch: 32 }, costs);
    if (decision.kind !== 'dispatch') throw new Error('nothing was dispatched');
    return decision.batch.bucket.batch;
  };

  it('all in one padded batch where slots cost little, a full smaller one where they cost much', () => {
    expect(sizeOf(20, {}, perCell(10, 0.1))).toBe(32);
    expect(sizeOf(20, {}, perCell(0.1, 1))).toBe(16);
    expect(sizeOf(20, { inFlight: 1, draining: true }, perCell(0.1, 1))).toBe(16);
  });

  it('spread over the places that are free', () => {
    expect(sizeOf(20, { concurrency: 4 }, perCell(0.1, 1))).toBe(8);
    expect(sizeOf(20, { concurrency: 4, inFlight: 3 }, perCell(0.1, 1))).toBe(16);
    expect(sizeOf(20, { concurrency: 4 }, perCell(10, 0.01))).toBe(32);
  });

  it('in a bucket no larger than they need', () => {
    const jobs = [...jobsOf(4).map((one) => ({ ...one, agents: 64 })), job('large', 0, { agents: 128 })];
    const decision = decideOn(jobs, {}, { maxBatch: 8 }, perCell(1, 1));
    expect(decision).toMatchObject({ kind: 'dispatch', batch: { bucket: { batch: 4, agents: 64, tasks: 128 } } });
  });
});

describe('who shares a batch, by what runs cost', () => {
  const large = ['a', 'b', 'c'].map((name) => job(name));
  const small = job('s', 0, { agents: 64, tasks: 64 });
  const sharers = (jobs: readonly NamedJob[], costs: RunCosts, changed: Partial<BatchLimits> = {}) => {
    const decision = decideOn(jobs, {}, changed, costs);
    return decision.kind === 'dispatch' ? decision.batch.jobs.map(({ name }) => name).join(' ') : decision;
  };

  it('a smaller job joins where running it by itself would cost more than a slot', () => {
    expect(sharers([...large, small], perCell(1, 0.1))).toBe('a b c s');
    expect(sharers([...large, small], perCell(0.1, 1))).toBe('a b c');
  });

  it('not where enough others of its size wait for a batch of their own', () => {
    const costs = perCell(1, 0.6);
    expect(sharers([...large, small], costs)).toBe('a b c s');
    const many = ['s', 't', 'u', 'v'].map((name) => ({ ...small, name }));
    expect(sharers([...large, ...many], costs)).toBe('a b c');
  });

  it('a larger job does not widen a batch whose slots would cost more than it does by itself', () => {
    const jobs = [...['s', 't', 'u'].map((name) => ({ ...small, name })), job('large')];
    const lax = { maxPaddingWaste: 0.9 };
    expect(sharers(jobs, perCell(9, 1), lax)).toBe('s t u large');
    expect(sharers(jobs, perCell(0.1, 1), lax)).toBe('s t u');
  });

  it('never beyond the limit on padding, however cheap', () => {
    const costs = perCell(1000, 0);
    const tiny = job('tiny', 0, { agents: 16, tasks: 16 });
    expect(sharers([job('a'), tiny], costs)).toBe('a');
  });
});
