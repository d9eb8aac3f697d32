/** From binding to the last answer: warm-up, health, draining. A fake core stands behind the real server. */
import { connect } from 'node:http2';
import { createServer, type Server as NetServer } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import { afterEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { startServer } from '../../server/start.js';
import { VirtualClock } from '../virtual-clock.js';
import { errorDetailsOf } from './error-details-of.js';
import { FakeCore } from './fake-core.js';
import { startFakeServer, type FakeServer, type FakeServerOptions } from './fake-server.js';
import { rawClient, type RawClient } from './raw-client.js';

/** How long to wait for what must come, on a machine that is busy with other things too. */
const eventually = { timeout: 20_000 };

const coordinatorService = 'tensorconsensus.v1.Coordinator';
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(flags: readonly string[] = [], options: FakeServerOptions = {}): Promise<FakeServer> {
  const fake = await startFakeServer(flags, options);
  closers.push(() => fake.server.close());
  return fake;
}

function clientOf(address: string): RawClient {
  const client = rawClient(address);
  closers.push(() => client.close());
  return client;
}

interface HealthClient {
  readonly check: (service: string) => Promise<string>;
  /** What a watch is told, in order, and `ended` at its end. */
  readonly watch: (service: string) => string[];
}

function healthClientOf(address: string): HealthClient {
  const loaded = grpc.loadPackageDefinition(loadSync(healthProtoPath, { enums: String })) as unknown as {
    grpc: { health: { v1: { Health: grpc.ServiceClientConstructor } } };
  };
  const client = new loaded.grpc.health.v1.Health(address, grpc.credentials.createInsecure());
  closers.push(() => client.close());
  const call = (name: string) => (client[name] as (...args: unknown[]) => unknown).bind(client);
  return {
    check: (service) =>
      new Promise((resolve, reject) =>
        call('check')({ service }, (error: grpc.ServiceError | null, answer: { status: string }) =>
          error === null ? resolve(answer.status) : reject(error),
        ),
      ),
    watch: (service) => {
      const told: string[] = [];
      const stream = call('watch')({ service }) as grpc.ClientReadableStream<{ status: string }>;
      stream.on('data', ({ status }: { status: string }) => told.push(status));
      stream.on('end', () => told.push('ended'));
      stream.on('error', (error) => told.push(String(error)));
      return told;
    },
  };
}

async function failureOf(call: Promise<unknown>): Promise<grpc.ServiceError> {
  try {
    await call;
  } catch (error) {
    return error as grpc.ServiceError;
  }
  throw new Error('the call succeeded');
}

async function readyz(fake: FakeServer): Promise<number> {
  return (await fetch(`http://${fake.server.adminAddress}/readyz`)).status;
}

test('until it is warm it answers health with NOT_SERVING and calls with a retryable WARMING', async () => {
  const fake = await start([], { warm: false });
  const { check } = healthClientOf(fake.server.grpcAddress);
  expect(await check('')).toBe('NOT_SERVING');
  expect(await check(coordinatorService)).toBe('NOT_SERVING');
  expect(await readyz(fake)).toBe(503);
  const client = clientOf(fake.server.grpcAddress);
  for (const call of [client.coordinate({}), client.listPolicies()]) {
    const error = await failureOf(call);
    expect(error.code).toBe(grpc.status.UNAVAILABLE);
    expect(errorDetailsOf(error)).toMatchObject({ reason: 'WARMING' });
    expect(errorDetailsOf(error).retryAfterMs).toBeGreaterThan(0);
  }
  fake.core.finishWarmUp();
  await fake.server.ready;
  expect(await check('')).toBe('SERVING');
  expect(await check(coordinatorService)).toBe('SERVING');
  expect(await readyz(fake)).toBe(200);
  expect((await client.coordinate({ requestId: 'a' }))['requestId']).toBe('a');
});

test('health of a service that is not there is NOT_FOUND', async () => {
  const fake = await start();
  const error = await failureOf(healthClientOf(fake.server.grpcAddress).check('no.such.Service'));
  expect(error.code).toBe(grpc.status.NOT_FOUND);
});

test('one line says ready, with both addresses in numbers, the engine and the device', async () => {
  const fake = await start();
  const lines = fake.logLines.filter((line) => line['msg'] === 'ready');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatchObject({
    grpcAddress: fake.server.grpcAddress,
    adminAddress: fake.server.adminAddress,
    engine: 'onnx',
    device: 'fake',
  });
  expect(fake.server.grpcAddress).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
  expect(fake.server.adminAddress).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
});

test('a name is bound and told as an address in numbers', async () => {
  const fake = await start(['--grpc-address=localhost:0']);
  expect(fake.server.grpcAddress).toMatch(/^(127\.0\.0\.1|\[::1\]):[1-9]\d*$/);
});

test('draining: accepted calls are answered, new ones refused as retryable, watchers told, then all is closed', async () => {
  const fake = await start();
  const client = clientOf(fake.server.grpcAddress);
  const told = healthClientOf(fake.server.grpcAddress).watch(coordinatorService);
  await expect.poll(() => told, eventually).toEqual(['SERVING']);
  fake.core.answersAtOnce = false;
  const accepted = [1, 2, 3].map((id) => client.coordinate({ requestId: `accepted-${id}` }));
  await fake.core.arrived(3);
  const closed = fake.server.close();
  await expect.poll(() => told, eventually).toEqual(['SERVING', 'NOT_SERVING']);
  expect(await readyz(fake)).toBe(503);
  const refused = await failureOf(client.coordinate({ requestId: 'new' }));
  expect(refused.code).toBe(grpc.status.UNAVAILABLE);
  expect(errorDetailsOf(refused).reason).toBe('DRAINING');
  expect(errorDetailsOf(refused).retryAfterMs).toBeGreaterThan(0);
  expect(fake.core.closed).toBe(false);
  for (const call of fake.core.calls) call.answer();
  const answers = await Promise.all(accepted);
  expect(answers.map((answer) => answer['requestId'])).toEqual(['accepted-1', 'accepted-2', 'accepted-3']);
  expect(await closed).toEqual({ lostCalls: 0, forced: false });
  expect(fake.core.closed).toBe(true);
  await expect.poll(() => told, eventually).toEqual(['SERVING', 'NOT_SERVING', 'ended']);
  expect((await failureOf(clientOf(fake.server.grpcAddress).coordinate({}))).code).toBe(grpc.status.UNAVAILABLE);
  await expect(fetch(`http://${fake.server.adminAddress}/livez`)).rejects.toThrow();
});

test('a large answer that is still on its way when the drain begins arrives whole', async () => {
  const fake = await start();
  const client = clientOf(fake.server.grpcAddress);
  fake.core.answersAtOnce = false;
  fake.core.answerElements = 4 * 1024 * 1024;
  const accepted = client.coordinate({});
  await fake.core.arrived(1);
  fake.core.calls[0]!.answer();
  const closed = fake.server.close();
  const answer = await accepted;
  expect((answer['resources'] as { data: Buffer }).data).toHaveLength(16 * 1024 * 1024);
  expect(await closed).toEqual({ lostCalls: 0, forced: false });
});

test('during the drain delay calls are still taken while health says NOT_SERVING', async () => {
  const clock = new VirtualClock();
  const fake = await start(['--drain-delay-ms=2500'], { clock });
  const client = clientOf(fake.server.grpcAddress);
  const { check } = healthClientOf(fake.server.grpcAddress);
  await check('');
  const closed = fake.server.close();
  expect(await check('')).toBe('NOT_SERVING');
  expect(await readyz(fake)).toBe(503);
  expect((await client.coordinate({ requestId: 'late comer' }))['requestId']).toBe('late comer');
  expect(fake.server.phase).toBe('leaving');
  clock.advance(2500);
  expect(await closed).toEqual({ lostCalls: 0, forced: false });
});

test('what is not answered within the drain timeout fails as retryable and counts as lost', async () => {
  const clock = new VirtualClock();
  const fake = await start(['--drain-timeout-ms=100'], { clock });
  const client = clientOf(fake.server.grpcAddress);
  fake.core.answersAtOnce = false;
  const lost = failureOf(client.coordinate({}));
  await fake.core.arrived(1);
  const closed = fake.server.close();
  await expect.poll(() => fake.server.phase, eventually).toBe('draining');
  clock.advance(100);
  expect(await closed).toEqual({ lostCalls: 1, forced: false });
  const error = await lost;
  expect(error.code).toBe(grpc.status.UNAVAILABLE);
  expect(errorDetailsOf(error).reason).toBe('DRAINING');
  expect(fake.core.calls[0]!.context.signal.aborted).toBe(true);
});

test('a client that does not read cannot keep the server from closing', async () => {
  const fake = await start(['--drain-timeout-ms=100']);
  fake.core.answerElements = 2 * 1024 * 1024;
  const session = connect(`http://${fake.server.grpcAddress}`);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/tensorconsensus.v1.Coordinator/Coordinate',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  stream.pause();
  stream.on('error', () => undefined);
  session.on('error', () => undefined);
  const ended = new Promise((resolve) => session.once('close', resolve));
  stream.end(Buffer.alloc(5));
  await fake.core.arrived(1);
  expect(await fake.server.close()).toEqual({ lostCalls: 0, forced: true });
  stream.resume();
  await ended;
});

test('under load no accepted call is lost, and every refused one may be retried', async () => {
  const fake = await start();
  const clients = Array.from({ length: 4 }, () => clientOf(fake.server.grpcAddress));
  const failures: grpc.ServiceError[] = [];
  let answered = 0;
  const load = { on: true };
  const callers = Array.from({ length: 32 }, async (_, caller) => {
    for (let round = 0; load.on; round++) {
      const requestId = `${caller}-${round}`;
      try {
        const answer = await clients[caller % 4]!.coordinate({ requestId });
        expect(answer['requestId']).toBe(requestId);
        answered++;
      } catch (error) {
        failures.push(error as grpc.ServiceError);
        return;
      }
    }
  });
  await expect.poll(() => answered, eventually).toBeGreaterThan(200);
  const result = await fake.server.close();
  load.on = false;
  await Promise.all(callers);
  expect(result).toEqual({ lostCalls: 0, forced: false });
  for (const error of failures) expect(error.code, error.message).toBe(grpc.status.UNAVAILABLE);
  // Every call that the core took was answered.
  expect(answered).toBe(fake.core.calls.length);
});

test('closing twice is one drain', async () => {
  const fake = await start();
  const [first, second] = await Promise.all([fake.server.close(), fake.server.close()]);
  expect(second).toBe(first);
  expect(fake.logLines.filter((line) => line['msg'] === 'draining')).toHaveLength(1);
});

test('a server closed before it was warm says so through `ready`, and never serves', async () => {
  const fake = await start([], { warm: false });
  const outcome = fake.server.ready.then(
    () => 'served',
    (error: unknown) => String(error),
  );
  await fake.server.close();
  fake.core.finishWarmUp();
  expect(await outcome).toMatch(/closed before it was ready/);
  expect(fake.core.closed).toBe(true);
});

test('a warm-up that fails is told through `ready`, and health stays NOT_SERVING', async () => {
  const fake = await start([], { warm: false });
  fake.core.failWarmUp(new Error('no such device'));
  await expect(fake.server.ready).rejects.toThrow('no such device');
  expect(await healthClientOf(fake.server.grpcAddress).check('')).toBe('NOT_SERVING');
});

test.each([
  ['--grpc-address', 'gRPC'],
  ['--admin-address', 'admin'],
])('an address in use (%s) is one clear line, and nothing stays open', async (flag, what) => {
  const taken = await new Promise<NetServer>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  });
  closers.push(() => taken.close());
  const { port } = taken.address() as { port: number };
  const free = ['--grpc-address', '--admin-address']
    .filter((name) => name !== flag)
    .map((name) => `${name}=127.0.0.1:0`);
  const { config } = loadConfig([...free, `${flag}=127.0.0.1:${port}`, '--log-level=silent'], {});
  let made = 0;
  const starting = startServer(config, {
    createCore: () => {
      made++;
      return Promise.resolve(new FakeCore(true));
    },
  });
  const error = (await starting.then(
    () => null,
    (thrown: unknown) => thrown,
  )) as Error | null;
  expect(error?.message).toMatch(new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port} \\(${what}\\): .*EADDRINUSE`));
  expect(error?.message).not.toContain('\n');
  expect(made).toBe(0);
});
