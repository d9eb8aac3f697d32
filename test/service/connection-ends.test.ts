/** Connections that end without a word, and those that the server ends because of their age. */
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { afterEach, expect, test } from 'vitest';
import { CoordinatorClient, matrix } from '../../client/client.js';
import { coordinateMethod } from '../wire-codec.js';
import { type FakeServer, startFakeServer } from './fake-server.js';
import { coordinatePath } from './security-files.js';
import { TcpProxy } from './tcp-proxy.js';

const eventually = { timeout: 30_000, interval: 20 };
const takesSeconds = { timeout: 60_000 };
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A server and what stands in front of it; clients reach it by either. */
async function start(...flags: string[]): Promise<{ fake: FakeServer; proxy: TcpProxy }> {
  const fake = await startFakeServer(flags);
  closers.push(() => fake.server.close());
  const proxy = await TcpProxy.to(fake.server.grpcAddress);
  closers.push(() => proxy.close());
  return { fake, proxy };
}

async function valueOf(fake: FakeServer, metric: string): Promise<number> {
  const text = await (await fetch(`http://${fake.server.adminAddress}/metrics`)).text();
  return Number(new RegExp(`^${metric} (\\d+)$`, 'm').exec(text)?.[1] ?? NaN);
}

function clientOf(address: string): CoordinatorClient {
  const client = new CoordinatorClient(address);
  closers.push(() => client.close());
  return client;
}

function sessionTo(address: string): ClientHttp2Session {
  const session = connect(`http://${address}`);
  session.on('error', () => undefined);
  closers.push(() => session.destroy());
  return session;
}

const framed = (message: Uint8Array, claimedBytes = message.length): Buffer => {
  const header = Buffer.alloc(5);
  header.writeUInt32BE(claimedBytes, 1);
  return Buffer.concat([header, message]);
};

/** A call without a deadline whose request begins with `bytes`, and of whose answer nothing is read. */
function begin(session: ClientHttp2Session, path: string, bytes: Buffer): ClientHttp2Stream {
  const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request(headers);
  stream.on('error', () => undefined);
  stream.write(bytes);
  return stream;
}

const streamPath = coordinatePath.replace(/Coordinate$/, 'CoordinateStream');
const message = coordinateMethod.requestSerialize({ requestId: 'any' });
const request = { agents: matrix(1, 1, [0]) };

test(
  'a client that vanishes without a word is let go of within the keepalive: its calls, its stream, its unread answers, its connection',
  takesSeconds,
  async () => {
    const { fake, proxy } = await start(
      ...['--keepalive-time-ms', '2000', '--keepalive-timeout-ms', '5000', '--max-streams', '1'],
      // What else would let go of it comes far later.
      ...['--max-deadline-ms', '600000', '--slow-reader-timeout-ms', '600000'],
    );
    const { core } = fake;
    core.answersAtOnce = false;
    core.answerElements = 1 << 20;
    const session = sessionTo(proxy.address);
    for (let i = 0; i < 4; i++) begin(session, coordinatePath, framed(message)).end();
    begin(session, streamPath, framed(message));
    const half = Buffer.alloc(20_000);
    begin(session, coordinatePath, framed(half, 2 * half.length));
    await core.arrived(5);
    await expect.poll(() => proxy.forwardedBytes > half.length, eventually).toBe(true);
    expect(await valueOf(fake, 'coordinate_streams_open')).toBe(1);
    core.calls[0]!.answer();
    await expect.poll(() => valueOf(fake, 'coordinate_unread_answer_bytes'), eventually).toBeGreaterThan(1 << 20);

    proxy.fallSilent();
    await expect.poll(() => valueOf(fake, 'coordinate_connections_open'), eventually).toBe(0);
    await expect.poll(() => valueOf(fake, 'coordinate_unread_answer_bytes'), eventually).toBe(0);
    await expect.poll(() => valueOf(fake, 'coordinate_streams_open'), eventually).toBe(0);
    const waiting = core.calls.slice(1, 5);
    await expect.poll(() => waiting.every(({ context }) => context.signal.aborted), eventually).toBe(true);

    // The only place for a stream is free again.
    core.answersAtOnce = true;
    core.answerElements = 4;
    const stream = clientOf(fake.server.grpcAddress).openStream();
    await stream.send(request, { deadlineMs: 30_000 });
    await stream.close();
  },
);

test('where keepalive is slow, calls of a client that vanished end at the longest deadline', takesSeconds, async () => {
  const { fake, proxy } = await start('--keepalive-time-ms', '3600000', '--max-deadline-ms', '1000');
  fake.core.answersAtOnce = false;
  const session = sessionTo(proxy.address);
  for (let i = 0; i < 4; i++) begin(session, coordinatePath, framed(message)).end();
  await fake.core.arrived(4);
  proxy.fallSilent();
  const { calls } = fake.core;
  await expect.poll(() => calls.every(({ context }) => context.signal.aborted), eventually).toBe(true);
  await expect.poll(() => valueOf(fake, 'coordinate_open_calls'), eventually).toBe(0);
});

test('connections that end at their age lose no call and no tick of clients under load', takesSeconds, async () => {
  const { proxy } = await start('--max-connection-age-ms', '500');
  const client = clientOf(proxy.address);
  const stream = client.openStream();
  const state = { stopped: false, calls: 0 };
  const caller = async (): Promise<void> => {
    while (!state.stopped) {
      await client.coordinate(request, { deadlineMs: 30_000 });
      state.calls += 1;
    }
  };
  const answered: string[] = [];
  const ticker = async (): Promise<number> => {
    for (let tick = 0; ; tick += 1) {
      if (state.stopped) return tick;
      const { requestId } = await stream.send({ ...request, requestId: String(tick) }, { deadlineMs: 30_000 });
      answered.push(requestId);
    }
  };
  const loads = Promise.all([ticker(), ...Array.from({ length: 8 }, caller)]);
  loads.catch(() => undefined);
  await expect.poll(() => proxy.connections >= 4 && stream.reconnects >= 2, eventually).toBe(true);
  state.stopped = true;
  const [ticks] = await loads;
  expect(answered).toEqual(Array.from({ length: ticks }, (_, tick) => String(tick)));
  expect(state.calls).toBeGreaterThan(0);
  await stream.close();
});
