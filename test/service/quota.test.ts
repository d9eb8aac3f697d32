/** Quotas over real connections: what is refused, before what, with which time to retry, and that others notice nothing. */
import * as grpc from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { coordinateMethod } from '../wire-codec.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer } from './fake-server.js';
import { type CallOutcome, callMethod, connectionTo, metadataOf, SecurityFiles } from './security-files.js';
import { streamClient } from './stream-client.js';

const eventually = { timeout: 20_000, interval: 20 };
let files: SecurityFiles;
let fake: FakeServer | null = null;
let client: grpc.Client | null = null;

beforeAll(() => {
  files = new SecurityFiles();
});

afterEach(async () => {
  client?.close();
  await fake?.server.close();
});

afterAll(() => {
  files.remove();
});

async function start(quota: object): Promise<FakeServer> {
  files.write('quota.json', JSON.stringify(quota));
  fake = await startFakeServer(['--quota-file', files.path('quota.json'), '--credential-poll-ms', '50']);
  client = connectionTo(fake.server.grpcAddress, grpc.credentials.createInsecure());
  return fake;
}

function call(tenant: string, request: Buffer = Buffer.alloc(0)): Promise<CallOutcome> {
  return callMethod(client!, { metadata: { 'tc-tenant': tenant }, request });
}

const reasonOf = ({ error }: CallOutcome): string | null => (error === null ? null : errorDetailsOf(error).reason);

// Rates are so low that no test is slow enough for a second burst.
test('a request beyond the rate is refused before it is decoded, with the time after which it is let in', async () => {
  const { core, server } = await start({ tenants: { a: { requestsPerSecond: 0.01 } } });
  expect(reasonOf(await call('a'))).toBeNull();
  const { error } = await call('a');
  expect(error?.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  const { reason, retryAfterMs } = errorDetailsOf(error!);
  expect(reason).toBe('QUOTA_EXCEEDED');
  expect(retryAfterMs).toBeGreaterThan(50_000);
  expect(retryAfterMs).toBeLessThanOrEqual(100_000);
  expect(Number(error!.metadata.get('grpc-retry-pushback-ms')[0])).toBe(retryAfterMs);
  expect(core.decoded).toBe(1);
  const metrics = await (await fetch(`http://${server.adminAddress}/metrics`)).text();
  expect(metrics).toContain('coordinate_quota_refused_total{tenant="a",limit="requestsPerSecond"} 1');
  expect(metrics).toContain('coordinate_shed_total{reason="quota"} 1');
});

test('in a flood each refusal says and counts what the first did, however large its request, and takes nothing of the quota', async () => {
  const { core, server } = await start({ tenants: { a: { requestsPerSecond: 0.01 }, b: { requestsPerSecond: 1e6 } } });
  expect(reasonOf(await call('a'))).toBeNull();
  const first = (await call('a')).error!;
  const flood = 40;
  const outcomes = await Promise.all(
    Array.from({ length: flood }, (_, index) => call('a', Buffer.alloc(index % 4 === 0 ? 2 ** 20 : 100))),
  );
  for (const { error } of outcomes) {
    expect(error?.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
    expect(error!.details).toBe(first.details);
    const { reason, retryAfterMs } = errorDetailsOf(error!);
    expect(reason).toBe('QUOTA_EXCEEDED');
    expect(Number(error!.metadata.get('grpc-retry-pushback-ms')[0])).toBe(retryAfterMs);
    expect(retryAfterMs).toBeLessThanOrEqual(100_000);
  }
  const others = await Promise.all(Array.from({ length: 8 }, () => call('b')));
  expect(others.map(reasonOf)).toEqual(others.map(() => null));
  expect(core.decoded).toBe(1 + others.length);
  const metrics = await (await fetch(`http://${server.adminAddress}/metrics`)).text();
  expect(metrics).toContain(`coordinate_quota_refused_total{tenant="a",limit="requestsPerSecond"} ${1 + flood}`);
  expect(metrics).toContain(`coordinate_request_duration_seconds_count{code="RESOURCE_EXHAUSTED"} ${1 + flood}`);
});

test('waiting for as long as one is told is enough', async () => {
  await start({ tenants: { a: { requestsPerSecond: 4, burstSeconds: 0.25 } } });
  expect(reasonOf(await call('a'))).toBeNull();
  let refused = await call('a');
  // A slow machine may have refilled the bucket.
  for (let i = 0; i < 100 && refused.error === null; i++) refused = await call('a');
  const waitMs = errorDetailsOf(refused.error!).retryAfterMs!;
  await new Promise((resolve) => setTimeout(resolve, waitMs + 1));
  expect(reasonOf(await call('a'))).toBeNull();
});

test('bytes and agent states are charged as the request says them, before it is decoded', async () => {
  const { core } = await start({
    tenants: {
      bytes: { bytesPerSecond: 0.1, burstSeconds: 1000 },
      agents: { agentStatesPerSecond: 0.1, burstSeconds: 100 },
    },
  });
  const request = (rows: number): Buffer =>
    coordinateMethod.requestSerialize({ agents: { shape: [rows, 1], data: new Uint8Array(4 * rows) } });
  expect(reasonOf(await call('bytes', Buffer.from(request(10))))).toBeNull();
  expect(reasonOf(await call('bytes', request(15)))).toBe('QUOTA_EXCEEDED');
  expect(reasonOf(await call('bytes', request(100)))).toBe('QUOTA_TOO_SMALL');
  expect(reasonOf(await call('agents', request(10)))).toBeNull();
  expect(reasonOf(await call('agents', request(1)))).toBe('QUOTA_EXCEEDED');
  expect(reasonOf(await call('agents', request(11)))).toBe('QUOTA_TOO_SMALL');
  expect(core.decoded).toBe(2);
});

test('places are given back when calls and streams end, however they end', async () => {
  const { core, server } = await start({ default: { concurrentCalls: 2, streams: 1 } });
  core.answersAtOnce = false;
  const cancelled = client!.makeUnaryRequest(
    '/tensorconsensus.v1.Coordinator/Coordinate',
    (value: Buffer) => value,
    (value: Buffer) => value,
    Buffer.alloc(0),
    metadataOf({ 'tc-tenant': 'a' }),
    () => undefined,
  );
  const answered = call('a');
  await core.arrived(2);
  expect(reasonOf(await call('a'))).toBe('QUOTA_EXCEEDED');
  expect(core.calls).toHaveLength(2);
  cancelled.cancel();
  for (const each of core.calls) each.answer();
  core.answersAtOnce = true;
  await answered;
  await expect.poll(async () => reasonOf(await call('a')), eventually).toBeNull();

  const streams = streamClient(server.grpcAddress);
  try {
    const metadata = metadataOf({ 'tc-tenant': 'a' });
    const first = streams.open({ metadata });
    first.send({ requestId: '1' });
    await first.received(1);
    const second = streams.open({ metadata });
    expect((await second.status).code).toBe(grpc.status.RESOURCE_EXHAUSTED);
    first.call.cancel();
    await first.status;
    await expect
      .poll(async () => {
        const stream = streams.open({ metadata });
        stream.send({ requestId: '3' });
        await stream.received(1);
        stream.call.end();
        return (await stream.status).code;
      }, eventually)
      .toBe(grpc.status.OK);
  } finally {
    streams.close();
  }
});

test('a tick beyond the rate is told so in its place, and the stream lives on', async () => {
  const { core, server } = await start({ default: { requestsPerSecond: 0.01, burstSeconds: 200 } });
  const streams = streamClient(server.grpcAddress);
  try {
    const stream = streams.open({ metadata: metadataOf({ 'tc-tenant': 'a' }) });
    for (const requestId of ['1', '2', '3']) stream.send({ requestId });
    await stream.received(3);
    const errors = stream.answers.map(({ error }) => error as { reason: string; retryAfterMs: number } | null);
    expect(stream.answers.map(({ requestId }) => requestId)).toEqual(['1', '2', '3']);
    expect(errors.slice(0, 2)).toEqual([null, null]);
    expect(errors[2]).toMatchObject({ reason: 'QUOTA_EXCEEDED' });
    expect(errors[2]!.retryAfterMs).toBeGreaterThan(0);
    expect(core.decoded).toBe(2);
    stream.call.end();
    expect((await stream.status).code).toBe(grpc.status.OK);
  } finally {
    streams.close();
  }
});

test('what a tenant floods the server with reaches nothing that another tenant needs', async () => {
  const { core } = await start({ tenants: { flood: { requestsPerSecond: 0.01, burstSeconds: 500 } } });
  const flood = Array.from({ length: 200 }, () => call('flood'));
  const others = Array.from({ length: 50 }, () => call('quiet'));
  const refused = (await Promise.all(flood)).filter(({ error }) => error !== null);
  expect((await Promise.all(others)).filter(({ error }) => error !== null)).toEqual([]);
  expect(refused).toHaveLength(195);
  expect(core.calls.filter(({ context }) => context.tenant === 'flood')).toHaveLength(5);
  expect(core.calls.filter(({ context }) => context.tenant === 'quiet')).toHaveLength(50);
  // A line for each would be the flood's next victim.
  expect(fake!.logLines.filter(({ code }) => code === 'QUOTA_EXCEEDED').length).toBeLessThan(20);
});

test('a changed file holds at once, and one that does not parse changes nothing', async () => {
  await start({ tenants: { a: { requestsPerSecond: 0.01 } } });
  expect(reasonOf(await call('a'))).toBeNull();
  expect(reasonOf(await call('a'))).toBe('QUOTA_EXCEEDED');
  files.write('quota.json', '{"tenants": {"a": {"requestsPerSecond": -1}}}');
  await expect
    .poll(() => fake!.logLines.filter(({ msg }) => String(msg).includes('quota file is refused')).length, eventually)
    .toBe(1);
  expect(reasonOf(await call('a'))).toBe('QUOTA_EXCEEDED');
  files.write('quota.json', '{"tenants": {"a": {}}}');
  await expect.poll(async () => reasonOf(await call('a')), eventually).toBeNull();
});
