/** Execution time of each operator's program in typical buckets, on the engine alone: no gRPC, no queue. */
import { availableParallelism } from 'node:os';
import { Registry } from 'prom-client';
import { packBatch } from '../../src/batching/pack.js';
import { systemClock } from '../../src/clock.js';
import type { Engine } from '../../src/engine/engine.js';
import { OnnxEngine } from '../../src/engine/onnx-engine.js';
import { createMetrics } from '../../src/metrics.js';
import { type Bucket, bucketName } from '../../src/operators/signature.js';
import { jobOf, parametersOf } from '../../src/planning/job-inputs.js';
import { specOf } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';
import type { AssignmentForm, Operator, Problem } from '../../src/problem.js';
import { normalArray } from './random-states.js';
import type { Cell } from './report.js';
import type { Section } from './section.js';
import { median } from './statistics.js';

const width = 64;
const measureMs = 300;
const leastRuns = 3;

interface Case {
  readonly name: string;
  readonly operators: readonly Operator[];
  readonly forms: readonly AssignmentForm[];
  /** 1 proves the scaling form safe for unit-normal states; a small one forces the log domain. */
  readonly temperature: number;
}

const cases: readonly Case[] = [
  { name: 'projection', operators: ['PROJECTION'], forms: [], temperature: 1 },
  { name: 'assignment, scaling', operators: ['ASSIGNMENT'], forms: ['PLAN'], temperature: 1 },
  { name: 'assignment, log', operators: ['ASSIGNMENT'], forms: ['PLAN'], temperature: 0.1 },
  { name: 'consensus', operators: ['CONSENSUS'], forms: [], temperature: 1 },
  { name: 'all, TOP_K', operators: ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'], forms: ['TOP_K'], temperature: 1 },
  { name: 'all, HARD', operators: ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'], forms: ['HARD'], temperature: 1 },
];

const sizes: readonly { readonly batch: number; readonly count: number; readonly bucket: number }[] = [
  { batch: 1, count: 100, bucket: 128 },
  { batch: 32, count: 100, bucket: 128 },
  { batch: 1, count: 1000, bucket: 1024 },
];

export const engineTime: Section = async (context) => {
  const metrics = createMetrics(new Registry());
  const intraOpThreads = Math.max(1, availableParallelism() - 1);
  const engine = new OnnxEngine({ clock: systemClock, metrics, intraOpThreads });
  const rows: Cell[][] = [];
  try {
    for (const { batch, count, bucket } of sizes) {
      for (const each of cases) {
        const problems = Array.from({ length: batch }, (_, slot) => problemOf(each, count, slot + 1));
        const result = await timeProgram(engine, problems, {
          batch,
          agents: bucket,
          tasks: each.operators.includes('ASSIGNMENT') ? bucket : 0,
        });
        rows.push([each.name, result.bucket, result.form, result.executeMs, result.executeMs / batch, result.loadMs]);
        context.progress(`${each.name}, ${result.bucket}: ${result.executeMs.toFixed(2)} ms`);
      }
    }
  } finally {
    await engine.close();
  }
  return {
    name: 'engine',
    title: 'Engine time per operator and bucket',
    method:
      `ONNX Runtime on the CPU with ${intraOpThreads} thread(s) in its worker, \`reference\` policy, d=${width}, N=M=100 in buckets of 128 and 1000 in 1024; ` +
      'medians of what the engine reports as execution. Load is tracing, lowering and loading. Times in ms.',
    tables: [{ columns: ['program', 'bucket', 'Sinkhorn', 'execute', 'a problem', 'load'], rows }],
    checks: [],
  };
};

async function timeProgram(
  engine: Engine,
  problems: readonly Problem[],
  bucket: Bucket,
): Promise<{ bucket: string; form: string; executeMs: number; loadMs: number }> {
  const [first] = problems;
  const spec = specOf(first!, { exactBudgetMs: null });
  if (spec === null) throw new Error('the problem needs no program');
  const loadStartMs = performance.now();
  const program = await engine.load({ spec, bucket, parameters: parametersOf(first!.policy) });
  const loadMs = performance.now() - loadStartMs;
  const jobs = problems.map((problem) => jobOf(problem, spec));
  const times: number[] = [];
  try {
    await program.run(packBatch(program.signature, bucket, jobs));
    const endMs = performance.now() + measureMs;
    while (times.length < leastRuns || performance.now() < endMs) {
      const { executeMs } = await program.run(packBatch(program.signature, bucket, jobs));
      times.push(executeMs);
    }
  } finally {
    engine.unload(program);
  }
  return { bucket: bucketName(bucket), form: spec.soft?.form ?? '-', executeMs: median(times), loadMs };
}

/** N=M=count unit-normal states under the `reference` policy. */
function problemOf({ operators, forms, temperature }: Case, count: number, seed: number): Problem {
  const policy = builtInPolicies().find(({ name }) => name === 'reference')!;
  const states = (offset: number) => ({
    rows: count,
    columns: width,
    data: normalArray(count * width, 2 * seed + offset),
  });
  const agents = states(0);
  const active = new Uint8Array(count).fill(1);
  const runs = (operator: Operator): boolean => operators.includes(operator);
  return {
    requestId: '',
    policy,
    agentCount: count,
    taskCount: runs('ASSIGNMENT') ? count : 0,
    agents,
    tasks: runs('ASSIGNMENT') ? states(1) : null,
    utility: null,
    responses: agents,
    agentIds: null,
    taskIds: null,
    agentActive: active,
    taskActive: runs('ASSIGNMENT') ? active : new Uint8Array(0),
    rejectedAgents: [],
    priority: 'NORMAL',
    forbidFallback: false,
    outputValues: false,
    projection: runs('PROJECTION') ? { resourceMax: policy.projection!.resourceMax, budget: null } : null,
    assignment: runs('ASSIGNMENT')
      ? {
          forms: new Set(forms),
          temperature,
          iterations: policy.defaults.iterations,
          topK: 8,
          bias: null,
          capacities: null,
          idleUtility: null,
          previous: null,
          keepBonus: 0,
          locks: null,
          solver: 'EXACT',
          solveBudgetMs: null,
        }
      : null,
    consensus: runs('CONSENSUS') ? { sigma: null, start: 'MEDOID', iterations: 10, groups: null } : null,
  };
}
