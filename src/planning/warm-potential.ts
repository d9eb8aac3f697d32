/** Where a warm request's Sinkhorn iterations start: the last tick's column potentials, made safe for the form that runs. */
import { farthestStart } from '../operators/signature.js';
import type { AssignmentProblem, Problem, SinkhornForm } from '../problem.js';
import { slackOf } from './marginals.js';

/**
 * [M] in units of utility: new tasks at the mean of the known ones, masked ones at 0. Without slack a constant changes nothing,
 * so the largest is moved to 0. Null, a cold start, where nothing is known of the active tasks, or where they lie further
 * apart than the scaling form bears (its unit is the temperature; the log form's program limits them itself).
 */
export function warmPotential(
  problem: Problem,
  assignment: AssignmentProblem,
  form: SinkhornForm,
): Float32Array | null {
  const known = problem.warmStart?.columnPotential ?? null;
  if (known === null) return null;
  const { taskCount, taskActive } = problem;
  let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
  for (let j = 0; j < taskCount; j++) {
    const value = known[j]!;
    // Not a number: not known.
    if (taskActive[j] !== 1 || value !== value) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    sum += value;
    count++;
  }
  if (count === 0) return null;
  const origin = slackOf(problem, assignment).exists ? 0 : high;
  const farthest = Math.max(Math.abs(high - origin), Math.abs(low - origin));
  if (form === 'scaling' && farthest > farthestStart.scaling * assignment.temperature) return null;
  const mean = sum / count;
  const start = new Float32Array(taskCount);
  for (let j = 0; j < taskCount; j++) {
    if (taskActive[j] !== 1) continue;
    const value = known[j]!;
    start[j] = (value === value ? value : mean) - origin;
  }
  return start;
}
