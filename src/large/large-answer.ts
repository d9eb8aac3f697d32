/** Answers a large problem, on whatever thread this runs: consensus, projection and the soft plan in passes, then the hard assignment. */
import { solveSparse } from '../assignment/sparse-solve.js';
import { bilinearVectors, type SparseProblem } from '../assignment/sparse-problem.js';
import { CoordinatorError } from '../errors.js';
import { consensusOf } from './consensus.js';
import type { LargeProblem, LargeResult } from './large-messages.js';
import { projectRows } from './projection.js';
import { softTop } from './soft.js';

export interface LargeControl {
  /** Monotonic milliseconds. */
  nowMs(): number;
  cancelled(): boolean;
}

/** Part of the time left that the hard assignment may take; the rest is for the way back. */
const assignShare = 0.9;

/**
 * Throws CANCELLED where nobody waits, and DEADLINE_EXPIRED where the time is over before the hard assignment has begun; from
 * then on there is always an answer.
 */
export function answerLarge(problem: LargeProblem, control: LargeControl): LargeResult {
  const startMs = control.nowMs();
  const endMs = problem.timeLeftMs === null ? Infinity : startMs + problem.timeLeftMs;
  const look = (): void => {
    if (control.cancelled()) throw new CoordinatorError('CANCELLED', 'the call was cancelled');
    if (control.nowMs() > endMs) {
      throw new CoordinatorError('DEADLINE_EXPIRED', 'the deadline passed while the request was worked on');
    }
  };
  look();
  const { agentActive, states, projection, responses, consensus, soft } = problem;
  const resources = projection === null || states === null ? null : projectRows(states, agentActive, projection, look);
  const agreed =
    consensus === null || responses === null
      ? null
      : consensusOf(responses, agentActive, consensus, problem.rejectedAgents, look);
  const assignment = withVectors(problem);
  const plan = soft === null || assignment === null ? null : softTop(assignment, soft, look);
  look();
  const assignStartMs = control.nowMs();
  const hard =
    !problem.isHard || assignment === null
      ? null
      : solveSparse({ ...assignment, budgetMs: budgetOf(assignment, endMs - assignStartMs) }, control);
  const doneMs = control.nowMs();
  return {
    resources,
    consensus: agreed,
    soft: plan,
    hard,
    executeMs: assignStartMs - startMs,
    assignMs: doneMs - assignStartMs,
  };
}

function budgetOf({ budgetMs }: SparseProblem, timeLeftMs: number): number | null {
  if (timeLeftMs === Infinity) return budgetMs;
  const fromDeadline = Math.max(timeLeftMs, 0) * assignShare;
  return budgetMs === null ? fromDeadline : Math.min(budgetMs, fromDeadline);
}

function withVectors({ assignment, bilinear, agentActive }: LargeProblem): SparseProblem | null {
  if (assignment === null || bilinear === null || assignment.values.kind !== 'product') return assignment;
  const { weight } = bilinear;
  const agents = bilinearVectors(bilinear.agents, agentActive, weight.data, weight.rows, weight.columns);
  return { ...assignment, values: { ...assignment.values, agents } };
}
