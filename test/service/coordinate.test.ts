import * as grpc from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningServer } from '../../server/start.js';
import { worstError } from '../golden/cases.js';
import { normalMatrix, seededNormal, seededUniform } from '../seeded-normal.js';
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

const rowsOf = (random: () => number, rows: number, columns: number): number[][] =>
  Array.from({ length: rows }, () => Array.from({ length: columns }, () => Math.fround(random())));

const part = (answer: RawMessage, name: string): RawMessage => answer[name] as RawMessage;

/** Best total utility over all one-to-one assignments of greatest cardinality (rows may stay idle only if they must). */
function bestTotal(utility: number[][], used = new Set<number>(), row = 0): { count: number; total: number } {
  if (row === utility.length) return { count: 0, total: 0 };
  let best = bestTotal(utility, used, row + 1);
  utility[row]!.forEach((value, task) => {
    if (used.has(task) || value === -Infinity) return;
    used.add(task);
    const rest = bestTotal(utility, used, row + 1);
    used.delete(task);
    const count = rest.count + 1;
    const total = rest.total + value;
    if (count > best.count || (count === best.count && total > best.total)) best = { count, total };
  });
  return best;
}

async function rejection(request: RawMessage): Promise<grpc.ServiceError> {
  try {
    await client.coordinate(request);
  } catch (error) {
    return error as grpc.ServiceError;
  }
  throw new Error('the call was answered although it is bad');
}

describe('hard assignment', () => {
  it('is the exact optimum of random utilities with forbidden pairs, and says so', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer(),
        async (n, m, seed) => {
          const random = seededUniform(seed);
          const utility = rowsOf(() => (random() < 0.2 ? -Infinity : random() * 20 - 10), n, m);
          const answer = await client.coordinate({ utility: floatTensor(utility) });
          const assignment = part(answer, 'assignment');
          const best = bestTotal(utility);
          const tasks = assignment['taskOfAgent'] as number[];
          expect(tasks.filter((task) => task >= 0).length).toBe(best.count);
          expect(assignment['objective']).toBeCloseTo(best.total, 5);
          expect(assignment).toMatchObject({ solver: 'exact', gap: 0 });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('serves the default policy by distance and names who is idle and what is unserved', async () => {
    const answer = await client.coordinate({
      requestId: 'tick 7',
      agents: floatTensor([
        [0, 0],
        [10, 0],
        [0, 10],
      ]),
      tasks: floatTensor([
        [9, 1],
        [1, 9],
      ]),
      agentIds: ['a', 'b', 'c'],
      taskIds: ['x', 'y'],
    });
    expect(answer['requestId']).toBe('tick 7');
    expect(part(answer, 'assignment')).toMatchObject({
      taskOfAgent: [-1, 0, 1],
      idleAgentIds: ['a'],
      unservedTaskIds: [],
      unservedTasks: [],
    });
    expect(part(answer, 'assignment')['objective']).toBeCloseTo(-2 * Math.SQRT2, 5);
    expect(part(answer, 'execution')).toMatchObject({ engine: 'onnx', batchSize: 1, bucket: 'b1 n16 m0' });
  });

  it('fills capacities, leaves agents idle where that is worth more, and reports free room', async () => {
    const utility = [
      [5, 1],
      [4, 0.5],
      [3, -2],
      [-3, -4],
    ];
    const full = part(
      await client.coordinate({ utility: floatTensor(utility), assignment: { capacities: [2, 2] } }),
      'assignment',
    );
    expect(full['taskOfAgent']).toEqual([0, 1, 0, 1]);
    const idle = part(
      await client.coordinate({
        utility: floatTensor(utility),
        assignment: { capacities: [2, 2], idleUtility: 0 },
        taskIds: ['x', 'y'],
      }),
      'assignment',
    );
    expect(idle).toMatchObject({
      taskOfAgent: [0, 0, -1, -1],
      unservedTasks: [1],
      unservedTaskIds: ['y'],
      objective: 9,
    });
  });

  it('keeps the previous task while switching is worth less than the bonus, and reports churn', async () => {
    const utility = floatTensor([
      [1, 1.4],
      [1.4, 1],
    ]);
    const previous = [0, 1];
    const kept = part(await client.coordinate({ utility, assignment: { previous, keepBonus: 0.5 } }), 'assignment');
    expect(kept).toMatchObject({ taskOfAgent: [0, 1], churn: 0, objective: 3, totalUtility: 2 });
    const switched = part(await client.coordinate({ utility, assignment: { previous, keepBonus: 0.3 } }), 'assignment');
    expect(switched).toMatchObject({ taskOfAgent: [1, 0], churn: 1 });
  });

  it('obeys locks', async () => {
    const answer = await client.coordinate({
      utility: floatTensor([
        [9, 0],
        [8, 0],
        [7, 0],
      ]),
      assignment: { locks: [-1, -2, 0] },
    });
    expect(part(answer, 'assignment')['taskOfAgent']).toEqual([-1, 1, 0]);
  });

  it('bounds a greedy answer by a certificate that is never below the exact optimum', async () => {
    for (let seed = 0; seed < 12; seed++) {
      const random = seededNormal(seed);
      const request =
        seed % 2 === 0
          ? { utility: floatTensor(rowsOf(random, 20, 20)) }
          : { agents: floatTensor(rowsOf(random, 30, 2)), tasks: floatTensor(rowsOf(random, 20, 2)) };
      const exact = part(await client.coordinate({ ...request, assignment: { solver: 'EXACT' } }), 'assignment');
      const greedy = part(await client.coordinate({ ...request, assignment: { solver: 'GREEDY' } }), 'assignment');
      expect(greedy['solver']).toBe('greedy');
      expect(greedy['upperBound'] as number, `seed ${seed}`).toBeGreaterThanOrEqual(exact['objective'] as number);
      expect(greedy['objective'] as number).toBeLessThanOrEqual(exact['objective'] as number);
    }
  });

  it('falls back to the auction where the exact solver does not fit the time it is given', async () => {
    const random = seededNormal(5);
    const answer = await client.coordinate({
      utility: floatTensor(rowsOf(random, 400, 400)),
      assignment: { solveBudgetUs: 100 },
    });
    const assignment = part(answer, 'assignment');
    expect(assignment['solver']).toBe('auction');
    expect(assignment['gap'] as number).toBeGreaterThanOrEqual(0);
    expect(new Set(assignment['taskOfAgent'] as number[]).size).toBe(400);
  });

  it('changes no more agents than max_change allows, says so, and still bounds what it could have been', async () => {
    const random = seededNormal(6);
    const utility = floatTensor(rowsOf(random, 40, 40));
    const previous = Array.from({ length: 40 }, (_, agent) => agent);
    const free = part(await client.coordinate({ utility, assignment: { previous } }), 'assignment');
    const limited = part(await client.coordinate({ utility, assignment: { previous, maxChange: 0.25 } }), 'assignment');
    expect(limited['changeLimited']).toBe(true);
    expect(limited['churn'] as number).toBeLessThanOrEqual(0.25);
    expect(limited['churn'] as number).toBeGreaterThan(0);
    expect(limited['upperBound'] as number).toBeGreaterThanOrEqual(limited['objective'] as number);
    expect(limited['upperBound'] as number).toBeLessThan(free['objective'] as number);
    expect(free['changeLimited']).toBe(false);
  });
});

describe('soft assignment', () => {
  it('gives a plan, its top entries and its errors, and says which form ran', async () => {
    const random = seededNormal(11);
    const utility = floatTensor(rowsOf(random, 7, 5));
    const assignment = part(
      await client.coordinate({
        utility,
        assignment: { forms: ['PLAN', 'TOP_K'], topK: 9, temperature: 1, iterations: 60 },
      }),
      'assignment',
    );
    const plan = floatsOf(assignment['plan'])!;
    expect(plan.shape).toEqual([7, 5]);
    const mass = floatsOf(assignment['topKMass'])!;
    expect(mass.shape).toEqual([7, 5]);
    for (let i = 0; i < 7; i++) {
      const row = plan.values.slice(i * 5, i * 5 + 5);
      expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 3);
      expect(mass.values.slice(i * 5, i * 5 + 5)).toEqual([...row].sort((a, b) => b - a));
    }
    expect(assignment).toMatchObject({ sinkhornForm: 'scaling', converged: true, iterations: 60, taskOfAgent: [] });
    const cold = part(
      await client.coordinate({ utility, assignment: { forms: ['PLAN'], temperature: 0.01 } }),
      'assignment',
    );
    expect(cold['sinkhornForm']).toBe('log');
  });
});

describe('consensus', () => {
  it('gives each group what its members would get alone', async () => {
    const random = seededNormal(3);
    const responses = rowsOf(random, 23, 3);
    const groups = responses.map((_, i) => (i % 4 === 3 ? 5 : i % 4));
    const grouped = part(
      await client.coordinate({ responses: floatTensor(responses), consensus: { groups } }),
      'consensus',
    );
    const centroid = floatsOf(grouped['centroid'])!;
    expect(centroid.shape).toEqual([6, 3]);
    for (const group of [0, 1, 2, 5]) {
      const members = responses.filter((_, i) => groups[i] === group);
      const alone = part(await client.coordinate({ responses: floatTensor(members) }), 'consensus');
      expect(
        worstError(centroid.values.slice(group * 3, group * 3 + 3), floatsOf(alone['centroid'])!.values),
      ).toBeLessThanOrEqual(1e-6);
      expect((grouped['scale'] as number[])[group]).toBeCloseTo((alone['scale'] as number[])[0]!, 5);
    }
    expect(centroid.values.slice(9, 15)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(grouped['effectiveCount']).toHaveLength(6);
  });

  it('rejects agents that are not finite one by one and answers for the rest', async () => {
    const agents = [
      [0, 0],
      [NaN, 1],
      [1, 0],
      [0, 1],
      [Infinity, 0],
      [1e16, 2],
      [1, 1],
    ];
    const answer = await client.coordinate({
      agents: floatTensor(agents),
      tasks: floatTensor([
        [0, 0],
        [1, 1],
      ]),
      agentMask: maskTensor([1, 1, 1, 1, 1, 1, 0]),
    });
    expect(answer['rejectedAgents']).toEqual([1, 4, 5]);
    expect(part(answer, 'consensus')['outliers']).toEqual(expect.arrayContaining([1, 4, 5]));
    const tasks = part(answer, 'assignment')['taskOfAgent'] as number[];
    for (const i of [1, 4, 5, 6]) expect(tasks[i]).toBe(-1);
    expect(floatsOf(part(answer, 'consensus')['centroid'])!.values.every(Number.isFinite)).toBe(true);
  });

  it('answers zeros where no agent is left', async () => {
    const answer = await client.coordinate({
      agents: floatTensor([
        [NaN, 0],
        [0, NaN],
      ]),
      tasks: floatTensor([[1, 1]]),
      assignment: { forms: ['HARD', 'PLAN', 'TOP_K'] },
    });
    expect(answer['rejectedAgents']).toEqual([0, 1]);
    expect(part(answer, 'assignment')).toMatchObject({
      taskOfAgent: [-1, -1],
      unservedTasks: [0],
      objective: 0,
      gap: 0,
    });
    expect(floatsOf(part(answer, 'assignment')['plan'])!.values).toEqual([0, 0]);
    const consensus = part(answer, 'consensus');
    expect(floatsOf(consensus['centroid'])!.values).toEqual([0, 0]);
    expect(consensus).toMatchObject({ scale: [0], effectiveCount: [0], outliers: [0, 1] });
  });
});

describe('refusals', () => {
  it.each([
    ['assignment.solver', { utility: floatTensor([[1]]), assignment: { solver: 9 } }],
    ['assignment.max_change', { utility: floatTensor([[1]]), assignment: { maxChange: 0.5 } }],
    ['agents', {}],
    ['tasks', { agents: floatTensor([[0, 0]]), tasks: floatTensor([[0, NaN]]) }],
    ['utility', { utility: floatTensor([[1, NaN]]) }],
  ])('name the field %s', async (field, request) => {
    const error = await rejection(request);
    expect(error.code).toBe(grpc.status.INVALID_ARGUMENT);
    expect(error.details).toContain(field);
    expect(error.metadata.get('grpc-status-details-bin')).toHaveLength(1);
  });

  it('tell unknown policies, sizes and missing weights apart', async () => {
    expect((await rejection({ policy: 'nobody', utility: floatTensor([[1]]) })).code).toBe(grpc.status.NOT_FOUND);
    expect((await rejection({ responses: floatTensor([Array.from({ length: 1025 }, () => 0)]) })).code).toBe(
      grpc.status.OUT_OF_RANGE,
    );
    expect((await rejection({ agents: floatTensor([[1, 2]]), operators: ['PROJECTION'] })).code).toBe(
      grpc.status.FAILED_PRECONDITION,
    );
  });
});

describe('a crowd of different callers', () => {
  it('gives everyone the answer that they would have got alone, whatever their neighbours are', async () => {
    const random = seededNormal(77);
    const requests = Array.from({ length: 60 }, (_, index): RawMessage => {
      const n = 1 + ((index * 7) % 40);
      const m = 1 + ((index * 11) % 40);
      const kind = index % 4;
      if (kind === 0)
        return {
          policy: 'reference',
          agents: matrixTensor(n, 64),
          tasks: matrixTensor(m, 64),
          assignment: { forms: ['PLAN'] },
        };
      if (kind === 1)
        return {
          agents: matrixTensor(n, 2),
          tasks: matrixTensor(m, 2),
          assignment: { forms: ['PLAN'], iterations: 20 },
        };
      if (kind === 2) return { agents: matrixTensor(n, 3), consensus: { iterations: 5 } };
      return { agents: floatTensor([[1, NaN]]), tasks: floatTensor([[NaN, 1]]) };
    });
    function matrixTensor(rows: number, columns: number): RawMessage {
      return {
        dtype: 'FLOAT32',
        shape: [rows, columns],
        data: Buffer.from(normalMatrix(random, rows, columns).data.buffer),
      };
    }
    const alone: (RawMessage | grpc.ServiceError)[] = [];
    for (const request of requests)
      alone.push(await client.coordinate(request).catch((error: unknown) => error as grpc.ServiceError));
    const together = await Promise.all(
      requests.map((request) => client.coordinate(request).catch((error: unknown) => error as grpc.ServiceError)),
    );
    let shared = 0;
    together.forEach((answer, index) => {
      const lone = alone[index]!;
      if (lone instanceof Error || answer instanceof Error) {
        expect(index % 4).toBe(3);
        expect((answer as grpc.ServiceError).code).toBe((lone as grpc.ServiceError).code);
        return;
      }
      if ((part(answer, 'execution')['batchSize'] as number) > 1) shared++;
      for (const [section, tensors] of [
        ['assignment', ['plan']],
        ['consensus', ['centroid', 'weights', 'kernel']],
      ] as const) {
        for (const name of tensors) {
          const [a, b] = [
            floatsOf((answer[section] as RawMessage | null)?.[name]),
            floatsOf((lone[section] as RawMessage | null)?.[name]),
          ];
          expect(a === null).toBe(b === null);
          if (a !== null && b !== null)
            expect(worstError(a.values, b.values), `request ${index} ${name}`).toBeLessThanOrEqual(2e-6);
        }
      }
      expect(answer['rejectedAgents']).toEqual(lone['rejectedAgents']);
    });
    expect(shared).toBeGreaterThan(0);
  });
});
