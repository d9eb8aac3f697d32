import { status as grpcStatus, type Metadata } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { CoordinatorError, errorRegistry, type ErrorCode } from '../../src/errors.js';
import { toStatusReply } from '../../server/status.js';

/** The numbers of google/rpc/status.proto and error_details.proto, written down apart from the server's own file. */
const standard = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation field_violations = 1; }
`).root;

interface DecodedDetails {
  readonly code: number;
  readonly message: string;
  readonly byType: Map<string, Record<string, unknown>>;
}

function decodeDetails(metadata: Metadata): DecodedDetails {
  const bytes = metadata.get('grpc-status-details-bin')[0] as Buffer;
  const plain = (type: string, data: Uint8Array) => {
    const found = standard.lookupType(`google.rpc.${type}`);
    return found.toObject(found.decode(data), { longs: Number });
  };
  const status = plain('Status', bytes) as {
    code: number;
    message: string;
    details: { typeUrl: string; value: Uint8Array }[];
  };
  const byType = new Map<string, Record<string, unknown>>();
  for (const { typeUrl, value } of status.details) {
    const [prefix, name] = typeUrl.split('/');
    expect(prefix).toBe('type.googleapis.com');
    const type = name!.replace('google.rpc.', '');
    byType.set(type, plain(type, value));
  }
  return { code: status.code, message: status.message, byType };
}

const withoutJitter = () => 0;

describe('every code of the registry', () => {
  test.each(Object.keys(errorRegistry) as ErrorCode[])('%s becomes its status, with its name as the reason', (code) => {
    const reply = toStatusReply(new CoordinatorError(code, 'what happened'), withoutJitter);
    expect(reply.code).toBe(grpcStatus[errorRegistry[code].status]);
    expect(reply.details).toBe('what happened');
    const { byType, ...status } = decodeDetails(reply.metadata);
    expect(status).toEqual({ code: reply.code, message: 'what happened' });
    expect(byType.get('ErrorInfo')).toEqual({ reason: code, domain: 'tensor-consensus' });
    expect(byType.has('RetryInfo')).toBe(errorRegistry[code].retryable);
  });
});

test('a bad field is told by name, with what was expected and received', () => {
  const error = CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,64]', '[100,63]');
  const { byType } = decodeDetails(toStatusReply(error).metadata);
  expect(byType.get('BadRequest')).toEqual({
    fieldViolations: [{ field: 'agents', description: 'expected shape [N,64], received [100,63]' }],
  });
});

test('a full queue says when to retry, to people, programs and gRPC’s own retries alike', () => {
  const error = new CoordinatorError('QUEUE_FULL', 'the queue is full', { retryAfterMs: 1250 });
  const { metadata } = toStatusReply(error, withoutJitter);
  expect(decodeDetails(metadata).byType.get('RetryInfo')).toEqual({ retryDelay: { seconds: 1, nanos: 250_000_000 } });
  expect(metadata.get('grpc-retry-pushback-ms')).toEqual(['1250']);
});

test('retry times are spread by up to a quarter and never zero', () => {
  const pushback = (retryAfterMs: number, random: number) =>
    toStatusReply(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs }), () => random).metadata.get(
      'grpc-retry-pushback-ms',
    )[0];
  expect(pushback(100, 0)).toBe('100');
  expect(pushback(100, 0.999)).toBe('125');
  expect(pushback(0, 0.5)).toBe('1');
});

test('only a full queue pushes back: a draining or warming replica should be left at once', () => {
  for (const code of Object.keys(errorRegistry) as ErrorCode[]) {
    const { metadata } = toStatusReply(new CoordinatorError(code, 'x'));
    expect(metadata.get('grpc-retry-pushback-ms').length, code).toBe(code === 'QUEUE_FULL' ? 1 : 0);
  }
});

test('what the caller sent cannot make the reply unsendable', () => {
  const long = '\u{1F916}'.repeat(100_000);
  const violations = Array.from({ length: 1000 }, () => ({ field: long, description: long }));
  const reply = toStatusReply(new CoordinatorError('REQUEST_INVALID', `\uD800 ${long}`, { violations }));
  expect(() => encodeURI(reply.details)).not.toThrow();
  const headerBytes =
    encodeURI(reply.details).length + (reply.metadata.get('grpc-status-details-bin')[0] as Buffer).length;
  expect(headerBytes).toBeLessThan(8000);
  expect(decodeDetails(reply.metadata).message).toContain('\uFFFD');
});
