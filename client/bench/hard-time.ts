/** Time of exact and greedy hard assignments by size and by kind of utility, in the solver thread. */
import { type HardProblem, type HardSolver, plainHardProblem } from '../../src/assignment/hard.js';
import { createSolverPool } from '../../src/assignment/solver-pool.js';
import { systemClock } from '../../src/clock.js';
import { normalArray, uniformArray, uniformSource } from './random-states.js';
import type { Cell } from './report.js';
import type { BenchContext, Section } from './section.js';
import { median } from './statistics.js';

const counts = [100, 200, 500, 1000] as const;
const warmUpSolves = 10;
const clusters = 10;
/** Size of a cluster against the distance between clusters. */
const clusterSpread = 0.02;

/** Utilities [N,N], larger is better; what they look like decides how long the exact solver works. */
const inputs: readonly { readonly name: string; readonly utility: (count: number, seed: number) => Float32Array }[] = [
  { name: 'uniform', utility: (count, seed) => uniformArray(count * count, seed) },
  { name: 'normal', utility: (count, seed) => normalArray(count * count, seed) },
  { name: 'plane, uniform', utility: (count, seed) => minusDistances(uniformArray(4 * count, seed), count) },
  { name: 'plane, clustered', utility: (count, seed) => minusDistances(clusteredPoints(count, seed), count) },
];

export const hardTime: Section = async (context) => {
  const pool = createSolverPool({ threads: 1, clock: systemClock });
  const rows: Cell[][] = [];
  try {
    // The thread starts and its code is compiled before anything is timed.
    for (let seed = 0; seed < warmUpSolves; seed++) {
      for (const { utility } of inputs) {
        await timeSolve(pool, counts[0], utility(counts[0], seed), 'EXACT');
        await timeSolve(pool, counts[0], utility(counts[0], seed), 'GREEDY');
      }
    }
    for (const count of counts) {
      for (const { name, utility } of inputs) {
        const exactMs: number[] = [];
        const greedyMs: number[] = [];
        const greedyGaps: number[] = [];
        for (let round = 0; round < context.rounds; round++) {
          const exact = await timeSolve(pool, count, utility(count, round + 1), 'EXACT');
          const greedy = await timeSolve(pool, count, utility(count, round + 1), 'GREEDY');
          exactMs.push(exact.elapsedMs);
          greedyMs.push(greedy.elapsedMs);
          greedyGaps.push((exact.objective - greedy.objective) / Math.max(Math.abs(exact.objective), 1e-12));
        }
        rows.push([count, name, median(exactMs), Math.max(...exactMs), median(greedyMs), median(greedyGaps)]);
        report(context, count, name, exactMs);
      }
    }
  } finally {
    await pool.close();
  }
  return {
    name: 'hard',
    title: 'Hard assignments by size',
    method:
      `N=M, one task each, ${context.rounds} seeds, one solver thread, from handing the problem over to having the answer. Greedy's loss is against ` +
      'the exact objective. Times in ms.',
    tables: [{ columns: ['N', 'utilities', 'exact', 'exact slowest', 'greedy', 'greedy loses'], rows }],
    checks: [],
  };
};

function report(context: BenchContext, count: number, name: string, times: readonly number[]): void {
  context.progress(`N=${count}, ${name}: ${median(times).toFixed(1)} ms`);
}

async function timeSolve(
  pool: HardSolver,
  count: number,
  utility: Float32Array,
  solver: HardProblem['solver'],
): Promise<{ elapsedMs: number; objective: number }> {
  const problem = plainHardProblem(count, utility, solver);
  const startMs = performance.now();
  const { objective } = await pool.solve(problem, { signal: new AbortController().signal });
  return { elapsedMs: performance.now() - startMs, objective };
}

/** [N,N] minus the distances between the first N points and the last N of `points` [2N,2]. */
function minusDistances(points: Float32Array, count: number): Float32Array {
  const utility = new Float32Array(count * count);
  for (let agent = 0; agent < count; agent++) {
    for (let task = 0; task < count; task++) {
      const across = points[2 * agent]! - points[2 * (count + task)]!;
      const along = points[2 * agent + 1]! - points[2 * (count + task) + 1]!;
      utility[agent * count + task] = -Math.hypot(across, along);
    }
  }
  return utility;
}

/** [2N,2] points in ten tight clusters of the unit square. */
function clusteredPoints(count: number, seed: number): Float32Array {
  const centers = uniformArray(2 * clusters, seed);
  const offsets = normalArray(4 * count, seed + 1);
  const uniform = uniformSource(seed + 2);
  const points = new Float32Array(4 * count);
  for (let point = 0; point < 2 * count; point++) {
    const cluster = Math.floor(uniform() * clusters);
    for (let axis = 0; axis < 2; axis++) {
      points[2 * point + axis] = centers[2 * cluster + axis]! + clusterSpread * offsets[2 * point + axis]!;
    }
  }
  return points;
}
