import { status as grpcStatus } from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { CoordinatorError, errorRegistry, type ErrorCode } from '../../src/errors.js';
import { toStatusReply } from '../../server/status.js';
import { errorDetailsOf } from '../service/error-details-of.js';

const withoutJitter = () => 0;

describe('every code of the registry', () => {
  test.each(Object.keys(errorRegistry) as ErrorCode[])('%s becomes its status, with its name as the reason', (code) => {
    const reply = toStatusReply(new CoordinatorError(code, 'what happened'), undefined, withoutJitter);
    expect(reply.code).toBe(grpcStatus[errorRegistry[code].status]);
    expect(reply.details).toBe('what happened');
    const { retryAfterMs, ...details } = errorDetailsOf(reply);
    expect(details).toMatchObject({
      code: reply.code,
      message: 'what happened',
      reason: code,
      domain: 'tensor-consensus',
    });
    expect(retryAfterMs !== null).toBe(errorRegistry[code].retryable);
  });
});

test('a bad field is told by name, with what was expected and received', () => {
  const error = CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,64]', '[100,63]');
  expect(errorDetailsOf(toStatusReply(error)).violations).toEqual([
    { field: 'agents', description: 'expected shape [N,64], received [100,63]' },
  ]);
});

test('a full queue says when to retry, to people, programs and gRPC’s own retries alike', () => {
  const error = new CoordinatorError('QUEUE_FULL', 'the queue is full', { retryAfterMs: 1250 });
  const reply = toStatusReply(error, undefined, withoutJitter);
  expect(errorDetailsOf(reply).retryAfterMs).toBe(1250);
  expect(reply.metadata.get('grpc-retry-pushback-ms')).toEqual(['1250']);
});

test('retry times are spread by up to a quarter and never zero', () => {
  const pushback = (retryAfterMs: number, random: number) =>
    toStatusReply(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs }), undefined, () => random).metadata.get(
      'grpc-retry-pushback-ms',
    )[0];
  expect(pushback(100, 0)).toBe('100');
  expect(pushback(100, 0.999)).toBe('125');
  expect(pushback(0, 0.5)).toBe('1');
});

test('only too much work pushes back: a draining or warming replica should be left at once', () => {
  for (const code of Object.keys(errorRegistry) as ErrorCode[]) {
    const { metadata } = toStatusReply(new CoordinatorError(code, 'x'));
    expect(metadata.get('grpc-retry-pushback-ms').length, code).toBe(
      code === 'QUEUE_FULL' || code === 'PREDICTED_LATE' || code === 'QUOTA_EXCEEDED' ? 1 : 0,
    );
  }
});

test('request and trace are told where they are known, beside the message and not in it', () => {
  const error = new CoordinatorError('INTERNAL', 'what happened');
  const known = errorDetailsOf(toStatusReply(error, { requestId: 'frame-7', traceId: 'a'.repeat(32) }));
  expect(known).toMatchObject({
    message: 'what happened',
    requestId: 'frame-7',
    metadata: { trace_id: 'a'.repeat(32) },
  });
  const unknown = errorDetailsOf(toStatusReply(error));
  expect(unknown).toMatchObject({ message: 'what happened', requestId: null, metadata: {} });
  expect(unknown.typeUrls).toEqual(['type.googleapis.com/google.rpc.ErrorInfo']);
});

test('what the caller sent cannot make the reply unsendable', () => {
  const long = '\u{1F916}'.repeat(100_000);
  const violations = Array.from({ length: 1000 }, () => ({ field: long, description: long }));
  const reply = toStatusReply(new CoordinatorError('REQUEST_INVALID', `\uD800 ${long}`, { violations }));
  expect(() => encodeURI(reply.details)).not.toThrow();
  const headerBytes =
    encodeURI(reply.details).length + (reply.metadata.get('grpc-status-details-bin')[0] as Buffer).length;
  expect(headerBytes).toBeLessThan(8000);
  expect(errorDetailsOf(reply).message).toContain('\uFFFD');
});

test('what an overload brings by the thousand takes no stack, which costs as much as the refusal; a defect has one', () => {
  const frames = Error.stackTraceLimit;
  expect(new CoordinatorError('PREDICTED_LATE', 'too late').stack).not.toMatch(/\n +at /);
  expect(new CoordinatorError('INTERNAL', 'a defect').stack).toMatch(/\n +at /);
  expect(Error.stackTraceLimit).toBe(frames);
});
