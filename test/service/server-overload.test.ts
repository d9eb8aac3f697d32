/** What callers see of a server that has too much to do, and what clients that do not read cannot do to it. */
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import * as grpc from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { VirtualClock } from '../virtual-clock.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { rawClient, type RawClient } from './raw-client.js';

const eventually = { timeout: 20_000, interval: 20 };
const flags = ['--max-unread-mb=4', '--slow-reader-timeout-ms=1000', '--max-message-mb=2'];
let fake: FakeServer;
let client: RawClient;

beforeAll(async () => {
  fake = await startFakeServer(flags);
});

afterAll(async () => {
  await fake.server.close();
});

beforeEach(() => {
  fake.core.refused = null;
  fake.core.decoded = 0;
  fake.core.calls.length = 0;
  fake.core.inquiries.length = 0;
  fake.core.answerElements = 4;
  fake.logLines.length = 0;
  client = rawClient(fake.server.grpcAddress);
});

afterEach(() => {
  client.close();
});

async function failureOf(request: object, metadata = new grpc.Metadata()): Promise<grpc.ServiceError> {
  const { error } = await callWith(request, metadata);
  if (error === null) throw new Error('the call was answered');
  return error;
}

/** `rawClient` does not send metadata. */
function callWith(_request: object, metadata: grpc.Metadata): Promise<{ error: grpc.ServiceError | null }> {
  const channel = new grpc.Client(fake.server.grpcAddress, grpc.credentials.createInsecure());
  const same = (value: Buffer): Buffer => value;
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 30_000 };
    channel.makeUnaryRequest(coordinatePath, same, same, Buffer.alloc(0), metadata, options, (error) => {
      channel.close();
      resolve({ error });
    });
  });
}

const coordinatePath = '/tensorconsensus.v1.Coordinator/Coordinate';

function tenant(...names: string[]): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const name of names) metadata.add('tc-tenant', name);
  return metadata;
}

test('a call is of the tenant that its metadata names, and of the common one where it names none', async () => {
  expect((await callWith({}, tenant('depot/7.a@eu'))).error).toBeNull();
  expect((await callWith({}, tenant())).error).toBeNull();
  expect(fake.core.calls.map(({ context }) => context.tenant)).toEqual(['depot/7.a@eu', '']);
});

test.each([[['x'.repeat(65)]], [['-a']], [['a b']], [['a', 'b']]])('a tenant of %j is refused', async (names) => {
  const error = await failureOf({}, tenant(...names));
  expect(error.code).toBe(grpc.status.INVALID_ARGUMENT);
  expect(error.details).toContain('tc-tenant');
  expect(fake.core.calls).toEqual([]);
});

test('what would be refused is refused before it is decoded, with a time to retry and a pushback', async () => {
  fake.core.refused = new CoordinatorError('PREDICTED_LATE', 'expected in 80 ms and 50 ms are left', {
    retryAfterMs: 40,
  });
  await expect(
    client.coordinate({ requestId: 'tick 9', priority: 'HIGH', tasks: { shape: [] }, assignment: { forms: ['HARD'] } }),
  ).rejects.toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED, details: 'expected in 80 ms and 50 ms are left' });
  expect(fake.core.decoded).toBe(0);
  expect(fake.core.inquiries[0]).toMatchObject({ priority: 'HIGH', tenant: '', policy: '', isHard: true });
  expect(fake.core.inquiries[0]!.requestBytes).toBeGreaterThan(0);
  const error = await failureOf({});
  const { reason, retryAfterMs } = errorDetailsOf(error);
  expect(reason).toBe('PREDICTED_LATE');
  expect(retryAfterMs).toBeGreaterThanOrEqual(40);
  expect(Number(error.metadata.get('grpc-retry-pushback-ms')[0])).toBeGreaterThanOrEqual(40);
});

test('refusals are logged once a second, with how many there were', async () => {
  fake.core.refused = new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs: 1 });
  const refusals = () => fake.logLines.filter(({ code }) => code === 'QUEUE_FULL');
  let calls = 0;
  while (refusals().length < 2) {
    await failureOf({});
    calls++;
  }
  const [first, second] = refusals();
  expect(first).toHaveProperty('refusedSinceLast');
  // One more line than those that were counted.
  expect(second!['refusedSinceLast']).toBeGreaterThan(0);
  expect(second!['refusedSinceLast']).toBeLessThan(calls);
}, 30_000);

/** A client that lets the server send `window` bytes and reads none of them. */
function deafSession(address: string, window: number): ClientHttp2Session {
  const session = connect(`http://${address}`, { settings: { initialWindowSize: window } });
  session.on('error', () => undefined);
  return session;
}

interface DeafCall {
  readonly status: () => string | undefined;
}

function deafCall(session: ClientHttp2Session): DeafCall {
  const stream = session.request({
    ':method': 'POST',
    ':path': coordinatePath,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  let status: string | undefined;
  stream.on('response', (headers) => (status = headers['grpc-status'] as string | undefined));
  stream.on('error', () => undefined);
  stream.end(Buffer.alloc(5));
  return { status: () => status };
}

test('a connection that does not read its answers gets no more calls, is closed, and others are served', async () => {
  // A second of its clock passes when this test says so: the refusal comes before the end, however slow the machine.
  const clock = new VirtualClock();
  const timed = await startFakeServer(flags, { clock });
  const { core } = timed;
  const { grpcAddress } = timed.server;
  const deaf = deafSession(grpcAddress, 0);
  let isClosed = false;
  deaf.once('close', () => (isClosed = true));
  // Two answers of 0.9 MB are more than the quarter of 4 MB that one connection may hold.
  core.answerElements = 225_000;
  deafCall(deaf);
  deafCall(deaf);
  await core.arrived(2);
  core.answerElements = 4;
  const refused = deafCall(deaf);
  await expect.poll(() => refused.status(), eventually).toBe(String(grpc.status.RESOURCE_EXHAUSTED));
  expect(core.calls).toHaveLength(2);
  const other = rawClient(grpcAddress);
  expect((await other.coordinate({ requestId: 'other' }))['requestId']).toBe('other');
  other.close();
  expect(isClosed).toBe(false);
  await expect
    .poll(async () => {
      await clock.advanceAsync(500);
      return isClosed;
    }, eventually)
    .toBe(true);
  const again = connect(`http://${grpcAddress}`);
  const served = deafCall(again);
  await expect.poll(() => core.calls.length, eventually).toBe(4);
  expect(served.status()).toBeUndefined();
  again.destroy(undefined, constants.NGHTTP2_CANCEL);
  await timed.server.close();
});

test('large answers that are read are not held against a connection', async () => {
  fake.core.answerElements = 225_000;
  for (let i = 0; i < 12; i++) await client.coordinate({ requestId: `${i}` });
  expect(fake.core.calls).toHaveLength(12);
});
