/** Who the batcher lets in, under a virtual clock. */
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { Allowance, lateError, verdictOn, type Load, type Prospect } from '../../src/batching/admission.js';
import { Batcher, type BatcherLimits } from '../../src/batching/batcher.js';
import type { JobResult, Submission } from '../../src/batching/job.js';
import { CoordinatorError } from '../../src/errors.js';
import { createMetrics } from '../../src/metrics.js';
import { FakePrograms, givenJob, type FakeProgramsOptions } from '../fake-programs.js';
import { VirtualClock } from '../virtual-clock.js';

interface Call {
  outcome: readonly JobResult[] | CoordinatorError | null;
}

function setUp(limits: Partial<BatcherLimits> = {}, programs: Omit<FakeProgramsOptions, 'clock'> = {}) {
  const clock = new VirtualClock(1000);
  const store = new FakePrograms({ clock, runMs: ({ batch }) => 8 + 2 * batch, ...programs });
  const metrics = createMetrics(new Registry());
  const batcher = new Batcher({
    store,
    clock,
    metrics,
    limits: { maxBatch: 4, maxQueueDelayMs: 2, maxQueue: 256, maxPaddingWaste: 0.4, ...limits },
  });
  const call = (withinMs = Infinity, options: Partial<Submission> = {}): Call => {
    const made: Call = { outcome: null };
    const { signal } = new AbortController();
    const deadlineMs = clock.nowMs() + withinMs;
    batcher.submit({ jobs: [givenJob(16, 16)], priority: 'NORMAL', deadlineMs, signal, ...options }).then(
      (results) => (made.outcome = results),
      (thrown: unknown) => (made.outcome = thrown as CoordinatorError),
    );
    return made;
  };
  /** Runs a batch of one and one of four, so that both are measured: 10 and 16 ms. */
  const measure = async (): Promise<void> => {
    for (const count of [1, 4]) {
      call(Infinity, { jobs: Array.from({ length: count }, () => givenJob(16, 16)) });
      await clock.advanceAsync(50);
    }
  };
  const shed = async (reason: string): Promise<number> =>
    (await metrics.shed.get()).values.find(({ labels }) => labels.reason === reason)?.value ?? 0;
  return { clock, store, metrics, batcher, call, measure, shed };
}

const codeOf = ({ outcome }: Call) => (outcome instanceof CoordinatorError ? outcome.code : null);

describe('what would be late', () => {
  it('is foretold with more care once callers have gone away at their deadlines, which pass there first, and not for others', async () => {
    const superseded = new CoordinatorError('SUPERSEDED', 'its successor came');
    for (const [afterMs, reason, expected] of [
      [15, undefined, 'PREDICTED_LATE'],
      [15, superseded, null],
      [1, undefined, null],
    ] as const) {
      const { clock, call, measure } = setUp();
      await measure();
      const gone = new AbortController();
      call();
      call(afterMs === 1 ? 35 : 25, { signal: gone.signal });
      await clock.advanceAsync(afterMs);
      gone.abort(reason);
      await clock.advanceAsync(50);
      call();
      const next = call(20.2);
      await clock.advanceAsync(0);
      expect(codeOf(next)).toBe(expected);
    }
  });

  it('is refused at once, with what it would take and when to retry', async () => {
    const { clock, store, call, measure, shed } = setUp();
    await measure();
    call();
    const runs = store.runs.length;
    const late = call(15);
    const inTime = call(40);
    await clock.advanceAsync(0);
    expect(codeOf(late)).toBe('PREDICTED_LATE');
    const { message, retryAfterMs } = late.outcome as CoordinatorError;
    expect(message).toContain('10 ms behind other requests, 10 ms to run, 0 ms after that) and 15 ms are left');
    expect(retryAfterMs).toBe(5);
    await clock.advanceAsync(40);
    expect(codeOf(inTime)).toBeNull();
    expect(store.runs).toHaveLength(runs + 1);
    expect(await shed('predicted_late')).toBe(1);
  });

  it('counts what comes after the engine', async () => {
    const { clock, call, measure } = setUp();
    await measure();
    call();
    const enough = call(40, { expectedAfterMs: 15 });
    const tooMuch = call(40, { expectedAfterMs: 25 });
    await clock.advanceAsync(0);
    expect([enough, tooMuch].map(codeOf)).toEqual([null, 'PREDICTED_LATE']);
  });

  it('is what less urgent requests do not stand before', async () => {
    const { clock, call, measure } = setUp();
    await measure();
    for (let i = 0; i < 40; i++) call();
    const low = call(60, { priority: 'LOW' });
    const normal = call(60);
    await clock.advanceAsync(60);
    expect(codeOf(low)).toBe('PREDICTED_LATE');
    expect(normal.outcome).toBeInstanceOf(Array);
  });

  it('is not known before anything was measured', async () => {
    const { clock, call } = setUp();
    for (let i = 0; i < 20; i++) call();
    const hasty = call(3);
    await clock.advanceAsync(1);
    expect(codeOf(hasty)).toBeNull();
    await clock.advanceAsync(2);
    expect(codeOf(hasty)).toBe('DEADLINE_EXPIRED');
  });

  it('is tried once in a while where nobody else waits, as the engine may have become faster', async () => {
    let fast = false;
    const { clock, call, measure } = setUp({}, { runMs: () => (fast ? 1 : 30) });
    await measure();
    fast = true;
    const refused = call(20);
    await clock.advanceAsync(1500);
    expect(codeOf(refused)).toBe('PREDICTED_LATE');
    for (let tries = 0; tries < 3; tries++) {
      const tried = call(20);
      await clock.advanceAsync(1500);
      expect(tried.outcome).toBeInstanceOf(Array);
    }
  });

  it('leaves the queue as soon as it cannot be in time any more', async () => {
    const times = [10, 16, 100];
    const { clock, store, call, measure } = setUp({}, { runMs: (_bucket, run) => times[run] ?? 10 });
    await measure();
    call();
    call();
    await clock.advanceAsync(9.5);
    expect(store.runs).toHaveLength(4);
    const overtaken = call(60);
    await clock.advanceAsync(49);
    expect(overtaken.outcome).toBeNull();
    await clock.advanceAsync(2);
    expect(codeOf(overtaken)).toBe('PREDICTED_LATE');
    await clock.advanceAsync(200);
    expect(store.runs).toHaveLength(4);
  });
});

describe('a verdict', () => {
  const load: Load = { nowMs: 100, busyMs: 5, aheadMs: 5, isIdle: false, allowanceMs: 0 };
  const prospect: Prospect = { deadlineMs: 125, ownMs: 10, lastRunAtMs: 99, afterMs: 5 };

  it('allows for what predictions were short of, up to half of the time left, where there is anything before it', () => {
    expect(verdictOn(load, prospect)).toBe('in_time');
    expect(verdictOn({ ...load, allowanceMs: 1 }, prospect)).toBe('late');
    expect(verdictOn({ ...load, allowanceMs: 40 }, { ...prospect, deadlineMs: 150 })).toBe('in_time');
    expect(verdictOn({ ...load, allowanceMs: 40 }, { ...prospect, deadlineMs: 149 })).toBe('late');
    expect(verdictOn({ ...load, busyMs: 0, aheadMs: 0, allowanceMs: 25 }, { ...prospect, deadlineMs: 115 })).toBe(
      'in_time',
    );
  });

  it('is unknown where nothing alike was measured, and a trial on an idle engine after a second', () => {
    expect(verdictOn(load, { ...prospect, ownMs: null, deadlineMs: 101 })).toBe('unknown');
    const idle: Load = { ...load, nowMs: 1099, busyMs: 0, aheadMs: 0, isIdle: true };
    const hasty = { ...prospect, deadlineMs: 1100 };
    expect(verdictOn(idle, hasty)).toBe('trial');
    expect(verdictOn({ ...idle, nowMs: 1098 }, hasty)).toBe('late');
    expect(verdictOn({ ...idle, isIdle: false }, hasty)).toBe('late');
  });

  it('asks to retry when there would be time again', () => {
    expect(lateError({ ...load, allowanceMs: 2 }, { ...prospect, deadlineMs: 110 }).retryAfterMs).toBe(17);
  });
});

describe('the allowance', () => {
  it('comes to hold nine of ten predictions', () => {
    const allowance = new Allowance();
    for (let i = 0; i < 2000; i++) allowance.observe(i % 20);
    expect(allowance.ms).toBeGreaterThan(14);
    expect(allowance.ms).toBeLessThan(20);
    for (let i = 0; i < 2000; i++) allowance.observe(-5);
    expect(allowance.ms).toBe(0);
    for (let i = 0; i < 2000; i++) allowance.observe(1e6);
    expect(allowance.ms).toBe(25);
  });
});

describe('a full queue', () => {
  it('gives the place of the least urgent to one that is more urgent', async () => {
    const { clock, call, measure, shed } = setUp({ maxQueue: 3 });
    await measure();
    for (let i = 0; i < 4; i++) call();
    const patient = call();
    const urgent = call(100);
    await clock.advanceAsync(0);
    expect([codeOf(patient), codeOf(urgent)]).toEqual(['QUEUE_FULL', null]);
    expect((patient.outcome as CoordinatorError).retryAfterMs).toBeGreaterThan(0);
    expect(await shed('displaced')).toBe(1);
  });

  it('is full by bytes, too', async () => {
    const { clock, batcher, call, metrics } = setUp({ maxQueueBytes: 100 });
    call();
    call();
    await clock.advanceAsync(2);
    call(Infinity, { bytes: 60 });
    const refused = call(Infinity, { bytes: 60 });
    const fits = call(Infinity, { bytes: 40 });
    await clock.advanceAsync(0);
    expect([codeOf(refused), codeOf(fits)]).toEqual(['QUEUE_FULL', null]);
    expect((await metrics.queueBytes.get()).values[0]!.value).toBe(100);
    expect(batcher.depth).toBe(2);
    await clock.advanceAsync(100);
    expect((await metrics.queueBytes.get()).values[0]!.value).toBe(0);
  });
});

describe('before a request is decoded', () => {
  const inquiry = { priority: 'NORMAL', deadlineMs: Infinity } as const;

  it('it is refused where the queue is full or what waits takes too long, and counted', async () => {
    const { clock, batcher, call, measure, shed } = setUp({ maxQueue: 8 });
    await measure();
    expect(batcher.refusal(inquiry)).toBeNull();
    for (let i = 0; i < 8; i++) call(80);
    const nowMs = clock.nowMs();
    expect(batcher.refusal({ ...inquiry, deadlineMs: nowMs + 200 })).toBeNull();
    expect(batcher.refusal({ ...inquiry, deadlineMs: nowMs + 79, expectedAfterMs: 60 })?.code).toBe('PREDICTED_LATE');
    for (let i = 0; i < 5; i++) call(80);
    expect(batcher.refusal(inquiry)?.code).toBe('QUEUE_FULL');
    expect([await shed('queue_full'), await shed('predicted_late')]).toEqual([1, 1]);
  });

  it('is asked about only where it may be refused', async () => {
    const { clock, batcher, call, measure } = setUp({ maxQueue: 8, maxQueueBytes: 1000 });
    await measure();
    expect(batcher.mayRefuse(Infinity, 0)).toBe(false);
    for (let i = 0; i < 7; i++) call(1000, { bytes: 100 });
    const nowMs = clock.nowMs();
    expect(batcher.mayRefuse(nowMs + 30, 0)).toBe(true);
    expect(batcher.mayRefuse(nowMs + 500, 0)).toBe(false);
    const roomBytes = 1000 - 100 * batcher.depth;
    expect(batcher.mayRefuse(Infinity, roomBytes)).toBe(false);
    expect(batcher.mayRefuse(Infinity, roomBytes + 1)).toBe(true);
    while (batcher.depth < 8) call(1000);
    expect(batcher.mayRefuse(Infinity, 0)).toBe(true);
    expect(batcher.refusal(inquiry)?.code).toBe('QUEUE_FULL');
  });
});

describe('tenants', () => {
  it('with a weight are metered by name, all others together', async () => {
    const { clock, metrics, call } = setUp({ tenantWeights: new Map([['depot', 2]]) });
    for (const tenant of ['depot', 'stranger', '']) call(Infinity, { tenant });
    await clock.advanceAsync(100);
    const { values } = await metrics.tenantEngine.get();
    expect(new Set(values.map(({ labels }) => labels.tenant))).toEqual(new Set(['depot', 'other']));
  });

  it('are let in while another one floods, and served by their share', async () => {
    const { clock, call, measure } = setUp({ maxQueue: 20 });
    await measure();
    for (let i = 0; i < 40; i++) call(Infinity, { tenant: 'flood' });
    const calls = Array.from({ length: 8 }, () => call(200, { tenant: 'quiet' }));
    await clock.advanceAsync(200);
    for (const { outcome } of calls) expect(outcome).toBeInstanceOf(Array);
  });
});
