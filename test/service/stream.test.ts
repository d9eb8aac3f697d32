/** Streams of ticks through the real server, with a fake core behind it. */
import * as grpc from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { CoordinatorError } from '../../src/errors.js';
import { VirtualClock } from '../virtual-clock.js';
import { errorDetailsOf } from './error-details-of.js';
import { startFakeServer, type FakeServer, type FakeServerOptions } from './fake-server.js';
import { streamClient, type RawStream, type StreamClient } from './stream-client.js';

/** How long to wait for what must come, on a machine that is busy with other things too. */
const eventually = { timeout: 20_000 };

const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(flags: readonly string[] = [], options: FakeServerOptions = {}): Promise<FakeServer> {
  const fake = await startFakeServer(flags, options);
  closers.push(() => fake.server.close());
  return fake;
}

function clientOf({ server }: FakeServer): StreamClient {
  const client = streamClient(server.grpcAddress);
  closers.push(() => client.close());
  return client;
}

const ids = (stream: RawStream): unknown[] => stream.answers.map((answer) => answer['requestId']);
const errorOf = (stream: RawStream, index: number): unknown => stream.answers[index]!['error'];

async function gauge({ server }: FakeServer, name: string): Promise<number> {
  return (await server.registry.getSingleMetric(name)!.get()).values[0]?.value ?? 0;
}

test('answers come in the order of the requests, one for each, and half-closing ends the stream with OK', async () => {
  const fake = await start();
  const stream = clientOf(fake).open();
  const sent = Array.from({ length: 50 }, (_, i) => `tick-${i}`);
  for (const requestId of sent) stream.send({ requestId });
  stream.call.end();
  expect((await stream.status).code).toBe(grpc.status.OK);
  expect(ids(stream)).toEqual(sent);
  expect(stream.answers.every(({ error }) => error === null)).toBe(true);
});

test('a tick starts when the one before is answered, and has arrived by then', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'a' });
  stream.send({ requestId: 'b' });
  await fake.core.arrived(1);
  await expect.poll(() => fake.core.decoded, eventually).toBe(2);
  expect(fake.core.calls).toHaveLength(1);
  fake.core.calls[0]!.answer();
  await fake.core.arrived(2);
  fake.core.calls[1]!.answer();
  await stream.received(2);
  expect(ids(stream)).toEqual(['a', 'b']);
});

test('a bad request and an undecodable one are answered in their place, and the stream lives on', async () => {
  const fake = await start();
  fake.core.refuses.set('bad', CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,64]', '[3]'));
  fake.core.refuses.set('full', new CoordinatorError('QUEUE_FULL', 'the queue is full', { retryAfterMs: 40 }));
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'good' });
  stream.send({ requestId: 'bad' });
  stream.sendBytes(Buffer.from('not a protobuf message at all, no'));
  stream.send({ requestId: 'full' });
  stream.send({ requestId: 'good again' });
  await stream.received(5);
  expect(ids(stream)).toEqual(['good', 'bad', '', 'full', 'good again']);
  expect(errorOf(stream, 0)).toBeNull();
  expect(errorOf(stream, 1)).toEqual({
    code: grpc.status.INVALID_ARGUMENT,
    reason: 'TENSOR_SHAPE',
    message: 'agents: expected shape [N,64], received [3]',
    retryAfterMs: 0,
    traceId: '',
  });
  expect(errorOf(stream, 2)).toMatchObject({ code: grpc.status.INVALID_ARGUMENT, reason: 'REQUEST_INVALID' });
  expect(errorOf(stream, 3)).toMatchObject({ code: grpc.status.RESOURCE_EXHAUSTED, reason: 'QUEUE_FULL' });
  const { retryAfterMs } = errorOf(stream, 3) as { retryAfterMs: number };
  expect(retryAfterMs).toBeGreaterThanOrEqual(40);
  expect(errorOf(stream, 4)).toBeNull();
  const logged = fake.logLines.filter((line) => line['method'] === 'CoordinateStream').map((line) => line['code']);
  expect(logged).toEqual(['TENSOR_SHAPE', 'REQUEST_INVALID', 'QUEUE_FULL']);
});

test('a defect is INTERNAL in the stream without a word of the inside, which is in the log', async () => {
  const fake = await start();
  fake.core.refuses.set('defect', new TypeError('secret /etc/path of undefined'));
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'defect' });
  await stream.received(1);
  expect(errorOf(stream, 0)).toMatchObject({ code: grpc.status.INTERNAL, reason: 'INTERNAL' });
  expect(JSON.stringify(stream.answers)).not.toMatch(/secret|TypeError|\.ts/);
  const line = fake.logLines.find(({ code }) => code === 'INTERNAL');
  expect(line).toMatchObject({ requestId: 'defect', err: { message: 'secret /etc/path of undefined' } });
});

test('no more than the window is read while nothing is answered, and all of it is answered later', async () => {
  const fake = await start(['--stream-window=4']);
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  const data = Buffer.alloc(100_000);
  // 40 requests of 100 KB: more than flow control lets lie in between.
  for (let i = 0; i < 40; i++) stream.send({ requestId: String(i), agents: { data } });
  await fake.core.arrived(1);
  let written = 0;
  await expect
    .poll(() => {
      const before = written;
      written = 40 - stream.call.writableLength;
      return written === before && written > 4;
    }, eventually)
    .toBe(true);
  // What is neither read nor in flow-control windows has not left the client.
  expect(written).toBeLessThan(30);
  expect(fake.core.decoded).toBeLessThanOrEqual(2);
  fake.core.answersAtOnce = true;
  fake.core.calls[0]!.answer();
  await stream.received(40);
  expect(ids(stream)).toEqual(Array.from({ length: 40 }, (_, i) => String(i)));
});

test('large requests stop the reading before the window is full', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  const data = Buffer.alloc(3 * 1024 * 1024);
  for (let i = 0; i < 8; i++) stream.send({ requestId: String(i), agents: { data } });
  await fake.core.arrived(1);
  // Two are held (the second reaches the limit), one lies read ahead, and flow control takes part of another.
  await expect.poll(() => stream.call.writableLength, eventually).toBeLessThanOrEqual(5);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(stream.call.writableLength).toBeGreaterThanOrEqual(4);
  fake.core.answersAtOnce = true;
  fake.core.calls[0]!.answer();
  await stream.received(8);
  expect(ids(stream)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
});

test('a client that does not take its answers stops its ticks, and gets them all once it reads', async () => {
  const fake = await start();
  // Half a megabyte an answer: 100 answers are far beyond what may lie unsent.
  fake.core.answerElements = 131_072;
  const stream = clientOf(fake).open();
  stream.call.pause();
  for (let i = 0; i < 100; i++) stream.send({ requestId: String(i) });
  let ran = 0;
  await expect
    .poll(
      () => {
        const before = ran;
        ran = fake.core.calls.length;
        return ran > 0 && ran === before;
      },
      { ...eventually, interval: 300 },
    )
    .toBe(true);
  expect(ran).toBeLessThan(40);
  stream.call.resume();
  await stream.received(100);
  expect(ids(stream)).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
});

test('a client that takes nothing for too long loses its connection, and others are served', async () => {
  const fake = await start(['--slow-reader-timeout-ms=1000']);
  fake.core.answerElements = 131_072;
  const deaf = clientOf(fake).open();
  deaf.call.pause();
  for (let i = 0; i < 20; i++) deaf.send({ requestId: String(i) });
  const other = clientOf(fake).open();
  other.send({ requestId: 'other' });
  await other.received(1);
  await expect.poll(() => gauge(fake, 'coordinate_streams_open'), eventually).toBe(1);
  deaf.call.resume();
  expect((await deaf.status).code).not.toBe(grpc.status.OK);
  expect(deaf.answers.length).toBeLessThan(20);
  other.send({ requestId: 'again' });
  await other.received(2);
});

test('a tick that allows it and is not begun is answered SUPERSEDED when its successor arrives', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'old', supersede: true });
  await fake.core.arrived(1);
  expect(fake.core.calls[0]!.context.signal.aborted).toBe(false);
  stream.send({ requestId: 'new', supersede: true });
  await stream.received(1);
  expect(ids(stream)).toEqual(['old']);
  expect(errorOf(stream, 0)).toMatchObject({ code: grpc.status.CANCELLED, reason: 'SUPERSEDED' });
  // Its place in the queue is free, and the newer one is in it.
  expect(fake.core.calls[0]!.context.signal.aborted).toBe(true);
  await fake.core.arrived(2);
  fake.core.calls[1]!.answer();
  await stream.received(2);
  expect(errorOf(stream, 1)).toBeNull();
});

test('a tick that an engine has begun, or that does not allow it, is not superseded', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'begun', supersede: true });
  await fake.core.arrived(1);
  fake.core.calls[0]!.context.onBegun!();
  stream.send({ requestId: 'kept' });
  stream.send({ requestId: 'waiting', supersede: true });
  stream.send({ requestId: 'last', supersede: true });
  await expect.poll(async () => shedCount(fake, 'superseded'), eventually).toBe(1);
  expect(stream.answers).toEqual([]);
  fake.core.answersAtOnce = true;
  fake.core.calls[0]!.answer();
  await stream.received(4);
  expect(ids(stream)).toEqual(['begun', 'kept', 'waiting', 'last']);
  expect(stream.answers.map(({ error }) => (error as { reason: string } | null)?.reason ?? null)).toEqual([
    null,
    null,
    'SUPERSEDED',
    null,
  ]);
});

async function shedCount({ server }: FakeServer, reason: string): Promise<number> {
  const { values } = await server.registry.getSingleMetric('coordinate_shed_total')!.get();
  return values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
}

test('a stream whose every tick is superseded before it begins still gets one answered now and then', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const client = clientOf(fake);
  const stream = client.open();
  for (let i = 0; i < 5; i++) {
    stream.send({ requestId: String(i), supersede: true });
    await fake.core.arrived(i + 1);
  }
  stream.send({ requestId: '5', supersede: true });
  await client.ping();
  expect(fake.core.calls[4]!.context.signal.aborted).toBe(false);
  expect(fake.core.calls).toHaveLength(5);
  fake.core.answersAtOnce = true;
  fake.core.calls[4]!.answer();
  await stream.received(6);
  expect(ids(stream)).toEqual(['0', '1', '2', '3', '4', '5']);
  expect(errorOf(stream, 3)).toMatchObject({ reason: 'SUPERSEDED' });
  expect(errorOf(stream, 4)).toBeNull();
});

test('a tick that does not end in its time is answered DEADLINE_EXPIRED, and the next one runs', async () => {
  const fake = await start(['--stream-tick-timeout-ms=150']);
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'slow' });
  await stream.received(1);
  expect(errorOf(stream, 0)).toMatchObject({ code: grpc.status.DEADLINE_EXCEEDED, reason: 'DEADLINE_EXPIRED' });
  expect(fake.core.calls[0]!.context.signal.aborted).toBe(true);
  fake.core.answersAtOnce = true;
  stream.send({ requestId: 'quick' });
  await stream.received(2);
  expect(errorOf(stream, 1)).toBeNull();
});

test("the stream's own deadline ends it and what it has under way", async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const client = clientOf(fake);
  // Connected beforehand, so that the tick arrives before the deadline.
  await client.ping();
  const stream = client.open({ deadline: Date.now() + 2000 });
  stream.send({ requestId: 'slow' });
  await fake.core.arrived(1);
  expect((await stream.status).code).toBe(grpc.status.DEADLINE_EXCEEDED);
  await expect.poll(() => fake.core.calls[0]!.context.signal.aborted, eventually).toBe(true);
  await expect.poll(() => gauge(fake, 'coordinate_streams_open'), eventually).toBe(0);
});

test('a client that cancels leaves nothing behind', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const stream = clientOf(fake).open();
  for (let i = 0; i < 5; i++) stream.send({ requestId: String(i) });
  await fake.core.arrived(1);
  expect(await gauge(fake, 'coordinate_streams_open')).toBe(1);
  stream.call.cancel();
  await expect.poll(() => fake.core.calls[0]!.context.signal.aborted, eventually).toBe(true);
  await expect.poll(() => gauge(fake, 'coordinate_streams_open'), eventually).toBe(0);
  expect(fake.core.calls).toHaveLength(1);
  // No call is open any more: draining has nothing to wait for.
  expect(await fake.server.close()).toEqual({ lostCalls: 0, forced: false });
});

test('draining answers what was read, ends the stream as retryable, and ends idle streams at once', async () => {
  const fake = await start();
  fake.core.answersAtOnce = false;
  const client = clientOf(fake);
  const busy = client.open();
  const idle = client.open();
  for (const requestId of ['a', 'b', 'c']) busy.send({ requestId });
  await client.ping();
  await expect.poll(() => gauge(fake, 'coordinate_streams_open'), eventually).toBe(2);
  const closed = fake.server.close();
  const ended = await idle.status;
  expect(ended.code).toBe(grpc.status.UNAVAILABLE);
  expect(errorDetailsOf(ended as grpc.ServiceError)).toMatchObject({ reason: 'DRAINING' });
  fake.core.answersAtOnce = true;
  fake.core.calls[0]!.answer();
  expect((await busy.status).code).toBe(grpc.status.UNAVAILABLE);
  expect(ids(busy)).toEqual(['a', 'b', 'c']);
  expect(busy.answers.every(({ error }) => error === null)).toBe(true);
  expect(await closed).toEqual({ lostCalls: 0, forced: false });
});

test('what is not answered within the drain timeout gets DRAINING in its place and counts as lost', async () => {
  const clock = new VirtualClock();
  const fake = await start(['--drain-timeout-ms=100'], { clock });
  fake.core.answersAtOnce = false;
  const client = clientOf(fake);
  const stream = client.open();
  stream.send({ requestId: 'a' });
  stream.send({ requestId: 'b' });
  await client.ping();
  const closed = fake.server.close();
  await expect.poll(() => fake.server.phase, eventually).toBe('draining');
  clock.advance(100);
  expect(await closed).toEqual({ lostCalls: 2, forced: false });
  expect((await stream.status).code).toBe(grpc.status.UNAVAILABLE);
  expect(ids(stream)).toEqual(['a', 'b']);
  expect(errorOf(stream, 1)).toMatchObject({ code: grpc.status.UNAVAILABLE, reason: 'DRAINING' });
});

test('a stream is refused as retryable until the server is warm, and beyond the limit of streams', async () => {
  const cold = await start([], { warm: false });
  const early = await clientOf(cold).open().status;
  expect(errorDetailsOf(early as grpc.ServiceError)).toMatchObject({ reason: 'WARMING' });

  const fake = await start(['--max-streams=1']);
  const client = clientOf(fake);
  const first = client.open();
  first.send({ requestId: 'a' });
  await first.received(1);
  const refused = await client.open().status;
  expect(refused.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  expect(errorDetailsOf(refused as grpc.ServiceError)).toMatchObject({ reason: 'STREAM_LIMIT' });
  first.call.end();
  await first.status;
  await expect
    .poll(async () => {
      const again = client.open();
      again.call.end();
      return (await again.status).code;
    }, eventually)
    .toBe(grpc.status.OK);
});

test('an answer over the message limit is OUT_OF_RANGE in its place', async () => {
  const fake = await start(['--max-message-mb=1']);
  fake.core.answerElements = 1024 * 256;
  const stream = clientOf(fake).open();
  stream.send({ requestId: 'wide' });
  await stream.received(1);
  expect(errorOf(stream, 0)).toMatchObject({ code: grpc.status.OUT_OF_RANGE, reason: 'ANSWER_TOO_LARGE' });
});
