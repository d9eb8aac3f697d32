/** Our client over several replicas: real servers around cores that the tests answer for. */
import { afterEach, describe, expect, it } from 'vitest';
import { type ClientOptions, CoordinatorCallError, CoordinatorClient, matrix } from '../../client/client.js';
import { CoordinatorError } from '../../src/errors.js';
import { VirtualClock } from '../virtual-clock.js';
import { type FakeServer, type FakeServerOptions, startFakeServer } from './fake-server.js';

const eventually = { timeout: 20_000 };
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function start(
  count: number,
  options: ClientOptions = {},
): Promise<{ replicas: FakeServer[]; client: CoordinatorClient }> {
  const replicas = await Promise.all(Array.from({ length: count }, () => startReplica()));
  return { replicas, client: clientOf(replicas, options) };
}

async function startReplica(flags: readonly string[] = [], options: FakeServerOptions = {}): Promise<FakeServer> {
  const replica = await startFakeServer(flags, options);
  closers.push(() => {
    for (const call of replica.core.calls) call.answer();
    return replica.server.close();
  });
  return replica;
}

function clientOf(replicas: readonly FakeServer[], options: ClientOptions = {}): CoordinatorClient {
  const client = new CoordinatorClient(
    replicas.map(({ server }) => server.grpcAddress),
    options,
  );
  closers.push(() => client.close());
  return client;
}

const request = { agents: matrix(1, 1, [1]) };

function callTimes(count: number, client: CoordinatorClient): Promise<unknown> {
  return Promise.all(Array.from({ length: count }, () => client.coordinate(request)));
}

/** Calls that each replica was asked for so far, also those that it refused. */
const arrivals = (replicas: readonly FakeServer[]): number[] => replicas.map(({ core }) => core.inquiries.length);

/** Until every replica is connected and healthy: calls go to those that are. */
async function spreadOver(replicas: readonly FakeServer[], client: CoordinatorClient): Promise<void> {
  await expect
    .poll(async () => {
      const before = arrivals(replicas);
      await callTimes(replicas.length, client);
      return arrivals(replicas).every((count, i) => count === before[i]! + 1);
    }, eventually)
    .toBe(true);
}

async function failureOf(call: Promise<unknown>): Promise<CoordinatorCallError> {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof CoordinatorCallError) return error;
  throw new Error('the call did not fail as calls do');
}

describe('calls over several replicas', () => {
  it('go to each in turn', async () => {
    const { replicas, client } = await start(3);
    await spreadOver(replicas, client);
    const before = arrivals(replicas);
    await callTimes(30, client);
    expect(arrivals(replicas).map((count, i) => count - before[i]!)).toEqual([10, 10, 10]);
  });

  it('go to none that does not serve, and to it once it does', async () => {
    const warming = await startReplica([], { warm: false });
    const replicas = [warming, await startReplica(), await startReplica()];
    const client = clientOf(replicas, { retries: 0 });
    await callTimes(30, client);
    expect(arrivals(replicas)[0]).toBe(0);
    // A refusal as WARMING would have failed the call, too: there are no retries.
    expect(warming.logLines.filter(({ code }) => code === 'WARMING')).toEqual([]);
    warming.core.finishWarmUp();
    await spreadOver(replicas, client);
  });

  it('leave a replica that drains while it still takes calls, and lose none', async () => {
    const clock = new VirtualClock();
    const leaving = await startReplica(['--drain-delay-ms', '5000'], { clock });
    const replicas = [leaving, await startReplica(), await startReplica()];
    const client = clientOf(replicas, { retries: 0 });
    await spreadOver(replicas, client);
    const closed = leaving.server.close();
    await expect
      .poll(async () => {
        const [before] = arrivals(replicas);
        await callTimes(9, client);
        return arrivals(replicas)[0] === before;
      }, eventually)
      .toBe(true);
    expect(leaving.server.phase).toBe('leaving');
    clock.advance(5000);
    expect(await closed).toMatchObject({ lostCalls: 0 });
    await callTimes(9, client);
  });

  it('are tried again on another replica than the one that failed them', async () => {
    const { replicas, client } = await start(3, { retries: 1 });
    await spreadOver(replicas, client);
    replicas[0]!.core.refused = new CoordinatorError('ENGINE_FAILED', 'restarting');
    await callTimes(60, client);
    expect(arrivals(replicas)[0]).toBeGreaterThan(10);
  });

  it('fail at once, with what the last replica said, where none can be reached', async () => {
    const client = new CoordinatorClient(['127.0.0.1:1', '127.0.0.1:2'], { retries: 0 });
    closers.push(() => client.close());
    const error = await failureOf(client.coordinate(request));
    expect(error.code).toBe('UNAVAILABLE');
    expect(error.message).toContain('ECONNREFUSED');
  });

  it('reach a name and a single server as before', async () => {
    const [replica] = (await start(1)).replicas;
    const port = replica!.server.grpcAddress.split(':')[1]!;
    for (const address of [`127.0.0.1:${port}`, `dns:///127.0.0.1:${port}`, `dns:///localhost:${port}`]) {
      const client = new CoordinatorClient(address);
      closers.push(() => client.close());
      await client.coordinate(request);
    }
    expect(arrivals([replica!])).toEqual([3]);
  });
});

describe('retries', () => {
  it('stop when the budget is used up, and the failure is told', async () => {
    const { replicas, client } = await start(2, { retryBudget: { maxTokens: 4, tokenRatio: 0.001 } });
    for (const { core } of replicas) core.refused = new CoordinatorError('ENGINE_FAILED', 'restarting');
    for (let i = 0; i < 10; i += 1) expect((await failureOf(client.coordinate(request))).code).toBe('UNAVAILABLE');
    const [first, second] = arrivals(replicas);
    // Four tokens let one failure be followed by a retry; its own failure leaves two, which is half.
    expect(first! + second!).toBe(11);
  });

  it('wait for as long as the server asks', async () => {
    const { replicas, client } = await start(2);
    await spreadOver(replicas, client);
    const times: number[] = [];
    for (const { core } of replicas) {
      core.answersAtOnce = false;
      const before = core.calls.length;
      void core.arrived(before + 1).then(() => {
        times.push(performance.now());
        const call = core.calls[before]!;
        if (times.length > 1) call.answer();
        else call.fail(new CoordinatorError('QUEUE_FULL', 'full', { retryAfterMs: 300 }));
      });
    }
    await client.coordinate(request);
    expect(times).toHaveLength(2);
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(299);
  });

  it('go to another replica where one says that it would be late', async () => {
    const { replicas, client } = await start(2, { retries: 1 });
    await spreadOver(replicas, client);
    replicas[0]!.core.refused = new CoordinatorError('PREDICTED_LATE', 'busy', { retryAfterMs: 20 });
    await callTimes(20, client);
    expect(arrivals(replicas)[0]).toBeGreaterThan(5);
    for (const { core } of replicas) core.refused = replicas[0]!.core.refused;
    expect(await failureOf(client.coordinate(request))).toMatchObject({ reason: 'PREDICTED_LATE' });
  });

  it('never outlast the deadline of the caller', async () => {
    const { replicas, client } = await start(2, { retries: 4 });
    for (const { core } of replicas) core.answersAtOnce = false;
    const error = await failureOf(client.coordinate(request, { deadlineMs: 200 }));
    expect(error.code).toBe('DEADLINE_EXCEEDED');
    const counts = (): number => replicas.reduce((sum, { core }) => sum + core.calls.length, 0);
    expect(counts()).toBeLessThanOrEqual(1);
  });
});

describe('a replica most of whose calls fail', () => {
  const callsOfALook = 90;
  const slowly = { timeout: 60_000 };

  /** Which of the replicas get none of many calls; whether these are answered does not matter. */
  async function leftOut(replicas: readonly FakeServer[], client: CoordinatorClient): Promise<number[]> {
    const before = arrivals(replicas);
    await Promise.allSettled(Array.from({ length: callsOfALook }, () => client.coordinate(request)));
    return arrivals(replicas).flatMap((count, i) => (count === before[i] ? [i] : []));
  }

  it(
    'is left out though it says that it serves, a third of them at a time, and is taken back',
    { timeout: 150_000 },
    async () => {
      const { replicas, client } = await start(3, {
        retries: 0,
        deadlineMs: 30_000,
        // Long enough for 20 calls of each on a machine that does much else.
        ejectOutliers: { intervalMs: 2000, ejectionMs: 1000 },
      });
      await spreadOver(replicas, client);
      for (const { core } of replicas.slice(1)) core.refused = new CoordinatorError('ENGINE_FAILED', 'broken');
      const seen: number[][] = [];
      const look = async (): Promise<number> => seen[seen.push(await leftOut(replicas, client)) - 1]!.length;
      await expect.poll(look, slowly).toBe(1);
      expect(seen.every((indices) => indices.length <= 1 && !indices.includes(0))).toBe(true);
      // Those who do not ask for it leave none out.
      const other = clientOf(replicas, { retries: 0, deadlineMs: 30_000 });
      await expect.poll(() => leftOut(replicas, other), slowly).toEqual([]);

      for (const { core } of replicas) core.refused = null;
      await expect.poll(() => leftOut(replicas, client), slowly).toEqual([]);
    },
  );

  it('is refused a time that is none', () => {
    const ejectOutliers = { intervalMs: 0 };
    expect(() => new CoordinatorClient(['127.0.0.1:1', '127.0.0.1:2'], { ejectOutliers })).toThrow(
      'ejectOutliers.intervalMs: expected a positive, finite number, received 0',
    );
  });
});

describe('hedging', () => {
  it('sends a slow call to another replica, answers once, and cancels the slow attempt', async () => {
    const { replicas, client } = await start(2, { hedging: { delayMs: 30 } });
    await spreadOver(replicas, client);
    const [slow, fast] = replicas as [FakeServer, FakeServer];
    slow.core.answersAtOnce = false;
    const before = arrivals(replicas);
    let answers = 0;
    for (let i = 0; i < 10; i += 1) {
      await client.coordinate(request);
      answers += 1;
    }
    expect(answers).toBe(10);
    const [atSlow, atFast] = arrivals(replicas).map((count, i) => count - before[i]!) as [number, number];
    expect(atSlow).toBeGreaterThan(0);
    // Each call was answered by the other replica, which had it once.
    expect(atFast).toBe(10);
    expect(fast.core.calls.at(-1)).toBeDefined();
    const waiting = slow.core.calls.slice(-atSlow);
    await expect.poll(() => waiting.every(({ context }) => context.signal.aborted), eventually).toBe(true);
  });

  it('sends no more extra calls than its budget allows', async () => {
    const { replicas, client } = await start(2, { hedging: { delayMs: 50, burst: 3, ratio: 0 } });
    for (const { core } of replicas) core.answersAtOnce = false;
    const total = (): number => arrivals(replicas).reduce((sum, count) => sum + count, 0);
    const stops = Array.from({ length: 12 }, () => new AbortController());
    const calls = stops.map(({ signal }) => failureOf(client.coordinate(request, { deadlineMs: 60_000, signal })));
    await expect.poll(total, eventually).toBe(12 + 3);
    // Time enough for each of the twelve to be sent once more.
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(total()).toBe(12 + 3);
    for (const stop of stops) stop.abort();
    for (const error of await Promise.all(calls)) expect(error.code).toBe('CANCELLED');
  });

  it('is refused where there is only one server to send to, and out of its range', () => {
    expect(() => new CoordinatorClient('127.0.0.1:1', { hedging: { delayMs: 1 } })).toThrow(
      'hedging: expected several replicas',
    );
    expect(
      () => new CoordinatorClient(['127.0.0.1:1', '127.0.0.1:2'], { hedging: { delayMs: 1, maxAttempts: 9 } }),
    ).toThrow('hedging.maxAttempts: expected a whole number from 2 to 5, received 9');
  });
});
