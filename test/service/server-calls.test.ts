/** Calls through the real server, with a fake core behind it. */
import { connect, constants, type IncomingHttpHeaders, type Settings } from 'node:http2';
import * as grpc from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { rawClient, type RawClient } from './raw-client.js';

/** How long to wait for what must come, on a machine that is busy with other things too. */
const eventually = { timeout: 20_000 };

const coordinatePath = '/tensorconsensus.v1.Coordinator/Coordinate';
const maxMessageBytes = 1024 * 1024;
let fake: FakeServer;
let client: RawClient;

beforeAll(async () => {
  fake = await startFakeServer(['--max-message-mb=1']);
});

afterAll(async () => {
  await fake.server.close();
});

beforeEach(() => {
  client = rawClient(fake.server.grpcAddress);
  fake.core.calls.length = 0;
  fake.core.answersAtOnce = true;
  fake.core.decodeError = null;
  fake.core.answerElements = 4;
  fake.logLines.length = 0;
});

afterEach(() => {
  client.close();
});

/** The failure of a Coordinate call. */
async function failureOf(request: Record<string, unknown>, options: grpc.CallOptions = {}): Promise<grpc.ServiceError> {
  try {
    await client.coordinate(request, options);
  } catch (error) {
    return error as grpc.ServiceError;
  }
  throw new Error('the call succeeded');
}

/** Sends bytes as the request message, whatever they are. */
function sendBytes(bytes: Buffer, metadata = new grpc.Metadata()): Promise<grpc.ServiceError | null> {
  const channel = new grpc.Client(fake.server.grpcAddress, grpc.credentials.createInsecure());
  const same = (value: Buffer): Buffer => value;
  return new Promise((resolve) => {
    channel.makeUnaryRequest(coordinatePath, same, same, bytes, metadata, {}, (error) => {
      channel.close();
      resolve(error);
    });
  });
}

async function metricOf(name: string, labels: Record<string, string>): Promise<number> {
  const metric = await fake.server.registry.getSingleMetric(name)!.get();
  const found = metric.values.find((value) => {
    const { metricName } = value as { metricName?: string };
    const wanted = metricName === undefined || metricName.endsWith('_count');
    return wanted && Object.entries(labels).every(([label, text]) => value.labels[label] === text);
  });
  return found?.value ?? 0;
}

test('a good call is answered, counted, and not logged', async () => {
  const before = await metricOf('coordinate_request_duration_seconds', { code: 'OK' });
  const decoded = await metricOf('coordinate_stage_duration_seconds', { stage: 'decode' });
  const encoded = await metricOf('coordinate_stage_duration_seconds', { stage: 'encode' });
  const answer = await client.coordinate({ requestId: 'good' });
  expect(answer['requestId']).toBe('good');
  expect(await metricOf('coordinate_request_duration_seconds', { code: 'OK' })).toBe(before + 1);
  expect(await metricOf('coordinate_stage_duration_seconds', { stage: 'decode' })).toBe(decoded + 1);
  expect(await metricOf('coordinate_stage_duration_seconds', { stage: 'encode' })).toBe(encoded + 1);
  expect(fake.logLines).toEqual([]);
});

test('a bad request gets its status with the field, and one log line with id, code and duration', async () => {
  fake.core.decodeError = CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,64]', '[3]');
  const error = await failureOf({ requestId: 'bad-1' });
  expect(error.code).toBe(grpc.status.INVALID_ARGUMENT);
  expect(error.details).toBe('agents: expected shape [N,64], received [3]');
  expect(errorDetailsOf(error)).toMatchObject({
    reason: 'TENSOR_SHAPE',
    domain: 'tensor-consensus',
    violations: [{ field: 'agents', description: 'expected shape [N,64], received [3]' }],
  });
  expect(fake.logLines).toHaveLength(1);
  expect(fake.logLines[0]).toMatchObject({ requestId: 'bad-1', code: 'TENSOR_SHAPE', status: 'INVALID_ARGUMENT' });
  expect(typeof fake.logLines[0]!['durationMs']).toBe('number');
});

test('a defect becomes INTERNAL without a word of the inside, which is in the log with the request id', async () => {
  fake.core.decodeError = new TypeError('secret /etc/path of undefined');
  const error = await failureOf({ requestId: 'defect-1' });
  expect(error.code).toBe(grpc.status.INTERNAL);
  expect(JSON.stringify([error.details, errorDetailsOf(error)])).not.toMatch(/secret|TypeError|\.ts/);
  expect(errorDetailsOf(error).reason).toBe('INTERNAL');
  expect(fake.logLines).toHaveLength(1);
  expect(fake.logLines[0]).toMatchObject({ requestId: 'defect-1', err: { message: 'secret /etc/path of undefined' } });
});

test('a rejection of the core is answered like a throw', async () => {
  fake.core.answersAtOnce = false;
  const failing = failureOf({ requestId: 'q' });
  await fake.core.arrived(1);
  fake.core.calls[0]!.fail(new CoordinatorError('QUEUE_FULL', 'the queue is full', { retryAfterMs: 40 }));
  const error = await failing;
  expect(error.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  const pushbackMs = Number(error.metadata.get('grpc-retry-pushback-ms')[0]);
  expect(pushbackMs).toBeGreaterThanOrEqual(40);
  expect(pushbackMs).toBeLessThanOrEqual(50);
  expect(errorDetailsOf(error).retryAfterMs).toBe(pushbackMs);
});

test.each([
  ['garbage', Buffer.from('not a protobuf message at all, no')],
  ['a tensor cut short', Buffer.from([0x1a, 0x06, 0x1a, 0x64, 1, 2, 3, 4])],
  ['an unclosed group', Buffer.from([0x0b])],
  ['a tensor of the wrong wire type', Buffer.from([0x18, 0x01])],
])('%s is refused as INVALID_ARGUMENT', async (_name, bytes) => {
  const error = await sendBytes(bytes);
  expect(error?.code).toBe(grpc.status.INVALID_ARGUMENT);
  expect(errorDetailsOf(error!).reason).toBe('REQUEST_INVALID');
});

test('an empty message is a request like any other', async () => {
  expect(await sendBytes(Buffer.alloc(0))).toBeNull();
});

test('text that gRPC cannot carry in a header does not keep the answer back', async () => {
  fake.core.decodeError = new CoordinatorError('POLICY_UNKNOWN', `policy: unknown '\uDC00${'x'.repeat(100_000)}'`);
  const error = await failureOf({});
  expect(error.code).toBe(grpc.status.NOT_FOUND);
  expect(error.details).toMatch(/^policy: unknown '\uFFFDx+…$/);
});

test('a message over the limit is refused and the connection lives on', async () => {
  const error = await failureOf({ requestId: 'x'.repeat(maxMessageBytes) });
  expect(error.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  expect((await client.coordinate({ requestId: 'after' }))['requestId']).toBe('after');
});

test('an answer over the limit is OUT_OF_RANGE and says the limit', async () => {
  fake.core.answerElements = maxMessageBytes / 4;
  const error = await failureOf({});
  expect(error.code).toBe(grpc.status.OUT_OF_RANGE);
  expect(error.details).toContain(String(maxMessageBytes));
  expect(errorDetailsOf(error).reason).toBe('ANSWER_TOO_LARGE');
});

test('messages up to the limit pass both ways', async () => {
  fake.core.answerElements = maxMessageBytes / 4 - 64;
  const answer = await client.coordinate({ requestId: 'x', agents: { data: Buffer.alloc(maxMessageBytes - 64) } });
  expect((answer['resources'] as { data: Buffer }).data).toHaveLength(maxMessageBytes - 256);
});

/** As the default of --max-deadline-ms is. */
const longestDeadlineMs = 300_000;

test('a call without a deadline has the longest that there is', async () => {
  const channel = new grpc.Client(fake.server.grpcAddress, grpc.credentials.createInsecure());
  const same = (value: Buffer): Buffer => value;
  await new Promise((resolve) =>
    channel.makeUnaryRequest(coordinatePath, same, same, Buffer.alloc(0), (error) => resolve(error)),
  );
  channel.close();
  const leftMs = fake.core.calls[0]!.context.deadlineMs - performance.now();
  expect(leftMs).toBeLessThanOrEqual(longestDeadlineMs);
  expect(leftMs).toBeGreaterThan(longestDeadlineMs - 60_000);
});

test.each([
  ['50 days', 50 * 24 * 3600 * 1000],
  ['30 days', 30 * 24 * 3600 * 1000],
  ['25 days', 25 * 24 * 3600 * 1000],
  ['10 minutes', 600_000],
  ['2 minutes', 120_000],
])('a deadline in %s is not taken for one that has passed', async (_name, deadlineMs) => {
  await client.coordinate({}, { deadline: Date.now() + deadlineMs });
  const { deadlineMs: received } = fake.core.calls[0]!.context;
  expect(received - performance.now()).toBeGreaterThan(Math.min(deadlineMs, longestDeadlineMs) - 60_000);
  expect(received - performance.now()).toBeLessThanOrEqual(longestDeadlineMs);
});

test('a timeout of eight digits of hours is clamped too', async () => {
  const session = connect(`http://${fake.server.grpcAddress}`);
  const status = await new Promise<unknown>((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': coordinatePath,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': '99999999H',
    });
    stream.on('trailers', (trailers: IncomingHttpHeaders) => resolve(trailers['grpc-status']));
    stream.on('response', (headers: IncomingHttpHeaders) => {
      if (headers['grpc-status'] !== undefined) resolve(headers['grpc-status']);
    });
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
  session.close();
  expect(status).toBe('0');
});

test('a caller that goes away aborts its call, which is told as CANCELLED', async () => {
  fake.core.answersAtOnce = false;
  const channel = new grpc.Client(fake.server.grpcAddress, grpc.credentials.createInsecure());
  const same = (value: Buffer): Buffer => value;
  const failed = new Promise<grpc.ServiceError | null>((resolve) => {
    const call = channel.makeUnaryRequest(coordinatePath, same, same, Buffer.alloc(0), (error) => resolve(error));
    void fake.core.arrived(1).then(() => call.cancel());
  });
  expect((await failed)?.code).toBe(grpc.status.CANCELLED);
  const { signal } = fake.core.calls[0]!.context;
  await expect.poll(() => signal.aborted, eventually).toBe(true);
  await expect.poll(() => fake.logLines, eventually).toHaveLength(1);
  expect(fake.logLines[0]).toMatchObject({ code: 'CANCELLED' });
  channel.close();
});

test('a deadline that passes aborts the call and counts as DEADLINE_EXCEEDED, not as CANCELLED', async () => {
  // Connected beforehand, so that the call arrives before its deadline.
  await client.coordinate({});
  fake.core.calls.length = 0;
  fake.core.answersAtOnce = false;
  const error = await failureOf({ requestId: 'late' }, { deadline: Date.now() + 1000 });
  expect(error.code).toBe(grpc.status.DEADLINE_EXCEEDED);
  // A call of an earlier test may end later than that test.
  const lineOfCall = () => fake.logLines.find((line) => line['requestId'] === 'late');
  await expect.poll(lineOfCall, eventually).toMatchObject({ status: 'DEADLINE_EXCEEDED' });
  expect(fake.core.calls[0]!.context.signal.aborted).toBe(true);
});

test('an answered call is never aborted afterwards', async () => {
  await client.coordinate({});
  const { signal } = fake.core.calls[0]!.context;
  // The next call's answer comes after grpc-js has ended the first one.
  await client.coordinate({});
  expect(signal.aborted).toBe(false);
});

test('ListPolicies answers, and is no Coordinate call in the metrics', async () => {
  const before = await metricOf('coordinate_request_duration_seconds', { code: 'OK' });
  expect(await client.listPolicies()).toEqual({ policies: [] });
  expect(await metricOf('coordinate_request_duration_seconds', { code: 'OK' })).toBe(before);
});

test('one request larger than Node’s window of 64 KiB arrives without waiting for it to be widened', async () => {
  const session = connect(`http://${fake.server.grpcAddress}`);
  const settings = await new Promise<number | undefined>((resolve) =>
    session.once('remoteSettings', ({ initialWindowSize }: Settings) => resolve(initialWindowSize)),
  );
  session.close();
  expect(settings).toBe(1 << 20);
});

test('good calls are logged at debug level, with id and duration', async () => {
  const talkative = await startFakeServer(['--log-level=debug']);
  const other = rawClient(talkative.server.grpcAddress);
  await other.coordinate({ requestId: 'seen' });
  await expect.poll(() => talkative.logLines.some((line) => line['requestId'] === 'seen'), eventually).toBe(true);
  other.close();
  await talkative.server.close();
});

test('a caller that cancels thousands of calls keeps its connection, and its other calls go on', async () => {
  const session = connect(`http://${fake.server.grpcAddress}`);
  const errors: unknown[] = [];
  session.on('error', (error) => errors.push(error));
  const headers = { ':method': 'POST', ':path': coordinatePath, 'content-type': 'application/grpc', te: 'trailers' };
  for (let sent = 0; sent < 3000 && !session.destroyed; sent++) {
    const stream = session.request(headers);
    stream.on('error', () => undefined);
    // What is closed at once is never sent.
    await new Promise((resolve) => setImmediate(resolve));
    stream.close(constants.NGHTTP2_CANCEL);
    if (sent % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  // Node 20's limit of a thousand cannot be changed.
  const keepsLimit = process.versions.node.startsWith('20.');
  if (keepsLimit) await expect.poll(() => session.destroyed, eventually).toBe(true);
  else await new Promise((resolve) => setTimeout(resolve, 100));
  const open = !session.destroyed;
  session.destroy();
  expect(open, String(errors[0])).toBe(!keepsLimit);
  expect((await client.coordinate({ requestId: 'after' }))['requestId']).toBe('after');
});
