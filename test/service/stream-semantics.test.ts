/** What streams carry from tick to tick, through the whole server on ONNX Runtime. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type AssignmentAnswer, CoordinatorClient, type CoordinatorStream, matrix } from '../../client/client.js';
import type { AssignmentRequest } from '../../client/request.js';
import type { RunningServer } from '../../server/start.js';
import { startRealServer } from './real-server.js';

let server: RunningServer;
let client: CoordinatorClient;
const streams: CoordinatorStream[] = [];

beforeAll(async () => {
  server = await startRealServer();
  client = new CoordinatorClient(server.grpcAddress);
}, 60_000);

afterEach(async () => {
  await Promise.all(streams.splice(0).map((stream) => stream.close()));
});

afterAll(async () => {
  client.close();
  await server.close();
});

function open(): CoordinatorStream {
  const stream = client.openStream();
  streams.push(stream);
  return stream;
}

/** Agents on a line at the places of their names' numbers, tasks likewise: `a3` is nearest to `t3`. */
const place = (id: string): number => Number(id.slice(1));

async function tick(
  stream: CoordinatorStream,
  agentIds: readonly string[],
  taskIds: readonly string[],
  assignment: AssignmentRequest = {},
): Promise<AssignmentAnswer & { readonly byId: Record<string, string | null> }> {
  const answer = await stream.send({
    agents: matrix(agentIds.length, 1, agentIds.map(place)),
    tasks: matrix(taskIds.length, 1, taskIds.map(place)),
    agentIds,
    taskIds,
    operators: ['ASSIGNMENT'],
    assignment: { forms: ['HARD'], ...assignment },
  });
  const result = answer.assignment!;
  const byId = Object.fromEntries(agentIds.map((id, i) => [id, taskIds[result.taskOfAgent[i]!] ?? null]));
  return { ...result, byId };
}

it('counts churn against the last tick, by ids, while agents join, leave and change places', async () => {
  const stream = open();
  const first = await tick(stream, ['a1', 'a2', 'a3', 'a4'], ['t1', 't2', 't3', 't4']);
  expect(first.byId).toEqual({ a1: 't1', a2: 't2', a3: 't3', a4: 't4' });
  expect(first.churn).toBe(0);
  const moved = await tick(stream, ['a4', 'a1', 'a3', 'a2'], ['t2', 't1', 't4', 't3']);
  expect(moved.byId).toEqual(first.byId);
  expect(moved.churn).toBe(0);
  const joined = await tick(stream, ['a5', 'a4', 'a1', 'a3', 'a2'], ['t5', 't2', 't1', 't4', 't3']);
  expect(joined.churn).toBeCloseTo(1 / 5);
  const left = await tick(stream, ['a1', 'a5'], ['t1', 't5']);
  expect(left.byId).toEqual({ a1: 't1', a5: 't5' });
  expect(left.churn).toBe(0);
});

it('keeps tasks for the bonus without being sent what they were', async () => {
  const utilities = (stream: CoordinatorStream, values: number[], keepBonus: number) =>
    stream.send({
      utility: matrix(2, 2, values),
      operators: ['ASSIGNMENT'],
      assignment: { forms: ['HARD'], keepBonus },
    });
  for (const [keepBonus, expected] of [
    [0, [1, 0]],
    [0.5, [0, 1]],
  ] as const) {
    const stream = open();
    const first = await utilities(stream, [1, 0, 0, 1], keepBonus);
    expect([...first.assignment!.taskOfAgent]).toEqual([0, 1]);
    const second = await utilities(stream, [0.9, 1, 1, 0.9], keepBonus);
    expect([...second.assignment!.taskOfAgent]).toEqual(expected);
    expect(second.assignment!.churn).toBe(keepBonus === 0 ? 1 : 0);
  }
});

it('limits how many change their tasks from the second tick on', async () => {
  const stream = open();
  const agents = ['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 'a8'];
  const tasks = agents.map((id) => id.replace('a', 't'));
  const send = (values: (i: number, j: number) => number) =>
    stream.send({
      utility: matrix(
        8,
        8,
        Float32Array.from({ length: 64 }, (_, k) => values(k >> 3, k & 7)),
      ),
      agentIds: agents,
      taskIds: tasks,
      operators: ['ASSIGNMENT'],
      assignment: { forms: ['HARD'], maxChange: 0.25 },
    });
  const first = await send((i, j) => (i === j ? 1 : 0));
  expect([...first.assignment!.taskOfAgent]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(first.assignment!.changeLimited).toBe(false);
  const second = await send((i, j) => (i === 7 - j ? 1 : 0));
  expect(second.assignment!.churn).toBe(0.25);
  expect(second.assignment!.changeLimited).toBe(true);
});

it('is resumed by another stream with the last warm start, tasks included', async () => {
  const first = open();
  await tick(first, ['a1', 'a2', 'a3'], ['t1', 't2', 't3']);
  await first.close();
  const warmStart = first.warmStart!;
  expect(warmStart.length).toBeGreaterThan(0);
  // a3's task is gone, a2 takes part no more: of two, one has another task than before.
  const resumed = await tick(open(), ['a3', 'a1'], ['t1', 't2'], { warmStart });
  expect(resumed.byId).toEqual({ a1: 't1', a3: 't2' });
  expect(resumed.churn).toBe(0.5);
  expect(resumed.warmStartUsed).toBe(true);
  const unknown = await tick(open(), ['a3', 'a1'], ['t1', 't2']);
  expect(unknown.churn).toBe(0);
});

it('ignores a warm start that was tampered with, and says so', async () => {
  const first = open();
  await tick(first, ['a1', 'a2'], ['t1', 't2']);
  const warmStart = Uint8Array.from(first.warmStart!);
  warmStart[warmStart.length >> 1]! ^= 0x55;
  const answer = await tick(open(), ['a1', 'a2'], ['t1', 't2'], { warmStart });
  expect(answer.warmStartUsed).toBe(false);
  expect(answer.byId).toEqual({ a1: 't1', a2: 't2' });
});

it('answers equally what is asked again, warm or cold', async () => {
  const agents = Array.from({ length: 40 }, (_, i) => `a${(i * 37) % 101}`);
  const tasks = Array.from({ length: 40 }, (_, i) => `t${(i * 53) % 103}`);
  const stream = open();
  const cold = await tick(stream, agents, tasks);
  const warm = await tick(stream, agents, tasks);
  expect(warm.byId).toEqual(cold.byId);
  expect(warm.objective).toBeCloseTo(cold.objective, 4);
  expect(warm.churn).toBe(0);
});
