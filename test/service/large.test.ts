import * as grpc from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../server/start.js';
import { seededUniform } from '../seeded-normal.js';
import { floatsOf, rawClient, type RawClient, type RawMessage } from './raw-client.js';
import { startRealServer } from './real-server.js';

const count = 6000;
let server: RunningServer;
let client: RawClient;

beforeAll(async () => {
  server = await startRealServer();
  client = rawClient(server.grpcAddress);
}, 60_000);

afterAll(async () => {
  client.close();
  await server.close();
});

const random = seededUniform(20261121);
const points = (rows: number): Float32Array => Float32Array.from({ length: 2 * rows }, random);
const tensor = (data: Float32Array): RawMessage => ({
  dtype: 'FLOAT32',
  shape: [data.length / 2, 2],
  data: Buffer.from(data.buffer),
});
const agents = points(count);
const tasks = points(count);

const part = (answer: RawMessage, name: string): RawMessage => answer[name] as RawMessage;

async function rejection(request: RawMessage, options?: grpc.CallOptions): Promise<grpc.ServiceError> {
  try {
    await client.coordinate(request, options);
  } catch (error) {
    return error as grpc.ServiceError;
  }
  throw new Error('the call was answered although it is bad');
}

describe('a swarm beyond the largest bucket', () => {
  it('gets every agent a task of its own, with a certificate, its best tasks and a consensus', async () => {
    const request = {
      agents: tensor(agents),
      tasks: tensor(tasks),
      assignment: { forms: ['HARD', 'TOP_K'], topK: 4 },
    };
    // So long that the gap is what the solver stops at on its own, however slow the machine.
    const answer = await client.coordinate(request, { deadline: Date.now() + 110_000 });
    const assignment = part(answer, 'assignment');
    const taskOfAgent = assignment['taskOfAgent'] as number[];
    expect(new Set(taskOfAgent).size).toBe(count);
    expect(Math.min(...taskOfAgent)).toBe(0);
    let objective = 0;
    taskOfAgent.forEach((task, agent) => {
      objective -= Math.hypot(agents[2 * agent]! - tasks[2 * task]!, agents[2 * agent + 1]! - tasks[2 * task + 1]!);
    });
    expect(assignment['objective']).toBeCloseTo(objective, 6);
    expect(assignment['upperBound']).toBeGreaterThanOrEqual(objective);
    expect(assignment['gap']).toBeLessThan(0.02);
    expect(assignment['solver']).toMatch(/^sparse-/);
    const mass = floatsOf(assignment['topKMass'])!.values;
    expect(mass.length).toBe(4 * count);
    expect(mass.every((value, at) => value >= 0 && (at % 4 === 0 || value <= mass[at - 1]!))).toBe(true);
    expect(assignment['rowError']).toBeGreaterThanOrEqual(0);
    const centroid = floatsOf(part(answer, 'consensus')['centroid'])!.values;
    for (const coordinate of centroid) expect(Math.abs(coordinate - 0.5)).toBeLessThan(0.05);
    expect(part(answer, 'execution')).toMatchObject({ engine: 'onnx', bucket: `sparse n${count} m${count}` });
  });

  it('gets no whole plan, and is told the limit', async () => {
    const error = await rejection({
      agents: tensor(agents),
      tasks: tensor(tasks.subarray(0, 20).slice()),
      assignment: { forms: ['PLAN'] },
    });
    expect(error.code).toBe(grpc.status.OUT_OF_RANGE);
    expect(error.details).toContain('assignment.forms: expected at most 5120 agents and tasks for PLAN');
  });

  it('is told when its deadline passes, and the next one is answered', async () => {
    const request = { agents: tensor(agents), tasks: tensor(tasks) };
    const error = await rejection(request, { deadline: Date.now() + 15 });
    expect(error.code).toBe(grpc.status.DEADLINE_EXCEEDED);
    const answer = await client.coordinate({ ...request, operators: ['CONSENSUS'] });
    expect(floatsOf(part(answer, 'consensus')['weights'])!.values.length).toBe(count);
  });
});
