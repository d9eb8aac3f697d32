import { expect, test } from 'vitest';
import { CallRecord, CallSpan } from '../../server/call-record.js';
import { batchSpans, callSpans } from '../../server/span-tree.js';
import { CoordinatorError } from '../../src/errors.js';
import type { Answer, Problem, StageName } from '../../src/problem.js';
import type { BatchReport } from '../../src/tracing.js';

const problem = { policy: { name: 'distance' }, agentCount: 5, taskCount: 4 } as Problem;

function answerWith(stages: readonly (readonly [StageName, number])[]): Answer {
  const execution = {
    engine: 'xla',
    device: 'cpu:0',
    bucket: 'b1 n16 m16',
    batchSize: 1,
    policyVersion: '1',
    executableFingerprint: '',
    stages: stages.map(([stage, ms]) => ({ stage, microseconds: ms * 1000 })),
  };
  return { execution, assignment: null } as unknown as Answer;
}

function timesOf(record: CallRecord, endMs: number): (string | number)[][] {
  const [, ...children] = callSpans(record, record.span!, null, endMs);
  return children.map(({ name, startMs, endMs: untilMs }) => [name, startMs, untilMs]);
}

function newRecord(): CallRecord {
  return new CallRecord('Coordinate', 1000, new CallSpan(null, false), false);
}

test('stages lie back to back before the end, decode at the beginning', () => {
  const record = newRecord();
  record.decoded(problem, 1);
  record.answered(
    answerWith([
      ['decode', 1],
      ['queue', 4],
      ['pack', 1],
      ['execute', 8],
      ['assign', 2],
    ]),
    3,
  );
  expect(timesOf(record, 1030)).toEqual([
    ['decode', 1000, 1001],
    ['queue', 1012, 1016],
    ['pack', 1016, 1017],
    ['execute', 1017, 1025],
    ['assign', 1025, 1027],
    ['encode', 1027, 1030],
  ]);
});

test('stages that add up to more than the call, as clocks are read at other moments, stay within it', () => {
  const record = newRecord();
  record.decoded(problem, 2);
  record.answered(
    answerWith([
      ['decode', 2],
      ['queue', 6],
      ['execute', 9],
    ]),
    1,
  );
  for (const [, startMs, endMs] of timesOf(record, 1012) as [string, number, number][]) {
    expect(startMs).toBeGreaterThanOrEqual(1000);
    expect(endMs).toBeGreaterThanOrEqual(startMs);
    expect(endMs).toBeLessThanOrEqual(1012);
  }
});

test('a call that failed before it was decoded has no stage, one that failed later has decode', () => {
  const error = new CoordinatorError('DEADLINE_EXPIRED', 'late');
  const record = newRecord();
  expect(callSpans(record, record.span!, error, 1010).map(({ name }) => name)).toEqual([
    'tensorconsensus.v1.Coordinator/Coordinate',
  ]);
  record.decoded(problem, 1);
  const [call, decode, ...others] = callSpans(record, record.span!, error, 1010);
  expect(call).toMatchObject({ isFailed: true, attributes: { 'coordinate.agents': 5, 'rpc.grpc.status_code': 4 } });
  expect([decode!.name, others]).toEqual(['decode', []]);
});

test.each([
  ['INTERNAL', true],
  ['ENGINE_FAILED', true],
  ['DEADLINE_EXPIRED', true],
  ['REQUEST_INVALID', false],
  ['QUEUE_FULL', false],
  ['CANCELLED', false],
] as const)('%s counts as a failure of the server: %s', (code, isFailed) => {
  const record = newRecord();
  expect(callSpans(record, record.span!, new CoordinatorError(code, 'x'), 1001)[0]!.isFailed).toBe(isFailed);
});

test('a batch that failed has its error and no stages of the run; a call with several jobs is linked once', () => {
  const span = new CallSpan(null, false);
  const report: BatchReport = {
    calls: [span, span],
    size: 3,
    bucket: 'b4 n16 m16',
    engine: 'onnx',
    fingerprint: 'f',
    reason: 'idle',
    dispatchedMs: 10,
    sentMs: 12,
    endedMs: 20,
    run: null,
    error: new CoordinatorError('ENGINE_FAILED', 'it crashed'),
  };
  const [batch, ...stages] = batchSpans(report);
  expect(batch).toMatchObject({ startMs: 10, endMs: 20, isFailed: true, parentSpanId: null });
  expect(batch!.links.map(({ spanId }) => spanId)).toEqual([span.spanId]);
  expect(batch!.attributes).toMatchObject({ 'coordinate.batch_size': 3, 'error.type': 'ENGINE_FAILED' });
  expect(stages.map(({ name }) => name)).toEqual(['pack']);
});
