/**
 * Proves, cheaply and on the host, that Sinkhorn as scaling vectors is safe: range(U)/temperature is small and no pair is
 * forbidden (a part of the problem that forbidden pairs cut off may not balance, and its factors then grow without end).
 * A proof that fails costs speed, not correctness: the log domain answers instead.
 */
import type { AssignmentProblem, Matrix, Problem } from '../problem.js';
import { slackOf } from './marginals.js';
import { forbiddenUtility } from '../operators/signature.js';
import { rowSquares } from '../row-squares.js';
import { bilinearBound } from './bilinear-bound.js';

/** Kernel entries stay above e^-40 and scalings below e^40: every product is a normal float32 (e^87). */
const safeRangeOverTemperature = 40;
/** Larger matrices are not scanned on the event loop; they run in the log domain. */
const mostScannedPairs = 1 << 22;

interface Range {
  low: number;
  high: number;
}

export function provesScalingSafe(problem: Problem, assignment: AssignmentProblem): boolean {
  const allowed = safeRangeOverTemperature * assignment.temperature;
  if (problem.agentCount * problem.taskCount > mostScannedPairs) return false;
  const range = utilityRange(problem, allowed);
  if (range === null) return false;
  if (assignment.bias !== null) {
    const bias: Range = { low: 0, high: 0 };
    widen(bias, assignment.bias);
    range.low += bias.low;
    range.high += bias.high;
  }
  if (assignment.previous !== null) {
    range.low += Math.min(assignment.keepBonus, 0);
    range.high += Math.max(assignment.keepBonus, 0);
  }
  const slack = slackOf(problem, assignment);
  if (slack.exists) {
    // The slack corner has utility 0.
    for (const value of [0, slack.idle, slack.unserved]) {
      if (value <= forbiddenUtility) continue;
      range.low = Math.min(range.low, value);
      range.high = Math.max(range.high, value);
    }
  }
  return range.high - range.low <= allowed;
}

/** Bounds of U, or null where none is cheap: a computed distance is divided by a deviation that only the device knows. */
function utilityRange(problem: Problem, allowed: number): Range | null {
  if (problem.utility !== null) return givenRange(problem.utility, problem.agentActive);
  const { utility } = problem.policy;
  if (utility?.kind !== 'bilinear' || problem.agents === null || problem.tasks === null) return null;
  const scale = Math.sqrt(utility.weight.rows);
  const taskNorm = largestRowNorm(problem.tasks, problem.taskActive);
  // |U_ij| <= |a_i W| |t_j| / sqrt(d), so |a_i W| may be at most this.
  const norm = bilinearBound(utility.weight).largestImageNorm(
    problem.agents,
    problem.agentActive,
    (allowed * scale) / (2 * taskNorm),
  );
  const bound = (norm * taskNorm) / scale;
  return { low: -bound, high: bound };
}

/** -Infinity is a value of the range here, so a forbidden pair fails the proof. */
function givenRange(utility: Matrix, agentActive: Uint8Array): Range {
  const range: Range = { low: Infinity, high: -Infinity };
  const { rows, columns, data } = utility;
  for (let i = 0; i < rows; i++) {
    if (agentActive[i] === 1) widen(range, data.subarray(i * columns, (i + 1) * columns));
  }
  return range.low > range.high ? { low: 0, high: 0 } : range;
}

function widen(range: Range, values: Float32Array): void {
  let { low, high } = range;
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  range.low = low;
  range.high = high;
}

function largestRowNorm(matrix: Matrix, active: Uint8Array): number {
  const squares = matrix.rowSquares ?? rowSquares(matrix);
  let largest = 0;
  for (let i = 0; i < squares.length; i++) if (active[i] === 1 && squares[i]! > largest) largest = squares[i]!;
  return Math.sqrt(largest);
}
