import { describe, expect, it } from 'vitest';
import type { Problem } from '../../src/problem.js';
import type { CoordinateRequestInput } from '../../src/wire/messages.js';
import { decodeRequest } from '../../src/wire/request.js';
import { base, booleans, decode, floats, limits, policies } from '../request-fixtures.js';
import { requestMessage } from '../wire-codec.js';

describe('defaults', () => {
  it('come from the default policy where the request says nothing', () => {
    const problem = decode(base);
    expect(problem).toMatchObject({
      requestId: '',
      agentCount: 3,
      taskCount: 2,
      utility: null,
      agentIds: null,
      taskIds: null,
      rejectedAgents: [],
      priority: 'NORMAL',
      forbidFallback: false,
      outputValues: false,
      projection: null,
      assignment: {
        forms: new Set(['HARD']),
        temperature: 0.1,
        iterations: 50,
        topK: 2,
        bias: null,
        capacities: null,
        idleUtility: null,
        previous: null,
        keepBonus: 0,
        locks: null,
        solver: 'AUTO',
        solveBudgetMs: null,
      },
      consensus: { sigma: null, start: 'MEDOID', iterations: 10, groups: null },
    });
    expect(problem.policy.name).toBe('distance');
    expect(problem.agents).toMatchObject({
      rows: 3,
      columns: 3,
      data: Float32Array.from({ length: 9 }, (_, i) => i / 8),
    });
    expect(problem.responses).toBe(problem.agents);
    expect(Array.from(problem.agentActive)).toEqual([1, 1, 1]);
    expect(Array.from(problem.taskActive)).toEqual([1, 1]);
  });

  it("come from the request's policy where options are present but empty", () => {
    const problem = decode({ ...base, policy: 'bilinear', projection: {}, assignment: {}, consensus: {} });
    expect(problem.projection).toEqual({ resourceMax: Float32Array.of(4, 5), budget: null });
    expect(problem.assignment).toMatchObject({ forms: new Set(['TOP_K']), temperature: 0.25, iterations: 7, topK: 2 });
    expect(problem.consensus).toEqual({ sigma: 1.5, start: 'MEAN', iterations: 10, groups: null });
  });

  it('include the plan for the reference policy', () => {
    const problem = decode({ policy: 'reference', agents: floats([2, 64]), tasks: floats([2, 64]) });
    expect(problem.assignment).toMatchObject({ forms: new Set(['HARD', 'PLAN']), temperature: 1, iterations: 10 });
    expect(problem.projection!.resourceMax).toEqual(new Float32Array(8).fill(1));
  });

  it('give way to everything that the request sets', () => {
    const problem = decode({
      requestId: 'tick 7',
      policy: 'bilinear',
      agents: floats([3, 3]),
      tasks: floats([2, 2]),
      responses: floats([3, 1]),
      agentIds: ['a', 'b', 'c'],
      taskIds: ['x', 'y'],
      agentMask: booleans([3], [1, 0, 9]),
      taskMask: booleans([2], [1, 1]),
      operators: ['CONSENSUS', 'ASSIGNMENT', 'PROJECTION', 'CONSENSUS'],
      projection: { resourceMax: [1, 2], budget: [0, 3] },
      assignment: {
        forms: ['PLAN', 'HARD'],
        temperature: 2,
        iterations: 1000,
        topK: 1,
        bias: floats([3, 2], [0, 1, 2, 3, -Infinity, 5]),
        forbidden: booleans([3, 2], [1, 0, 0, 0, 0, 0]),
        capacities: [0, 4294967295],
        idleUtility: 0,
        previous: [-1, 1, 0],
        keepBonus: 0.5,
        locks: [-2, -1, 1],
        solver: 'GREEDY',
        solveBudgetUs: 1500,
        warmStart: Buffer.of(1, 2),
      },
      consensus: { sigma: 0.5, start: 'MEDOID', iterations: 3, groups: [0, 2, 2] },
      seed: '18446744073709551615',
      priority: 'HIGH',
      forbidFallback: true,
      supersede: true,
      outputValues: true,
    });
    expect(problem).toMatchObject({
      requestId: 'tick 7',
      agentIds: ['a', 'b', 'c'],
      taskIds: ['x', 'y'],
      priority: 'HIGH',
      forbidFallback: true,
      outputValues: true,
      projection: { resourceMax: Float32Array.of(1, 2), budget: Float32Array.of(0, 3) },
      assignment: {
        forms: new Set(['PLAN', 'HARD']),
        temperature: 2,
        iterations: 1000,
        topK: 1,
        bias: Float32Array.of(-Infinity, 1, 2, 3, -Infinity, 5),
        capacities: Uint32Array.of(0, 4294967295),
        idleUtility: 0,
        previous: Int32Array.of(-1, 1, 0),
        keepBonus: 0.5,
        locks: Int32Array.of(-2, -1, 1),
        solver: 'GREEDY',
        solveBudgetMs: 1.5,
      },
      consensus: { sigma: 0.5, start: 'MEDOID', iterations: 3, groups: Uint32Array.of(0, 2, 2) },
    });
    expect(Array.from(problem.agentActive)).toEqual([1, 0, 1]);
    expect(problem.responses!.columns).toBe(1);
  });

  it('top_k is 8, and above M means M', () => {
    const wide = { agents: floats([1, 1]), tasks: floats([20, 1]) };
    expect(decode(wide).assignment!.topK).toBe(8);
    expect(decode({ ...wide, assignment: { topK: 4294967295 } }).assignment!.topK).toBe(20);
  });
});

describe('operators', () => {
  const ran = (problem: Problem) =>
    (['projection', 'assignment', 'consensus'] as const).filter((name) => problem[name] !== null);

  it.each([
    ['agents and tasks', base, ['assignment', 'consensus']],
    ['agents alone', { agents: floats([3, 3]) }, ['consensus']],
    ['a utility alone', { utility: floats([3, 2]) }, ['assignment']],
    ['responses alone', { responses: floats([3, 2]) }, ['consensus']],
    ['responses and tasks', { responses: floats([3, 2]), tasks: floats([2, 2]) }, ['consensus']],
    ['a utility and responses', { utility: floats([3, 2]), responses: floats([3, 1]) }, ['assignment', 'consensus']],
    ['agents and tasks for a policy without utility', { ...base, policy: 'projecting' }, ['projection', 'consensus']],
    [
      'agents and a utility for it',
      { agents: floats([3, 3]), utility: floats([3, 2]), policy: 'projecting' },
      ['projection', 'assignment', 'consensus'],
    ],
    ['one operator asked for', { ...base, operators: ['ASSIGNMENT'] }, ['assignment']],
  ] satisfies [string, CoordinateRequestInput, string[]][])('run on %s', (_, request, expected) => {
    expect(ran(decode(request))).toEqual(expected);
  });

  it('that do not run demand no widths, and leave their options unread', () => {
    const problem = decode({
      agents: floats([3, 9]),
      tasks: floats([2, 2]),
      policy: 'bilinear',
      operators: ['CONSENSUS'],
      assignment: { temperature: -1 },
      projection: { budget: [1] },
    });
    expect(problem).toMatchObject({ tasks: null, taskCount: 2, assignment: null, projection: null });
  });
});

describe('rejected agents', () => {
  it('are those with NaN, infinities or magnitudes above 1e15 in state or response, but not masked ones', () => {
    const agents = floats([7, 2], [1e15, -1e15, NaN, 0, 0, Infinity, 0, 0, -Infinity, 0, NaN, NaN, 1.1e15, 0]);
    const responses = floats([7, 1], [1, 2, 3, -2e15, 5, 6, 7]);
    const problem = decode({ agents, responses, agentMask: booleans([7], [1, 1, 1, 1, 1, 0, 1]) });
    expect(problem.rejectedAgents).toEqual([1, 2, 3, 4, 6]);
    expect(Array.from(problem.agentActive)).toEqual([1, 0, 0, 0, 0, 0, 0]);
  });

  it('include FLOAT64 states beyond the range of float32', () => {
    const data = Buffer.from(Float64Array.of(1, 1e300, 2).buffer);
    expect(decode({ agents: { dtype: 'FLOAT64', shape: [3, 1], data } }).rejectedAgents).toEqual([1]);
  });

  it('may be all of them', () => {
    const problem = decode({ agents: floats([2, 1], [NaN, NaN]), tasks: floats([1, 1]) });
    expect(problem.rejectedAgents).toEqual([0, 1]);
  });
});

describe('masked and rejected agents and masked tasks', () => {
  it('may hold anything in tasks, utility and bias, which reaches the problem as zeros', () => {
    const shape = [3, 2];
    const problem = decode({
      agents: floats([3, 1], [1, NaN, 3]),
      utility: floats(shape, [1, NaN, Infinity, NaN, 5, Infinity]),
      taskMask: booleans([2], [1, 0]),
      assignment: { bias: floats(shape, [-Infinity, NaN, NaN, NaN, 0, NaN]) },
    });
    expect(Array.from(problem.utility!.data)).toEqual([1, 0, 0, 0, 5, 0]);
    expect(Array.from(problem.assignment!.bias!)).toEqual([-Infinity, 0, 0, 0, 0, 0]);
    const tasks = decode({ ...base, tasks: floats([2, 2], [1, 2, NaN, 1e30]), taskMask: booleans([2], [1, 0]) }).tasks!;
    expect(Array.from(tasks.data)).toEqual([1, 2, 0, 0]);
  });

  it('may have locks that contradict', () => {
    const assignment = { locks: [0, 0, 1] };
    const agentMask = booleans([3], [1, 0, 1]);
    expect(decode({ ...base, agentMask, assignment }).assignment!.locks).toEqual(Int32Array.of(0, 0, 1));
  });
});

describe('forbidden pairs', () => {
  it('without a bias make one, and leave the message as it came', () => {
    const forbidden = booleans([3, 2], [0, 1, 0, 0, 0, 7]);
    const message = requestMessage({ ...base, assignment: { forbidden, bias: floats([3, 2], [1, 1, 1, 1, 1, 1]) } });
    const before = JSON.stringify(message);
    const { bias } = decodeRequest(message, { policies, limits }).assignment!;
    expect(Array.from(bias!)).toEqual([1, -Infinity, 1, 1, 1, -Infinity]);
    expect(JSON.stringify(message)).toBe(before);
    expect(Array.from(decode({ ...base, assignment: { forbidden } }).assignment!.bias!)).toEqual([
      0,
      -Infinity,
      0,
      0,
      0,
      -Infinity,
    ]);
  });
});
