/** A call beyond every bucket, as the coordinator answers it: one trip to the thread for large problems. */
import type { CancelSignal } from '../cancellation.js';
import type { Clock } from '../clock.js';
import { CoordinatorError } from '../errors.js';
import type { Metrics } from '../metrics.js';
import { churnOf, hardAnswerOf } from '../planning/hard-problem.js';
import type { Answer, Problem, StageName } from '../problem.js';
import { tickStateOf } from '../warm-start.js';
import { largeProblemOf } from './large-problem.js';
import type { LargeSolver, TimedResult } from './large-solver.js';

export interface LargeCallOptions {
  readonly large: LargeSolver;
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly engine: { readonly name: string; readonly device: string };
}

export interface LargeCallContext {
  readonly deadlineMs: number;
  readonly signal: CancelSignal;
  readonly decodeMs: number;
  readonly onBegun?: () => void;
}

/** Answers `problem`, or rejects with a CoordinatorError. */
export async function answerLargeCall(
  problem: Problem,
  context: LargeCallContext,
  options: LargeCallOptions,
): Promise<Answer> {
  const { clock, metrics, engine } = options;
  const { deadlineMs, signal, decodeMs } = context;
  context.onBegun?.();
  const result = await options.large.solve(largeProblemOf(problem), { deadlineMs, signal });
  if (clock.nowMs() > deadlineMs) {
    throw new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed before the answer was ready');
  }
  const { resources, consensus } = result;
  const soft = result.soft?.answer ?? null;
  const hard = result.hard === null ? null : hardAnswerOf(problem, result.hard);
  const churn = hard === null ? 0 : churnOf(problem, hard.taskOfAgent);
  if (soft !== null) metrics.marginalError.observe(Math.max(soft.rowError, soft.columnError));
  if (hard !== null) {
    metrics.stageDuration.observe({ stage: 'assign' }, result.assignMs / 1000);
    metrics.assignmentGap.observe(hard.gap);
    metrics.assignmentSolver.inc({ solver: hard.solver });
    if (problem.assignment?.previous != null) metrics.churnRatio.observe(churn);
  }
  if (consensus !== null) metrics.outlierRatio.observe(consensus.outliers.length / problem.agentCount);
  const sinkhorn =
    result.soft === null || soft === null
      ? null
      : {
          columnPotential: result.soft.columnPotential,
          iterations: soft.iterations,
          marginalError: Math.max(soft.rowError, soft.columnError),
        };
  const warmStartUsed = result.hard?.warmStartUsed === true;
  return {
    requestId: problem.requestId,
    resources,
    assignment: problem.assignment === null ? null : { hard, soft, churn, warmStartUsed },
    consensus,
    rejectedAgents: problem.rejectedAgents,
    execution: {
      engine: engine.name,
      device: engine.device,
      bucket: `sparse n${problem.agentCount} m${problem.taskCount}`,
      batchSize: 1,
      policyVersion: problem.policy.version,
      executableFingerprint: '',
      stages: stagesOf(decodeMs, result),
    },
    tick: tickStateOf({ hard, sinkhorn, consensus }, problem),
  };
}

function stagesOf(
  decodeMs: number,
  { queueMs, executeMs, assignMs, hard }: TimedResult,
): Answer['execution']['stages'] {
  const stages: [StageName, number][] = [
    ['decode', decodeMs],
    ['queue', queueMs],
    ['execute', executeMs],
  ];
  if (hard !== null) stages.push(['assign', assignMs]);
  return stages.map(([stage, ms]) => ({ stage, microseconds: Math.max(ms, 0) * 1000 }));
}
