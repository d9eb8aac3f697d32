/** Unary calls that bring back what the answer before left. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../server/start.js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { floatTensor, floatsOf, rawClient, type RawClient, type RawMessage } from './raw-client.js';
import { startRealServer } from './real-server.js';

const seed = 20261125;
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

const rows = (next: () => number, count: number, width: number) =>
  Array.from({ length: count }, () => Array.from({ length: width }, next));

async function assigned(request: RawMessage, warmStart?: Buffer): Promise<RawMessage> {
  const options = request['assignment'] as RawMessage;
  const assignment = warmStart === undefined ? options : { ...options, warmStart };
  return (await client.coordinate({ ...request, assignment }))['assignment'] as RawMessage;
}

const bytesOf = (answer: RawMessage) => answer['warmStart'] as Buffer;

/** Ticks until one ran fewer iterations than a cold call: the program for them is loaded beside the calls. */
async function untilFewer(request: RawMessage, cold: RawMessage): Promise<RawMessage> {
  const endMs = Date.now() + 60_000;
  let answer = cold;
  do {
    answer = await assigned(request, bytesOf(answer));
    expect(answer['warmStartUsed']).toBe(true);
    expect(answer['converged']).toBe(true);
  } while ((answer['iterations'] as number) >= (cold['iterations'] as number) && Date.now() < endMs);
  return answer;
}

describe('warm_start', () => {
  it('brings the same plan in fewer iterations, and tells that it was used', async () => {
    const next = seededNormal(seed);
    const request = {
      policy: 'reference',
      agents: floatTensor(rows(next, 20, 64)),
      tasks: floatTensor(rows(next, 20, 64)),
      assignment: { forms: ['PLAN'], iterations: 60 },
    };
    const cold = await assigned(request);
    expect(cold['iterations']).toBe(60);
    expect(cold['warmStartUsed']).toBe(false);
    const warm = await untilFewer(request, cold);
    expect(warm['iterations'], `seed ${seed}`).toBeLessThan(60);
    const [plan, expected] = [floatsOf(warm['plan'])!.values, floatsOf(cold['plan'])!.values];
    plan.forEach((mass, index) => expect(Math.abs(mass - expected[index]!)).toBeLessThan(1e-3));
  });

  it('keeps a hard assignment what it is', async () => {
    const uniform = seededUniform(seed);
    const place = () => 100 * uniform();
    const request = {
      agents: floatTensor(rows(place, 24, 2)),
      tasks: floatTensor(rows(place, 24, 2)),
      assignment: { forms: ['HARD'] },
    };
    const cold = await assigned(request);
    const warm = await assigned(request, bytesOf(cold));
    expect(bytesOf(warm).length).toBeGreaterThan(0);
    expect(warm['taskOfAgent']).toEqual(cold['taskOfAgent']);
    expect(warm['objective']).toBeCloseTo(cold['objective'] as number, 6);
    expect(warm['churn']).toBe(0);
  });

  it('that was changed, cut or is of another policy gives exactly the answer of a cold call', async () => {
    const next = seededNormal(seed + 1);
    const request = {
      policy: 'reference',
      agents: floatTensor(rows(next, 12, 64)),
      tasks: floatTensor(rows(next, 12, 64)),
      assignment: { forms: ['PLAN', 'HARD'] },
    };
    const cold = await assigned(request);
    const bytes = bytesOf(cold);
    const changed = Buffer.from(bytes);
    changed[changed.length - 1]! ^= 1;
    const foreign = bytesOf(await assigned({ ...request, policy: 'distance' }));
    for (const bad of [changed, bytes.subarray(0, 40), foreign, Buffer.from('warm')]) {
      expect(await assigned(request, bad)).toEqual(cold);
    }
  });
});
