/** What the batcher tells of its runs. */
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { Batcher } from '../../src/batching/batcher.js';
import type { JobResult } from '../../src/batching/job.js';
import { createMetrics } from '../../src/metrics.js';
import type { BatchReport, CallTrace } from '../../src/tracing.js';
import { FakePrograms, givenJob, type FakeProgramsOptions } from '../fake-programs.js';
import { VirtualClock } from '../virtual-clock.js';

function setUp(programs: Omit<FakeProgramsOptions, 'clock'>) {
  const clock = new VirtualClock(1000);
  const reports: BatchReport[] = [];
  let answered = 0;
  /** How many calls had been answered when each report came. */
  const answeredBefore: number[] = [];
  const batcher = new Batcher({
    store: new FakePrograms({ clock, ...programs }),
    clock,
    metrics: createMetrics(new Registry()),
    limits: { maxBatch: 32, maxQueueDelayMs: 2, maxQueue: 256, maxPaddingWaste: 0.4 },
    traceBatch(report) {
      reports.push(report);
      answeredBefore.push(answered);
    },
  });
  const call = (trace: CallTrace | null, jobs = 1): Promise<readonly JobResult[]> => {
    const { signal } = new AbortController();
    const list = Array.from({ length: jobs }, () => givenJob(16, 16));
    const made = batcher.submit({ jobs: list, priority: 'NORMAL', deadlineMs: Infinity, signal, trace });
    void made.then(
      () => answered++,
      () => answered++,
    );
    return made;
  };
  return { clock, reports, answeredBefore, call };
}

function traceOf(number: number): CallTrace {
  return { traceId: String(number).repeat(32), spanId: String(number).repeat(16) };
}

test('a run is told with every traced call in it, once for each of its jobs, before any of them is answered', async () => {
  const { clock, reports, answeredBefore, call } = setUp({ runMs: () => 10 });
  const [first, second, third] = [traceOf(1), traceOf(2), traceOf(3)];
  const calls = [call(first), call(second), call(null), call(third, 2)];
  await clock.advanceAsync(30);
  await Promise.all(calls);
  expect(reports).toHaveLength(2);
  expect(reports[0]).toMatchObject({ size: 1, bucket: 'b1 n16 m16', engine: 'onnx', error: null });
  expect(reports[0]!.calls).toEqual([first]);
  expect(reports[0]).toMatchObject({ dispatchedMs: 1000, sentMs: 1000, endedMs: 1010 });
  expect(reports[0]!.run).toMatchObject({ device: 'cpu', executeMs: 10 });
  expect(reports[1]!.calls).toEqual([second, third, third]);
  expect(reports[1]!.size).toBe(4);
  expect(answeredBefore).toEqual([0, 1]);
});

test('a run without a traced call is not told', async () => {
  const { clock, reports, call } = setUp({ runMs: () => 10 });
  const calls = [call(null), call(null), call(null)];
  await clock.advanceAsync(30);
  await Promise.all(calls);
  expect(reports).toEqual([]);
});

test('a run that fails is told with its error, and the one elsewhere as well', async () => {
  const failure = (run: number): Error | null => (run === 0 ? new Error('it crashed') : null);
  const { clock, reports, call } = setUp({ runMs: () => 10, hasFallback: true, failure });
  const trace = traceOf(1);
  const made = call(trace);
  await clock.advanceAsync(30);
  await made;
  expect(reports.map(({ calls, engine, error }) => [calls, engine, error?.code])).toEqual([
    [[trace], 'onnx', 'INTERNAL'],
    [[trace], 'xla', undefined],
  ]);
  expect(reports[0]!.run).toBeNull();
});
