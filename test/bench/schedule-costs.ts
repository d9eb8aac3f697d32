/** What runs and solves cost on a real machine, for the simulator: read from schedule-costs.json, or measured anew. */
import { readFileSync } from 'node:fs';
import { plainHardProblem } from '../../src/assignment/hard.js';
import { createSolverPool } from '../../src/assignment/solver-pool.js';
import { batchSizes } from '../../src/batching/buckets.js';
import { systemClock } from '../../src/clock.js';
import { openXla } from '../../client/bench/engines.js';
import { normalArray } from '../../client/bench/random-states.js';
import { thisMachine } from '../../client/bench/report.js';
import { cases, Workload } from '../../client/bench/workload.js';

/** `TOP_K` ends with the engine; `HARD` goes on to a solver thread. */
export type AnswerForm = 'TOP_K' | 'HARD';

export interface CostTable {
  /** Where the figures come from. */
  readonly machine: string;
  /** Engine milliseconds of one run, transfers included: by form, bucket (N = M) and compiled batch size. */
  readonly engineMs: Readonly<Record<AnswerForm, Readonly<Record<string, Readonly<Record<string, number>>>>>>;
  /** Milliseconds of one exact solve, by N = M. */
  readonly solverMs: Readonly<Record<string, number>>;
}

/** N = M of requests, and the bucket that each is padded to. */
export const requestSizes: readonly { readonly count: number; readonly bucket: number }[] = [
  { count: 50, bucket: 64 },
  { count: 100, bucket: 128 },
  { count: 200, bucket: 256 },
  { count: 500, bucket: 512 },
  { count: 1000, bucket: 1024 },
];

const largestConfiguredBatch = 32;
const leastRuns = 12;
const turnMs = 150;

export function storedCosts(): CostTable {
  return JSON.parse(readFileSync(new URL('schedule-costs.json', import.meta.url), 'utf8')) as CostTable;
}

/** Compiled batch sizes of a bucket, ascending. */
export function sizesOf(bucket: number): readonly number[] {
  return batchSizes(bucket, bucket, largestConfiguredBatch);
}

export function engineMsOf(costs: CostTable, form: AnswerForm, bucket: number, batch: number): number {
  const ms = costs.engineMs[form][bucket]?.[batch];
  if (ms === undefined) throw new Error(`no cost of ${form} in a bucket of ${bucket} for a batch of ${batch}`);
  return ms;
}

/** Engine milliseconds that a request takes at the least: its share of the batch that is cheapest for each member. */
export function leastEngineMs(costs: CostTable, form: AnswerForm, bucket: number): number {
  return Math.min(...sizesOf(bucket).map((batch) => engineMsOf(costs, form, bucket, batch) / batch));
}

/** 0 where there is nothing to solve. */
export function solverMsOf(costs: CostTable, form: AnswerForm, count: number): number {
  return form === 'HARD' ? (costs.solverMs[count] ?? 0) : 0;
}

/** The lower quartile of several runs of every program, and of several solves. Takes a few minutes, most of it compiling. */
export async function measureCosts(pluginPath: string, progress: (line: string) => void): Promise<CostTable> {
  const engine = await openXla(pluginPath);
  const engineMs: Record<AnswerForm, Record<string, Record<string, number>>> = { TOP_K: {}, HARD: {} };
  try {
    for (const form of ['TOP_K', 'HARD'] as const) {
      const each = cases.find(({ name }) => name === `all, ${form}`)!;
      for (const { count, bucket } of requestSizes) {
        const byBatch: Record<string, number> = {};
        for (const batch of sizesOf(bucket)) {
          const workload = new Workload(each, { batch, count, bucket });
          const program = await engine.load(workload.request);
          const samples: number[] = [];
          const endMs = performance.now() + turnMs;
          while (samples.length < leastRuns || performance.now() < endMs) {
            const run = await program.run(workload.inputs(program));
            samples.push(run.transferInMs + run.executeMs + run.transferOutMs);
            run.release?.();
          }
          engine.unload(program);
          byBatch[batch] = rounded(lowerQuartile(samples));
        }
        engineMs[form][bucket] = byBatch;
        progress(`${form}, bucket ${bucket}: ${JSON.stringify(byBatch)}`);
      }
    }
  } finally {
    await engine.close();
  }
  const solverMs = await measureSolver(progress);
  const { cpu, cores, node, date } = thisMachine();
  return { machine: `${cpu}, ${cores} cores, XLA on its CPU, Node ${node}, ${date}`, engineMs, solverMs };
}

async function measureSolver(progress: (line: string) => void): Promise<Record<string, number>> {
  const pool = createSolverPool({ threads: 1, clock: systemClock });
  const solverMs: Record<string, number> = {};
  try {
    for (const { count } of requestSizes) {
      const samples: number[] = [];
      for (let seed = 0; seed < leastRuns; seed++) {
        const problem = plainHardProblem(count, normalArray(count * count, seed), 'EXACT');
        const startMs = performance.now();
        await pool.solve(problem, { signal: new AbortController().signal });
        samples.push(performance.now() - startMs);
      }
      solverMs[count] = rounded(lowerQuartile(samples));
      progress(`exact, N=${count}: ${solverMs[count]} ms`);
    }
  } finally {
    await pool.close();
  }
  return solverMs;
}

function lowerQuartile(samples: readonly number[]): number {
  const ascending = [...samples].sort((a, b) => a - b);
  return ascending[Math.floor((ascending.length - 1) / 4)]!;
}

function rounded(ms: number): number {
  return Number(ms.toPrecision(3));
}
