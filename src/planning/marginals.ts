/** Target marginals and slack of the soft plan: `soft_assignment` of the executable specification, case by case. */
import { forbiddenUtility } from '../operators/signature.js';
import type { AssignmentProblem, Problem } from '../problem.js';

export interface Slack {
  readonly exists: boolean;
  /** Utility of an agent that stays idle; `forbiddenUtility` where agents may not. */
  readonly idle: number;
  /** Utility of room that stays free; `forbiddenUtility` where it may not. */
  readonly unserved: number;
}

const noSlack: Slack = { exists: false, idle: forbiddenUtility, unserved: forbiddenUtility };

/**
 * Neither capacities nor idle utility: none. Idle utility: both sides. Capacities alone: none where they add up to
 * the active agents, free room where there is more, idle agents where there is less.
 */
export function slackOf(problem: Problem, assignment: AssignmentProblem): Slack {
  const { capacities, idleUtility } = assignment;
  if (idleUtility !== null) return { exists: true, idle: Math.max(idleUtility, forbiddenUtility), unserved: 0 };
  if (capacities === null) return noSlack;
  let room = 0;
  for (let j = 0; j < problem.taskCount; j++) if (problem.taskActive[j] === 1) room += capacities[j]!;
  const need = countActive(problem.agentActive);
  if (room === need) return noSlack;
  return room > need
    ? { exists: true, idle: forbiddenUtility, unserved: 0 }
    : { exists: true, idle: 0, unserved: forbiddenUtility };
}

/** [M] column targets: capacities; 1 each with an idle utility; otherwise N_active / M_active. 0 for masked tasks. */
export function columnMass(problem: Problem, assignment: AssignmentProblem): Float32Array {
  const { capacities, idleUtility } = assignment;
  const mass = new Float32Array(problem.taskCount);
  const even =
    idleUtility !== null ? 1 : countActive(problem.agentActive) / Math.max(countActive(problem.taskActive), 1);
  for (let j = 0; j < mass.length; j++) {
    if (problem.taskActive[j] === 1) mass[j] = capacities === null ? even : capacities[j]!;
  }
  return mass;
}

export function countActive(active: Uint8Array): number {
  let count = 0;
  for (const one of active) count += one;
  return count;
}
