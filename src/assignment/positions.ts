/**
 * Utilities that are distances travel as the positions they are between: a solver thread computes them where it needs them, and no matrix of all pairs
 * is made on an engine, read back, and carried there.
 */
import type { HardProblem } from './hard.js';

/** U_ij = -||a_i - t_j||, Euclidean. Rows of inactive agents may hold anything. */
export interface Positions {
  /** At least 1. */
  readonly width: number;
  /** [N,width] */
  readonly agents: Float32Array;
  /** [M,width] */
  readonly tasks: Float32Array;
}

/** A hard problem on its way to a solver thread. */
export interface PosedProblem extends Omit<HardProblem, 'utility'> {
  /** [N,M], or what it is computed from. */
  readonly utility: Float32Array | Positions;
}

/** Matrices of so many pairs are written over the last one's memory: 4 MiB. */
const keptCells = 1 << 20;
let kept: Float32Array | null = null;

/** With its utilities as numbers. They may lie where those of an earlier problem lay, which must be done with. */
export function withUtilities(problem: PosedProblem): HardProblem {
  const { utility, agentCount, taskCount } = problem;
  if (utility instanceof Float32Array) return { ...problem, utility };
  const cells = agentCount * taskCount;
  if (cells > keptCells) return { ...problem, utility: distancesInto(new Float32Array(cells), utility) };
  kept ??= new Float32Array(keptCells);
  return { ...problem, utility: distancesInto(kept.subarray(0, cells), utility) };
}

/** Writes U [N,M]: differences and squares in double precision, rounded once. Returns `into`. */
export function distancesInto(into: Float32Array, positions: Positions): Float32Array {
  if (positions.width === 2) planeInto(into, positions);
  else spaceInto(into, positions);
  return into;
}

function planeInto(into: Float32Array, { agents, tasks }: Positions): void {
  let cell = 0;
  for (let i = 0; i < agents.length; i += 2) {
    const x = agents[i]!;
    const y = agents[i + 1]!;
    for (let j = 0; j < tasks.length; j += 2) {
      const dx = x - tasks[j]!;
      const dy = y - tasks[j + 1]!;
      into[cell++] = -Math.sqrt(dx * dx + dy * dy);
    }
  }
}

function spaceInto(into: Float32Array, { agents, tasks, width }: Positions): void {
  let cell = 0;
  for (let i = 0; i < agents.length; i += width) {
    for (let j = 0; j < tasks.length; j += width) {
      let sum = 0;
      for (let k = 0; k < width; k++) {
        const difference = agents[i + k]! - tasks[j + k]!;
        sum += difference * difference;
      }
      into[cell++] = -Math.sqrt(sum);
    }
  }
}
