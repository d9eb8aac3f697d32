/** Requests that use every field, small enough to be changed thousands of times a second. */
import { encodeTickState, type TickState } from '../../src/warm-start.js';
import type { CoordinateRequestInput, TensorInput } from '../../src/wire/messages.js';
import { base, booleans, floats } from '../request-fixtures.js';
import { seededNormal } from '../seeded-normal.js';
import { requestMessage, coordinateMethod } from '../wire-codec.js';

export function requestBytes(request: CoordinateRequestInput): Buffer {
  return coordinateMethod.requestSerialize(request);
}

function normal(rows: number, columns: number, seed: number): TensorInput {
  const random = seededNormal(seed);
  return { shape: [rows, columns], data: dataOf(Float32Array.from({ length: rows * columns }, random)) };
}

function dataOf(values: Float32Array | Float64Array | Uint16Array | Int32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

export const tickState: TickState = {
  kind: 'distance',
  agentCount: 3,
  taskCount: 2,
  agentIds: ['a1', 'a2', 'a3'],
  taskIds: ['t1', 't2'],
  taskOfAgent: Int32Array.of(0, -1, 1),
  taskPrices: Float64Array.of(0.5, 0),
  columnPotential: Float32Array.of(0.25, NaN),
  temperature: 0.1,
  iterations: 12,
  marginalError: 1e-4,
  avoidance: { iterations: 6, ticks: 3 },
  centroid: Float32Array.of(1, 2, 3),
};

/** N = 3, M = 2 but for the last. */
export const sampleRequests: readonly CoordinateRequestInput[] = [
  base,
  {
    ...base,
    requestId: 'r1',
    policy: 'distance',
    priority: 'HIGH',
    seed: '7',
    forbidFallback: true,
    outputValues: true,
  },
  { ...base, agentIds: ['a1', 'a2', 'a3'], taskIds: ['t1', 't2'], supersede: true, operators: ['ASSIGNMENT'] },
  { utility: floats([3, 2]), operators: ['ASSIGNMENT', 'CONSENSUS'], responses: floats([3, 2]) },
  {
    utility: { shape: [3, 2], values: [1, -Infinity, 0, 2, 3, -Infinity] },
    assignment: {
      forms: ['HARD', 'TOP_K', 'PLAN'],
      temperature: 0.5,
      iterations: 5,
      topK: 2,
      bias: floats([3, 2]),
      forbidden: booleans([3, 2], [0, 0, 1, 0, 0, 0]),
      capacities: [1, 2],
      idleUtility: -3,
      previous: [0, -1, 1],
      keepBonus: 0.5,
      locks: [-2, -1, 1],
      solver: 'EXACT',
      solveBudgetUs: 1000,
      maxChange: 0.5,
      warmStart: encodeTickState(tickState),
    },
  },
  { ...base, agentMask: booleans([3], [1, 0, 1]), taskMask: booleans([2], [1, 1]), assignment: { solver: 'GREEDY' } },
  {
    ...base,
    assignment: { solver: 'AUCTION', warmStart: encodeTickState(tickState) },
    agentIds: ['a1', 'a2', 'a3'],
    taskIds: ['t1', 't2'],
  },
  { agents: floats([3, 3]), policy: 'projecting', projection: { resourceMax: [1, 2], budget: [3, 4] } },
  { ...base, policy: 'bilinear', operators: ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'] },
  { responses: floats([3, 2]), consensus: { sigma: 1, start: 'MEAN', iterations: 3, groups: [0, 1, 1] } },
  { agents: { dtype: 'FLOAT64', shape: [2, 2], data: dataOf(Float64Array.of(1, 2, NaN, 1e300)) } },
  { agents: { dtype: 'FLOAT16', shape: [2, 2], data: dataOf(Uint16Array.of(0x3c00, 0x7c00, 0x7e00, 1)) } },
  { agents: { dtype: 'INT32', shape: [2, 2], data: dataOf(Int32Array.of(1, -2, 3, 2 ** 31 - 1)) } },
  { agents: normal(17, 4, 1), tasks: normal(20, 4, 2), assignment: { forms: ['TOP_K', 'HARD'] } },
  { agents: floats([4, 3]), policy: 'nowhere', tasks: floats([4, 3], new Array<number>(12).fill(1e16)) },
];

// What a generator wrote is what the decoder reads: a seed that is refused tells of a mistake here.
for (const request of sampleRequests) requestMessage(request);
