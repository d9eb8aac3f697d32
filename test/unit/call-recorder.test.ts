import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { CallRecord } from '../../server/call-record.js';
import { CallRecorder, type CallRecorderOptions } from '../../server/call-recorder.js';
import { parseTraceparent } from '../../server/trace-context.js';
import { createMetrics } from '../../src/metrics.js';
import { VirtualClock } from '../virtual-clock.js';

const marked = parseTraceparent(`00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`);
const unmarked = parseTraceparent(`00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`);

function recorderWith(options: Partial<CallRecorderOptions>): CallRecorder {
  return new CallRecorder({
    clock: new VirtualClock(),
    metrics: createMetrics(new Registry()),
    tracer: { callEnded: () => true },
    sampleRatio: 0,
    tracesPerSecond: 1000,
    accessLog: 0,
    ...options,
  });
}

test('calls without a parent are traced as often as the ratio says, those with one as it says', () => {
  let drawn = 0.2;
  const recorder = recorderWith({ sampleRatio: 0.25, random: () => drawn });
  expect(recorder.begin('Coordinate', 0, null, false)?.span?.parent).toBeNull();
  expect(recorder.begin('Coordinate', 0, unmarked, false)).toBeNull();
  drawn = 0.25;
  expect(recorder.begin('Coordinate', 0, null, false)).toBeNull();
  const child = recorder.begin('Coordinate', 0, marked, false);
  expect(child?.span).toMatchObject({ traceId: marked!.traceId, parent: marked });
});

test('without a tracer nothing is traced, and the access log takes its share by itself', () => {
  let drawn = 0.05;
  const recorder = recorderWith({ tracer: null, sampleRatio: 1, accessLog: 0.1, random: () => drawn });
  expect(recorder.begin('Coordinate', 0, marked, false)).toMatchObject({ span: null, isLogged: true });
  drawn = 0.1;
  expect(recorder.begin('Coordinate', 0, marked, false)).toBeNull();
});

test('the allowance of a second is refilled as time passes, and never grows beyond a second', () => {
  const clock = new VirtualClock();
  const recorder = recorderWith({ clock, tracesPerSecond: 10 });
  const traced = (calls: number): number => {
    let count = 0;
    for (let at = 0; at < calls; at++) if (recorder.begin('Coordinate', 0, marked, false) !== null) count++;
    return count;
  };
  expect(traced(50)).toBe(10);
  clock.advance(500);
  expect(traced(50)).toBe(5);
  clock.advance(3_600_000);
  expect(traced(50)).toBe(10);
});

test('a call whose spans find no room is no exemplar; another one is, of its own code', async () => {
  const registry = new Registry();
  const metrics = createMetrics(registry);
  let hasRoom = false;
  const recorder = recorderWith({ metrics, tracer: { callEnded: () => hasRoom } });
  const exemplars = async (): Promise<number> => {
    const { values } = await metrics.requestDuration.get();
    return values.filter(({ exemplar }) => exemplar !== undefined).length;
  };
  const record: CallRecord = recorder.begin('Coordinate', 0, marked, false)!;
  recorder.end(record, null, 5);
  expect(await exemplars()).toBe(0);
  hasRoom = true;
  recorder.end(record, null, 5);
  expect(await exemplars()).toBe(1);
  recorder.end(recorder.begin('ListPolicies', 0, marked, false)!, null, 500);
  expect(await exemplars()).toBe(1);
});
