/** Answers to unusual but valid numbers, as a caller meets them: far from zero, very large, very small, masked. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../server/start.js';
import { seededNormal, seededUniform } from '../seeded-normal.js';
import { floatTensor, floatsOf, maskTensor, rawClient, type RawClient, type RawMessage } from './raw-client.js';
import { startRealServer } from './real-server.js';

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

/** The numbers of an answer's tensor, which must be there. */
const numbersOf = (tensor: unknown): number[] => {
  const floats = floatsOf(tensor);
  if (floats === null) throw new Error('the answer lacks a tensor');
  return floats.values;
};

const part = (answer: RawMessage, name: string): RawMessage => answer[name] as RawMessage;

const random = (seed: number, rows: number, columns: number, scale = 1, offset = 0): number[][] => {
  const next = seededNormal(seed);
  return Array.from({ length: rows }, () =>
    Array.from({ length: columns }, () => Math.fround(offset + scale * next())),
  );
};

const worst = (actual: readonly number[], expected: readonly number[]): number => {
  expect(actual.length).toBe(expected.length);
  let error = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= error)) error = difference;
  }
  return error;
};

async function soft(request: RawMessage, assignment: RawMessage): Promise<RawMessage> {
  const answer = await client.coordinate({
    operators: ['ASSIGNMENT'],
    ...request,
    assignment: { forms: ['PLAN'], ...assignment },
  });
  return part(answer, 'assignment');
}

const plan = async (request: RawMessage, assignment: RawMessage): Promise<number[]> =>
  numbersOf((await soft(request, assignment))['plan']);

describe('the soft plan', () => {
  it('does not depend on the unit of utility, temperature and idle utility', async () => {
    const utility = random(1, 5, 4);
    const expected = await plan({ utility: floatTensor(utility) }, { temperature: 0.5, idleUtility: -1.5 });
    for (const unit of [2 ** -106, 2 ** 40, 2 ** 102]) {
      const scaled = utility.map((row) => row.map((value) => value * unit));
      const options = { temperature: 0.5 * unit, idleUtility: -1.5 * unit };
      expect(worst(await plan({ utility: floatTensor(scaled) }, options), expected), String(unit)).toBeLessThan(1e-6);
    }
  });

  it('is a plan where utility and bias add up to more than a float32 holds', async () => {
    const utility = floatTensor([
      [3e38, 3e38],
      [3e38, 3e38],
    ]);
    expect(await plan({ utility }, { temperature: 1, bias: utility })).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it('reads a huge negative bias on distances as any other: in units of their spread', async () => {
    const request = { agents: floatTensor(random(2, 4, 2)), tasks: floatTensor(random(3, 4, 2)) };
    const bias = (size: number) => floatTensor([0, 1, 2, 3].map((i) => [0, 1, 2, 3].map((j) => (i === j ? -size : 0))));
    // From 1e9 on distances of a few units are nothing beside the bias.
    const expected = await plan(request, { bias: bias(1e9) });
    for (const size of [1e19, 1e20, 1e30, 3e38]) {
      expect(worst(await plan(request, { bias: bias(size) }), expected), String(size)).toBeLessThan(1e-6);
    }
  });

  it('does not see what masked agents and tasks hold', async () => {
    const agents = random(4, 4, 2);
    const tasks = random(5, 4, 2);
    const bias = random(6, 4, 4);
    const masks = { agentMask: maskTensor([1, 1, 1, 0]), taskMask: maskTensor([1, 0, 1, 1]) };
    const request = { agents: floatTensor(agents), tasks: floatTensor(tasks), ...masks };
    const expected = await plan(request, { bias: floatTensor(bias) });
    const garbage = bias.map((row, i) => row.map((value, j) => (i === 3 ? 1e30 : j === 1 ? -3e38 : value)));
    expect(worst(await plan(request, { bias: floatTensor(garbage) }), expected)).toBeLessThan(1e-6);
  });

  it('measures the spread of a large problem over active agents, wherever they stand in the list', async () => {
    const uniform = seededUniform(7);
    const place = () => [uniform() * 1000, uniform() * 1000];
    const few = Array.from({ length: 6 }, place);
    const tasks = Array.from({ length: 1000 }, place);
    const agents = Array.from({ length: 1100 }, () => [0, 0]);
    // Every second agent, so that each is skipped where every second agent of the list is sampled.
    few.forEach((state, i) => (agents[2 * i + 1] = state));
    const active = agents.map((_, i) => (i % 2 === 1 && i < 12 ? 1 : 0));
    const forms = { forms: ['TOP_K'], topK: 1 };
    const alone = await soft({ agents: floatTensor(few), tasks: floatTensor(tasks) }, forms);
    const among = await soft(
      { agents: floatTensor(agents), tasks: floatTensor(tasks), agentMask: maskTensor(active) },
      forms,
    );
    const expected = numbersOf(alone['topKMass']);
    const masses = numbersOf(among['topKMass']).filter((_, i) => active[i] === 1);
    for (let i = 0; i < 6; i++) expect(masses[i]! / expected[i]!).toBeCloseTo(1, 4);
  });

  it('converges with capacities of a million, whose sums are rounded by more than the tolerance', async () => {
    const utility = floatTensor(random(8, 6, 6));
    for (const capacity of [1_000_000, 16_777_217, 4_294_967_295]) {
      const options = { temperature: 0.01, iterations: 200, capacities: Array<number>(6).fill(capacity) };
      const answer = await soft({ utility }, options);
      expect(answer, String(capacity)).toMatchObject({ converged: true, columnError: 0 });
    }
  });
});

describe('consensus', () => {
  const points = random(9, 5, 3, 1, 5);
  const consensus = async (responses: number[][], options: RawMessage): Promise<RawMessage> =>
    part(await client.coordinate({ responses: floatTensor(responses), consensus: options }), 'consensus');
  const centroid = (answer: RawMessage): number[] => numbersOf(answer['centroid']);

  it('is the mean where sigma is large beside the states, however large', async () => {
    const mean = [0, 1, 2].map((c) => points.reduce((sum, row) => sum + row[c]! / 5, 0));
    for (const sigma of [1e6, 1e18, 1e19, 1e20, 3e38]) {
      expect(worst(centroid(await consensus(points, { sigma })), mean), String(sigma)).toBeLessThan(1e-5);
    }
  });

  it('stays where it starts with any tiny sigma: none of them means an adaptive one', async () => {
    for (const sigma of [1e-6, 1e-20, 1e-22, 1e-30, 1e-44]) {
      const answer = await consensus(points, { sigma });
      expect(answer['effectiveCount'], String(sigma)).toEqual([1]);
    }
  });

  it('starts at the mean itself, also a million units from zero and after one iteration', async () => {
    // Sixteenths are exact at a million; their mean is not.
    const states = random(12, 22, 2).map((row) => row.map((value) => Math.round(value * 16) / 16));
    const far = states.map((row) => row.map((value) => value + 1e6));
    const options = { start: 'MEAN', iterations: 1 };
    const near = await consensus(states, options);
    const there = await consensus(far, options);
    const weights = (answer: RawMessage) => numbersOf(answer['weights']);
    const kernel = (answer: RawMessage) => numbersOf(answer['kernel']);
    expect(worst(weights(there), weights(near))).toBeLessThan(1e-6);
    expect(worst(kernel(there), kernel(near))).toBeLessThan(1e-5);
  });
});

describe('projection', () => {
  const resources = async (agents: number[][], projection: RawMessage = {}): Promise<number[]> => {
    const request = { policy: 'reference', operators: ['PROJECTION'], agents: floatTensor(agents), projection };
    return numbersOf((await client.coordinate(request))['resources']);
  };

  it('gives equal shares to states that are the same number throughout, however large', async () => {
    const agents = [0.1, 2729.08203125, -123_456.7, 1e10 / 3].map((value) => Array<number>(64).fill(value));
    expect(worst(await resources(agents), Array<number>(32).fill(1 / 8))).toBeLessThan(1e-6);
  });

  it('does not depend on how far a state lies from zero', async () => {
    const states = random(10, 3, 64).map((row) => row.map((value) => Math.round(value * 64) / 64));
    const far = states.map((row) => row.map((value) => value + 10_000));
    expect(worst(await resources(far), await resources(states))).toBeLessThan(1e-5);
  });

  it('gives shares of limits whose sum over the agents is beyond float32, and keeps their budget', async () => {
    const states = random(11, 10, 64);
    const shares = await resources(states);
    const large = await resources(states, { resourceMax: Array<number>(8).fill(3e38) });
    expect(
      worst(
        large.map((value) => value / 3e38),
        shares,
      ),
    ).toBeLessThan(1e-6);
    const options = { resourceMax: Array<number>(8).fill(3e38), budget: Array<number>(8).fill(1e38) };
    const capped = await resources(states, options);
    for (let k = 0; k < 8; k++) {
      let total = 0;
      for (let i = 0; i < 10; i++) total += capped[i * 8 + k]! / 1e38;
      expect(total).toBeCloseTo(1, 5);
    }
  });
});
