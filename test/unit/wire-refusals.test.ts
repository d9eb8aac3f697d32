/** Every way in which a request is refused, with its exact message: long because it is one table. */
import { describe, expect, it } from 'vitest';
import type { CoordinateRequestInput } from '../../src/wire/messages.js';
import { base, booleans, decode, floats, refusal } from '../request-fixtures.js';

describe('refusals', () => {
  const assignment = (options: CoordinateRequestInput['assignment']): CoordinateRequestInput => ({
    ...base,
    assignment: options,
  });
  const consensus = (options: CoordinateRequestInput['consensus']): CoordinateRequestInput => ({
    ...base,
    consensus: options,
  });
  const projection = (options: CoordinateRequestInput['projection']): CoordinateRequestInput => ({
    ...base,
    policy: 'projecting',
    projection: options,
  });

  const table: [field: string, code: string, rest: string, request: CoordinateRequestInput][] = [
    ['agents', 'REQUEST_INVALID', 'expected `agents`, `utility` or `responses`, received none of them', {}],
    [
      'agents',
      'REQUEST_INVALID',
      'expected `agents`, `utility` or `responses`, received none of them',
      { tasks: floats([1, 1]) },
    ],
    [
      'request_id',
      'REQUEST_INVALID',
      'expected at most 1024 bytes, received 1026',
      { ...base, requestId: 'é'.repeat(513) },
    ],
    ['priority', 'REQUEST_INVALID', 'expected one of NORMAL, LOW, HIGH, received 55', { ...base, priority: 55 }],
    ['policy', 'POLICY_UNKNOWN', 'expected a known one, received nobody', { ...base, policy: 'nobody' }],
    ['tasks', 'REQUEST_INVALID', 'expected `tasks` or `utility`, received both', { ...base, utility: floats([3, 2]) }],
    ['agents', 'TENSOR_SHAPE', 'expected shape [N,d], received [3]', { agents: floats([3]) }],
    [
      'agents',
      'TENSOR_DTYPE',
      'expected dtype FLOAT32, FLOAT64, FLOAT16 or INT32, received UINT8',
      { agents: booleans([1, 1], [1]) },
    ],
    [
      'utility',
      'TENSOR_SHAPE',
      'expected shape [3,M], received [2,2]',
      { agents: floats([3, 3]), utility: floats([2, 2]) },
    ],
    [
      'responses',
      'TENSOR_SHAPE',
      'expected shape [3,r], received [2,2]',
      { agents: floats([3, 3]), responses: floats([2, 2]) },
    ],
    [
      'responses',
      'TENSOR_SHAPE',
      'expected shape [3,r], received [2,2]',
      { utility: floats([3, 3]), responses: floats([2, 2]) },
    ],
    [
      'tasks',
      'TENSOR_SHAPE',
      'expected a width of at most 1, that of `agents`, received 2',
      { agents: floats([3, 1]), tasks: floats([2, 2]) },
    ],
    [
      'agents',
      'TENSOR_SHAPE',
      'expected a width of 3, that of policy `projecting`, received 2',
      { agents: floats([3, 2]), policy: 'projecting' },
    ],
    [
      'agents',
      'TENSOR_SHAPE',
      'expected a width of 3, that of policy `bilinear`, received 4',
      { agents: floats([3, 4]), tasks: floats([2, 2]), policy: 'bilinear', operators: ['ASSIGNMENT'] },
    ],
    [
      'tasks',
      'TENSOR_SHAPE',
      'expected a width of 2, that of policy `bilinear`, received 3',
      { agents: floats([3, 3]), tasks: floats([2, 3]), policy: 'bilinear' },
    ],
    [
      'agents',
      'SIZE_LIMIT',
      'expected N of at most 5120, received 5121',
      { agents: { shape: [5121, 1], data: Buffer.alloc(4 * 5121) } },
    ],
    [
      'tasks',
      'SIZE_LIMIT',
      'expected M of at most 5120, received 6000',
      { agents: floats([1, 1]), tasks: { shape: [6000, 1], data: Buffer.alloc(24000) } },
    ],
    [
      'agents',
      'SIZE_LIMIT',
      'expected d of at most 1024, received 1025',
      { agents: { shape: [1, 1025], data: Buffer.alloc(4100) } },
    ],
    ['agent_ids', 'REQUEST_INVALID', 'expected 3 entries, received 2', { ...base, agentIds: ['a', 'b'] }],
    [
      'agent_ids[2]',
      'REQUEST_INVALID',
      'expected unique ids, received "a" twice',
      { ...base, agentIds: ['a', 'b', 'a'] },
    ],
    ['task_ids', 'REQUEST_INVALID', 'expected 0 entries, received 1', { agents: floats([3, 3]), taskIds: ['a'] }],
    ['task_ids[1]', 'REQUEST_INVALID', 'expected unique ids, received "" twice', { ...base, taskIds: ['', ''] }],
    ['agent_mask', 'TENSOR_SHAPE', 'expected shape [3], received [2]', { ...base, agentMask: booleans([2], [1, 1]) }],
    ['agent_mask', 'TENSOR_DTYPE', 'expected dtype UINT8, received FLOAT32', { ...base, agentMask: floats([3]) }],
    [
      'task_mask',
      'TENSOR_SHAPE',
      'expected shape [2], received [2,1]',
      { ...base, taskMask: booleans([2, 1], [1, 1]) },
    ],
    [
      'task_mask',
      'REQUEST_INVALID',
      'expected `tasks` or `utility` beside it, received neither',
      { agents: floats([3, 3]), taskMask: booleans([2], [1, 1]) },
    ],
    [
      'tasks',
      'TENSOR_NOT_FINITE',
      'expected finite numbers, received NaN at [1,0]',
      { ...base, tasks: floats([2, 2], [1, 2, NaN, 4]) },
    ],
    [
      'tasks',
      'TENSOR_NOT_FINITE',
      'expected finite numbers, received -Infinity at [0,1]',
      { ...base, tasks: floats([2, 2], [1, -Infinity, 3, 4]) },
    ],
    [
      'tasks',
      'REQUEST_INVALID',
      'expected magnitudes of at most 1000000000000000, received 2251799813685248 at [0,0]',
      { ...base, tasks: floats([2, 2], [2 ** 51, 2, 3, 4]) },
    ],
    [
      'utility',
      'TENSOR_NOT_FINITE',
      'expected finite numbers or -Infinity (a forbidden pair), received Infinity at [0,1]',
      { utility: floats([1, 2], [-Infinity, Infinity]) },
    ],
    [
      'assignment.bias',
      'TENSOR_NOT_FINITE',
      'expected finite numbers or -Infinity (a forbidden pair), received NaN at [1,0]',
      assignment({ bias: floats([3, 2], [0, 0, NaN, 0, 0, 0]) }),
    ],
    [
      'operators[1]',
      'REQUEST_INVALID',
      'expected one of PROJECTION, ASSIGNMENT, CONSENSUS, received 9',
      { ...base, operators: ['CONSENSUS', 9] },
    ],
    [
      'operators[0]',
      'REQUEST_INVALID',
      'expected one of PROJECTION, ASSIGNMENT, CONSENSUS, received OPERATOR_UNSPECIFIED',
      { ...base, operators: ['OPERATOR_UNSPECIFIED'] },
    ],
    [
      'operators',
      'REQUEST_INVALID',
      'expected at most 64 entries, received 65',
      { ...base, operators: Array<'CONSENSUS'>(65).fill('CONSENSUS') },
    ],
    [
      'agents',
      'REQUEST_INVALID',
      'expected `agents` for PROJECTION, received none',
      { utility: floats([1, 1]), operators: ['PROJECTION'] },
    ],
    [
      'tasks',
      'REQUEST_INVALID',
      'expected `tasks` or `utility` for ASSIGNMENT, received none',
      { agents: floats([1, 1]), operators: ['ASSIGNMENT'] },
    ],
    [
      'agents',
      'REQUEST_INVALID',
      'expected `agents` for ASSIGNMENT, received none',
      { responses: floats([1, 1]), tasks: floats([1, 1]), operators: ['ASSIGNMENT'] },
    ],
    [
      'responses',
      'REQUEST_INVALID',
      'expected `responses` or `agents` for CONSENSUS, received none',
      { utility: floats([1, 1]), operators: ['CONSENSUS'] },
    ],
    [
      'projection.resource_max',
      'REQUEST_INVALID',
      'expected 2 entries, received 3',
      projection({ resourceMax: [1, 2, 3] }),
    ],
    [
      'projection.resource_max[1]',
      'REQUEST_INVALID',
      'expected a finite number of at least 0, received -1',
      projection({ resourceMax: [1, -1] }),
    ],
    [
      'projection.budget[0]',
      'REQUEST_INVALID',
      'expected a finite number of at least 0, received NaN',
      projection({ budget: [NaN, 1] }),
    ],
    [
      'projection.budget[1]',
      'REQUEST_INVALID',
      'expected a finite number of at least 0, received Infinity',
      projection({ budget: [1, Infinity] }),
    ],
    [
      'assignment.forms[1]',
      'REQUEST_INVALID',
      'expected one of HARD, TOP_K, PLAN, received ASSIGNMENT_FORM_UNSPECIFIED',
      assignment({ forms: ['HARD', 'ASSIGNMENT_FORM_UNSPECIFIED'] }),
    ],
    [
      'assignment.temperature',
      'REQUEST_INVALID',
      'expected a finite number above 0, received -1',
      assignment({ temperature: -1 }),
    ],
    [
      'assignment.temperature',
      'REQUEST_INVALID',
      'expected a finite number above 0, received NaN',
      assignment({ temperature: NaN }),
    ],
    [
      'assignment.iterations',
      'REQUEST_INVALID',
      'expected a whole number from 1 to 1000, received 1001',
      assignment({ iterations: 1001 }),
    ],
    ['assignment.bias', 'TENSOR_SHAPE', 'expected shape [3,2], received [2,3]', assignment({ bias: floats([2, 3]) })],
    [
      'assignment.forbidden',
      'TENSOR_SHAPE',
      'expected shape [3,2], received [6]',
      assignment({ forbidden: booleans([6], [0, 0, 0, 0, 0, 0]) }),
    ],
    [
      'assignment.forbidden',
      'TENSOR_DTYPE',
      'expected dtype UINT8, received FLOAT32',
      assignment({ forbidden: floats([3, 2]) }),
    ],
    [
      'assignment.capacities',
      'REQUEST_INVALID',
      'expected 2 entries, received 3',
      assignment({ capacities: [1, 1, 1] }),
    ],
    [
      'assignment.idle_utility',
      'REQUEST_INVALID',
      'expected a finite number, received -Infinity',
      assignment({ idleUtility: -Infinity }),
    ],
    ['assignment.previous', 'REQUEST_INVALID', 'expected 3 entries, received 1', assignment({ previous: [0] })],
    [
      'assignment.previous[0]',
      'REQUEST_INVALID',
      'expected a number from -1 to 1, received 2',
      assignment({ previous: [2, 0, 0] }),
    ],
    [
      'assignment.previous[1]',
      'REQUEST_INVALID',
      'expected a number from -1 to 1, received -2',
      assignment({ previous: [0, -2, 0] }),
    ],
    [
      'assignment.keep_bonus',
      'REQUEST_INVALID',
      'expected a finite number, received NaN',
      assignment({ keepBonus: NaN }),
    ],
    ['assignment.locks', 'REQUEST_INVALID', 'expected 3 entries, received 2', assignment({ locks: [0, 1] })],
    [
      'assignment.locks[2]',
      'REQUEST_INVALID',
      'expected a number from -2 to 1, received -3',
      assignment({ locks: [0, 1, -3] }),
    ],
    [
      'assignment.locks[1]',
      'REQUEST_INVALID',
      'expected at most 1 agents locked to task 0, its capacity, received 2',
      assignment({ locks: [0, 0, -2] }),
    ],
    [
      'assignment.locks[0]',
      'REQUEST_INVALID',
      'expected at most 0 agents locked to task 1, its capacity, received 1',
      assignment({ locks: [1, -2, -2], capacities: [1, 0] }),
    ],
    [
      'assignment.locks[0]',
      'REQUEST_INVALID',
      'expected a task that is not masked, received 1 (masked)',
      { ...assignment({ locks: [1, -2, -2] }), taskMask: booleans([2], [1, 0]) },
    ],
    [
      'assignment.locks[2]',
      'REQUEST_INVALID',
      'expected a pair that is not forbidden, received 0 (forbidden)',
      assignment({ locks: [-2, -2, 0], forbidden: booleans([3, 2], [0, 0, 0, 0, 1, 0]) }),
    ],
    [
      'assignment.locks[0]',
      'REQUEST_INVALID',
      'expected a pair that is not forbidden, received 1 (forbidden)',
      { utility: floats([1, 2], [0, -Infinity]), assignment: { locks: [1] } },
    ],
    [
      'assignment.solver',
      'REQUEST_INVALID',
      'expected one of AUTO, EXACT, AUCTION, GREEDY, received 8',
      assignment({ solver: 8 }),
    ],
    [
      'assignment.max_change',
      'REQUEST_INVALID',
      'expected a share from 0 to 1, received 1.5',
      assignment({ maxChange: 1.5, previous: [0, 1, -1] }),
    ],
    [
      'assignment.max_change',
      'REQUEST_INVALID',
      'expected a share from 0 to 1, received NaN',
      assignment({ maxChange: NaN, previous: [0, 1, -1] }),
    ],
    ['consensus.sigma', 'REQUEST_INVALID', 'expected a finite number above 0, received 0', consensus({ sigma: 0 })],
    [
      'consensus.sigma',
      'REQUEST_INVALID',
      'expected a finite number above 0, received Infinity',
      consensus({ sigma: Infinity }),
    ],
    ['consensus.start', 'REQUEST_INVALID', 'expected one of MEDOID, MEAN, received 7', consensus({ start: 7 })],
    [
      'consensus.iterations',
      'REQUEST_INVALID',
      'expected a whole number from 1 to 1000, received 4294967295',
      consensus({ iterations: 4294967295 }),
    ],
    [
      'consensus.groups',
      'REQUEST_INVALID',
      'expected 3 entries, received 1000',
      consensus({ groups: Array<number>(1000).fill(0) }),
    ],
    [
      'consensus.groups[1]',
      'REQUEST_INVALID',
      'expected a number from 0 to 2, received 3',
      consensus({ groups: [0, 3, 0] }),
    ],
  ];
  it.each(table)('%s: %s: %s', (field, code, rest, request) => {
    const error = refusal(request);
    expect({ code: error.code, message: error.message, fields: error.violations.map((each) => each.field) }).toEqual({
      code,
      message: `${field}: ${rest}`,
      fields: [field],
    });
  });

  it.each([
    ['PROJECTION', 'distance', 'policy `distance` has no projection.weight, which PROJECTION needs'],
    ['ASSIGNMENT', 'projecting', 'policy `projecting` has no assignment.bilinear, which ASSIGNMENT needs'],
  ] as const)('%s with policy %s is FAILED_PRECONDITION', (operator, policy, message) => {
    const error = refusal({ ...base, policy, operators: [operator] });
    expect([error.code, error.status, error.message]).toEqual(['WEIGHTS_MISSING', 'FAILED_PRECONDITION', message]);
  });

  it('a tensor with more elements than the limit is refused before its data is looked at', () => {
    const error = refusal({ agents: { shape: [1000, 1000] } }, { maxTensorElements: 999_999 });
    expect(error.message).toBe('agents: expected a shape of at most 999999 elements, received [1000,1000]');
  });

  it('the operator may allow fewer iterations and narrower states than the API', () => {
    const limited = { maxIterations: 20, maxWidth: 1 };
    const one = { agents: floats([2, 1], [0, 1]), tasks: floats([2, 1], [1, 0]) };
    expect(decode({ ...one, assignment: { iterations: 20 }, consensus: { iterations: 20 } }, limited).agentCount).toBe(
      2,
    );
    const messages = [
      refusal({ ...one, assignment: { iterations: 21 } }, limited).message,
      refusal({ ...one, consensus: { iterations: 21 } }, limited).message,
    ];
    expect(messages[0]).toMatch(/^assignment\.iterations: expected .*20/);
    expect(messages[1]).toMatch(/^consensus\.iterations: expected .*20/);
    const wide = { agents: floats([2, 2], [0, 1, 2, 3]), tasks: floats([2, 2], [1, 0, 1, 0]) };
    expect(refusal(wide, limited).code).toBe('SIZE_LIMIT');
  });

  it('a plan beyond the message limit is OUT_OF_RANGE and says the limit', () => {
    const utility = { shape: [200, 300], data: Buffer.alloc(240_000) };
    const error = refusal({ utility, assignment: { forms: ['PLAN'] } }, { maxMessageBytes: 240_000 });
    expect([error.code, error.status]).toEqual(['ANSWER_TOO_LARGE', 'OUT_OF_RANGE']);
    expect(error.message).toMatch(
      /^assignment\.forms: expected an answer of at most 240000 bytes, received a request whose answer takes about 24\d{4} \(N 200, M 300\)$/,
    );
    expect(decode({ utility, assignment: { forms: ['HARD'] } }, { maxMessageBytes: 240_000 }).agentCount).toBe(200);
  });
});
