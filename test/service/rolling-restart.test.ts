/** Three replicas as processes: one is killed, the others are restarted one after the other, all under load. Nothing is lost. */
import { afterEach, expect, test } from 'vitest';
import { CoordinatorClient, matrix } from '../../client/client.js';
import { normalArray } from '../../client/bench/random-states.js';
import { ReplicaProcess } from './replica-process.js';

/** Starts of processes, some of them one after the other, on a machine that may be busy. */
const startsServers = { timeout: 180_000 };
const closers: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 30_000);

async function startAll(replicas: readonly ReplicaProcess[]): Promise<CoordinatorClient> {
  for (const replica of replicas) closers.push(() => replica.end('SIGKILL'));
  await Promise.all(replicas.map((replica) => replica.start()));
  const client = new CoordinatorClient(replicas.map(({ address }) => address));
  closers.push(() => client.close());
  return client;
}

/** Calls at equal distances until `stop`; what each of them came to. */
function load(
  send: (index: number) => Promise<unknown>,
  everyMs: number,
): { stop(): Promise<PromiseSettledResult<unknown>[]> } {
  const calls: Promise<unknown>[] = [];
  const timer = setInterval(() => {
    const call = send(calls.length);
    call.catch(() => undefined);
    calls.push(call);
  }, everyMs);
  return {
    stop() {
      clearInterval(timer);
      return Promise.allSettled(calls);
    },
  };
}

const failuresIn = (outcomes: readonly PromiseSettledResult<unknown>[]): string[] =>
  outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason)] : []));

/** Hard kill and restart of the first, then SIGTERM and restart of each other one. */
async function roll(replicas: readonly ReplicaProcess[]): Promise<void> {
  const [first, ...others] = replicas as [ReplicaProcess, ...ReplicaProcess[]];
  await first.end('SIGKILL');
  await first.start();
  for (const replica of others) {
    expect(await replica.end('SIGTERM')).toBe(0);
    await replica.start();
  }
}

const request = (requestId: string) => ({ requestId, agents: matrix(1, 1, [0]) });

test(
  'calls and ticks under load lose nothing to a hard kill and a rolling restart of three replicas',
  startsServers,
  async () => {
    const replicas = Array.from({ length: 3 }, () => ReplicaProcess.withFakeCore());
    const client = await startAll(replicas);
    const stream = client.openStream();
    const answered: string[] = [];
    const calls = load((i) => client.coordinate(request(String(i)), { deadlineMs: 30_000 }), 4);
    const ticks = load((i) => {
      const tick = stream.send(request(String(i)), { deadlineMs: 30_000 });
      return tick.then(({ requestId }) => answered.push(requestId));
    }, 10);
    await roll(replicas);
    const [called, ticked] = [await calls.stop(), await ticks.stop()];
    expect(failuresIn(called)).toEqual([]);
    expect(failuresIn(ticked)).toEqual([]);
    expect(called.length).toBeGreaterThan(100);
    // One continuous stream: every answer once, in order, over at least one other connection.
    expect(answered).toEqual(ticked.map((_, i) => String(i)));
    expect(stream.reconnects).toBeGreaterThan(0);
    await stream.close();
  },
);

test('a stream whose server is killed goes on where it was on another one, tasks included', startsServers, async () => {
  const replicas = [ReplicaProcess.real(['--max-batch', '1']), ReplicaProcess.real(['--max-batch', '1'])];
  const client = await startAll(replicas);
  const causes: string[] = [];
  const stream = client.openStream({ onReconnect: ({ cause }) => void causes.push(cause.code) });
  const count = 40;
  const ids = (kind: string): string[] => Array.from({ length: count }, (_, i) => `${kind}${i}`);
  const tick = () =>
    stream.send(
      {
        agents: matrix(count, 2, normalArray(2 * count, 1)),
        tasks: matrix(count, 2, normalArray(2 * count, 2)),
        agentIds: ids('a'),
        taskIds: ids('t'),
        assignment: { forms: ['HARD'], keepBonus: 100 },
      },
      { deadlineMs: 30_000 },
    );
  const first = (await tick()).assignment!;
  expect(first.warmStartUsed).toBe(false);
  expect((await tick()).assignment!.warmStartUsed).toBe(true);
  const [one, other] = replicas as [ReplicaProcess, ReplicaProcess];
  const sameTasks = async (): Promise<void> => {
    const { assignment } = await tick();
    expect(assignment!.warmStartUsed).toBe(true);
    expect(assignment!.churn).toBe(0);
    expect([...assignment!.taskOfAgent]).toEqual([...first.taskOfAgent]);
  };
  await one.end('SIGKILL');
  await sameTasks();
  if (stream.reconnects === 0) {
    // The stream was at the other one.
    await one.start();
    await other.end('SIGKILL');
    await sameTasks();
  }
  expect(causes.length).toBeGreaterThan(0);
  await stream.close();
});
