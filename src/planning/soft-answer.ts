/** A job's Sinkhorn outputs as the domain's answer. */
import type { JobResult } from '../batching/job.js';
import { CoordinatorError } from '../errors.js';
import type { SoftSpec } from '../operators/signature.js';
import type { Problem, SoftAnswer } from '../problem.js';
import type { TickParts } from '../warm-start.js';
import { outputOf } from './outputs.js';

/** Null where Sinkhorn ran for its duals only: nobody asked for a plan. */
export function softAnswerOf(problem: Problem, spec: SoftSpec, result: JobResult): SoftAnswer | null {
  if (!spec.plan && spec.topK === 0) return null;
  const { agentCount, taskCount } = problem;
  return {
    form: spec.form,
    iterations: spec.iterations,
    // + 0 turns -0 into 0.
    rowError: outputOf(result, 'row_error')[0]! + 0,
    columnError: outputOf(result, 'column_error')[0]! + 0,
    plan: spec.plan ? { rows: agentCount, columns: taskCount, data: outputOf(result, 'plan') } : null,
    topK: spec.topK === 0 ? null : topKOf(spec.topK, result),
    idleMass: spec.slack ? outputOf(result, 'idle_mass') : new Float32Array(agentCount),
  };
}

/** Where the iterations ended, for the next tick. */
export function sinkhornEnd({ iterations }: SoftSpec, result: JobResult): NonNullable<TickParts['sinkhorn']> {
  const marginalError = Math.max(outputOf(result, 'row_error')[0]!, outputOf(result, 'column_error')[0]!);
  return { columnPotential: outputOf(result, 'column_potential'), iterations, marginalError };
}

function topKOf(count: number, result: JobResult): NonNullable<SoftAnswer['topK']> {
  const tasks = result.outputs.get('top_k_tasks');
  if (!(tasks instanceof Int32Array)) throw new CoordinatorError('INTERNAL', 'program output top_k_tasks is missing');
  return { count, tasks, mass: outputOf(result, 'top_k_mass') };
}
