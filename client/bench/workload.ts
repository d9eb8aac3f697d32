/** The problems that engines are compared on: typical operators, forms and sizes under the `reference` policy. */
import { packBatch } from '../../src/batching/pack.js';
import type { Job } from '../../src/batching/job.js';
import type { LoadedProgram, ProgramRequest } from '../../src/engine/engine.js';
import { type ProgramSpec, programSignature, type TensorData } from '../../src/operators/signature.js';
import { jobOf, parametersOf } from '../../src/planning/job-inputs.js';
import { specOf } from '../../src/planning/spec.js';
import { builtInPolicies } from '../../src/policies/built-in.js';
import type { AssignmentForm, Operator, Problem } from '../../src/problem.js';
import { normalArray } from './random-states.js';

export const stateWidth = 64;

export interface Case {
  readonly name: string;
  readonly operators: readonly Operator[];
  readonly forms: readonly AssignmentForm[];
  /** 1 proves the scaling form safe for unit-normal states; a small one forces the log domain. */
  readonly temperature: number;
}

export const cases: readonly Case[] = [
  { name: 'projection', operators: ['PROJECTION'], forms: [], temperature: 1 },
  { name: 'assignment, scaling', operators: ['ASSIGNMENT'], forms: ['PLAN'], temperature: 1 },
  { name: 'assignment, log', operators: ['ASSIGNMENT'], forms: ['PLAN'], temperature: 0.1 },
  { name: 'consensus', operators: ['CONSENSUS'], forms: [], temperature: 1 },
  { name: 'all, TOP_K', operators: ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'], forms: ['TOP_K'], temperature: 1 },
  { name: 'all, HARD', operators: ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'], forms: ['HARD'], temperature: 1 },
];

export interface Size {
  readonly batch: number;
  /** Agents and tasks of each problem. */
  readonly count: number;
  /** Agents and tasks of the bucket. */
  readonly bucket: number;
}

export const sizes: readonly Size[] = [
  { batch: 1, count: 100, bucket: 128 },
  { batch: 32, count: 100, bucket: 128 },
  { batch: 1, count: 1000, bucket: 1024 },
];

/** A case in a size, ready to be loaded and run on any engine. */
export class Workload {
  readonly spec: ProgramSpec;
  readonly request: ProgramRequest;
  readonly #jobs: readonly Job[];

  constructor(each: Case, { batch, count, bucket }: Size) {
    const problems = Array.from({ length: batch }, (_, slot) => problemOf(each, count, slot + 1));
    const [first] = problems;
    const spec = specOf(first!, { exactBudgetMs: null });
    if (spec === null) throw new Error(`${each.name} needs no program`);
    this.spec = spec;
    this.request = {
      spec,
      bucket: { batch, agents: bucket, tasks: each.operators.includes('ASSIGNMENT') ? bucket : 0 },
      parameters: parametersOf(first!.policy),
    };
    this.#jobs = problems.map((problem) => jobOf(problem, spec));
  }

  /** Packed for a run, which takes them over: into memory that the program has to reuse, else into fresh arrays. */
  inputs(program?: LoadedProgram): readonly TensorData[] {
    const into = program?.takeInputs?.() ?? null;
    return packBatch(programSignature(this.spec), this.request.bucket, this.#jobs, into);
  }
}

/** N=M=count unit-normal states under the `reference` policy. */
function problemOf({ operators, forms, temperature }: Case, count: number, seed: number): Problem {
  const policy = builtInPolicies().find(({ name }) => name === 'reference')!;
  const states = (offset: number) => ({
    rows: count,
    columns: stateWidth,
    data: normalArray(count * stateWidth, 2 * seed + offset),
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
          maxChange: null,
        }
      : null,
    consensus: runs('CONSENSUS') ? { sigma: null, start: 'MEDOID', iterations: 10, groups: null } : null,
    warmStart: null,
  };
}
