/** Hard problems for tests, from printed seeds. */
import { plainDemands, type HardProblem } from '../../src/assignment/hard.js';

/** Uniform numbers in [0,1), the same for the same seed everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function hardProblem(
  agentCount: number,
  taskCount: number,
  utility: Float32Array,
  more: Partial<HardProblem> = {},
): HardProblem {
  return { ...plainDemands(agentCount, taskCount, 'AUTO'), utility, potentials: null, warm: null, ...more };
}

export function uniformUtility(agentCount: number, taskCount: number, seed: number): Float32Array {
  const random = randomFrom(seed);
  return Float32Array.from({ length: agentCount * taskCount }, random);
}

/** Minus the distances on a map of side 100; agents stand within `spread` of a corner. Small spreads are hard for exact solvers. */
export function distanceUtility(agentCount: number, taskCount: number, spread: number, seed: number): Float32Array {
  const random = randomFrom(seed);
  const place = (count: number, side: number) =>
    Array.from({ length: count }, () => [side * random(), side * random()]);
  const agents = place(agentCount, spread);
  const tasks = place(taskCount, 100);
  return Float32Array.from({ length: agentCount * taskCount }, (_, cell) => {
    const agent = agents[Math.floor(cell / taskCount)]!;
    const task = tasks[cell % taskCount]!;
    return -Math.hypot(agent[0]! - task[0]!, agent[1]! - task[1]!);
  });
}
