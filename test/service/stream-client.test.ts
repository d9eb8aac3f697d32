/** Our client's streams against the real server, with a fake core behind it. */
import { afterEach, expect, test } from 'vitest';
import { CoordinatorCallError, CoordinatorClient, matrix } from '../../client/client.js';
import { CoordinatorError } from '../../src/errors.js';
import { startFakeServer, type FakeServer } from './fake-server.js';

const eventually = { timeout: 20_000 };
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(flags: readonly string[] = []): Promise<{ fake: FakeServer; client: CoordinatorClient }> {
  const fake = await startFakeServer(flags);
  closers.push(() => fake.server.close());
  const client = new CoordinatorClient(fake.server.grpcAddress);
  closers.push(() => client.close());
  return { fake, client };
}

const request = (requestId: string) => ({ requestId, agents: matrix(1, 1, [0]) });

async function failureOf(call: Promise<unknown>): Promise<CoordinatorCallError> {
  const outcome: unknown = await call.then(
    () => null,
    (error: unknown) => error,
  );
  if (outcome instanceof CoordinatorCallError) return outcome;
  throw new Error('the call did not fail as calls do');
}

test('requests sent ahead are answered each with its own answer, and closing waits for them', async () => {
  const { client } = await start();
  const stream = client.openStream({ window: 3 });
  const sent = Array.from({ length: 30 }, (_, i) => stream.send(request(String(i))));
  const closed = stream.close();
  expect((await Promise.all(sent)).map(({ requestId }) => requestId)).toEqual(sent.map((_, i) => String(i)));
  await closed;
  expect(stream.isClosed).toBe(true);
  expect((await failureOf(stream.send(request('late')))).code).toBe('CANCELLED');
});

test('a request that the service refuses, or that cannot be coded, fails alone', async () => {
  const { fake, client } = await start();
  fake.core.refuses.set('bad', CoordinatorError.field('TENSOR_SHAPE', 'agents', 'shape [N,64]', '[3]'));
  fake.core.refuses.set('full', new CoordinatorError('QUEUE_FULL', 'the queue is full', { retryAfterMs: 40 }));
  const stream = client.openStream();
  const outcomes = [
    stream.send(request('good')),
    failureOf(stream.send(request('bad'))),
    failureOf(stream.send({ agentIds: 7 as unknown as string[] })),
    failureOf(stream.send(request('full'))),
    stream.send(request('good too')),
  ];
  expect(await Promise.all(outcomes)).toMatchObject([
    { requestId: 'good' },
    { code: 'INVALID_ARGUMENT', reason: 'TENSOR_SHAPE', requestId: 'bad', retryAfterMs: null },
    { code: 'INVALID_ARGUMENT', reason: '' },
    { code: 'RESOURCE_EXHAUSTED', reason: 'QUEUE_FULL', requestId: 'full' },
    { requestId: 'good too' },
  ]);
  expect(stream.isClosed).toBe(false);
  await stream.close();
});

test('no more than the window is under way, and `ready` waits for room', async () => {
  const { fake, client } = await start();
  fake.core.answersAtOnce = false;
  const stream = client.openStream({ window: 2 });
  await stream.ready();
  const sent = ['a', 'b', 'c'].map((id) => stream.send(request(id)));
  let isReady = false;
  const ready = stream.ready().then(() => (isReady = true));
  await fake.core.arrived(1);
  expect(isReady).toBe(false);
  fake.core.answersAtOnce = true;
  fake.core.calls[0]!.answer();
  await ready;
  await Promise.all(sent);
  expect(stream.unanswered).toBe(0);
  await stream.close();
});

test('a tick whose time passes fails here, and its late answer is not taken for that of the next', async () => {
  const { fake, client } = await start();
  const stream = client.openStream();
  await stream.send(request('connected'));
  fake.core.answersAtOnce = false;
  const late = await failureOf(stream.send(request('late'), { deadlineMs: 100 }));
  expect(late).toMatchObject({ code: 'DEADLINE_EXCEEDED', requestId: 'late' });
  await fake.core.arrived(2);
  const next = stream.send(request('next'));
  fake.core.answersAtOnce = true;
  fake.core.calls[1]!.answer();
  expect((await next).requestId).toBe('next');
  await stream.close();
});

test('a newer tick makes an older one fail as SUPERSEDED', async () => {
  const { fake, client } = await start();
  fake.core.answersAtOnce = false;
  const stream = client.openStream();
  const old = failureOf(stream.send({ ...request('old'), supersede: true }));
  await fake.core.arrived(1);
  const newer = stream.send({ ...request('new'), supersede: true });
  expect(await old).toMatchObject({ code: 'CANCELLED', reason: 'SUPERSEDED' });
  await fake.core.arrived(2);
  fake.core.calls[1]!.answer();
  expect((await newer).requestId).toBe('new');
  await stream.close();
});

test('aborting cancels what is under way, here and in the server', async () => {
  const { fake, client } = await start();
  fake.core.answersAtOnce = false;
  const controller = new AbortController();
  const stream = client.openStream({ signal: controller.signal });
  const sent = failureOf(stream.send(request('a')));
  await fake.core.arrived(1);
  controller.abort();
  expect((await sent).code).toBe('CANCELLED');
  expect(stream.isClosed).toBe(true);
  await expect.poll(() => fake.core.calls[0]!.context.signal.aborted, eventually).toBe(true);
  await stream.close();
});

test('a server that drains answers what it has, then ends the stream with a reason to go elsewhere', async () => {
  const { fake, client } = await start();
  fake.core.answersAtOnce = false;
  const stream = client.openStream({ reconnects: 0 });
  const accepted = stream.send(request('accepted'));
  await fake.core.arrived(1);
  const closed = fake.server.close();
  fake.core.calls[0]!.answer();
  expect((await accepted).requestId).toBe('accepted');
  await closed;
  await expect.poll(() => stream.isClosed, eventually).toBe(true);
  expect(await failureOf(stream.send(request('after')))).toMatchObject({ code: 'UNAVAILABLE', reason: 'DRAINING' });
});
