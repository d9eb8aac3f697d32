/** The state that a caller brings back as `warm_start`. */
import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import { decodeTickState, encodeTickState, type TickState, warmStartFor } from '../../src/warm-start.js';
import { decode, floats } from '../request-fixtures.js';
import { tickState } from './request-seeds.js';
import { promise, type Target } from './target.js';

const problems = [
  decode({ agents: floats([3, 3]), tasks: floats([2, 2]), agentIds: ['a1', 'a2', 'a3'], taskIds: ['t1', 't2'] }),
  decode({ agents: floats([3, 3]), tasks: floats([2, 2]) }),
  decode({
    agents: floats([4, 3]),
    tasks: floats([3, 2]),
    agentIds: ['a3', 'b', 'a1', 'c'],
    taskIds: ['u', 't2', 't1'],
  }),
];

const nothing = { taskOfAgent: null, taskPrices: null, columnPotential: null, centroid: null };
const states = [
  tickState,
  { ...tickState, agentIds: null, taskIds: null },
  { ...tickState, ...nothing },
  { ...tickState, agentCount: 0, taskCount: 0, agentIds: [], taskIds: [], ...nothing },
];

export const warmStartTarget: Target = {
  name: 'warm-start',
  seeds: states.map((state) => Buffer.from(encodeTickState(state))),
  mostBytes: 1024,
  check(bytes) {
    // With and without the checksum made right: it keeps accidents out, not whoever computes it.
    return [bytes, withChecksum(bytes)].map(checkState).includes(true);
  },
};

function withChecksum(bytes: Buffer): Buffer {
  const whole = Buffer.from(bytes);
  warmStartTarget.seeds[0]!.copy(whole, 0, 0, 4);
  if (whole.length > 8) whole.writeUInt32LE(crc32(whole.subarray(8)), 4);
  return whole;
}

/** One NaN is like any other, which typed arrays are not compared by. */
function plain(state: TickState): object {
  return Object.fromEntries(
    Object.entries(state).map(([name, value]) => [
      name,
      ArrayBuffer.isView(value) ? [...(value as Float32Array)] : value,
    ]),
  );
}

function checkState(bytes: Buffer): boolean {
  const state = decodeTickState(bytes);
  if (state === null) return false;
  const again = decodeTickState(encodeTickState(state));
  promise(again !== null && isDeepStrictEqual(plain(again), plain(state)), 'decode(encode(state)) is the state');
  for (const problem of problems) {
    const warm = warmStartFor(state, problem);
    const tasks = warm?.taskOfAgent ?? null;
    promise(tasks === null || tasks.length === problem.agentCount, 'tasks of N');
    promise(tasks === null || tasks.every((task) => task >= -1 && task < problem.taskCount), 'tasks of this problem');
    promise(warm?.taskPrices == null || warm.taskPrices.length === problem.taskCount, 'prices of M');
    promise(warm?.columnPotential == null || warm.columnPotential.length === problem.taskCount, 'potentials of M');
  }
  return true;
}
