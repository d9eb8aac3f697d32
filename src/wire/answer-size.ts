/** How large an answer will be, known before any work is done for it. */
import { sizeLadder } from '../batching/buckets.js';
import { CoordinatorError } from '../errors.js';
import { isLarge } from '../large/large-messages.js';
import type { Problem } from '../problem.js';
import { longestWarmStartBytes } from '../warm-start-bytes.js';

/** Execution report, scalars, tags and lengths. */
const fixedBytes = 4096;
/** A packed index below 2^20. */
const indexBytes = 3;
/** Of a warm start, beside its arrays and ids. */
const warmStartOverheadBytes = 256;
/** Tag and length of a string. */
const textOverheadBytes = 6;

/**
 * An upper bound on the serialised answer, close where a tensor dominates. `values` are packed floats and take as many
 * bytes as `data` does.
 */
export function answerBytes(problem: Problem): number {
  const { agentCount: agents, taskCount: tasks, projection, assignment, consensus, responses } = problem;
  let bytes = fixedBytes + 3 * problem.requestId.length + indexBytes * problem.rejectedAgents.length;
  if (projection !== null) bytes += 4 * agents * projection.resourceMax.length;
  if (assignment !== null) {
    const { forms, topK } = assignment;
    const idBytes = textBytes(problem.agentIds) + textBytes(problem.taskIds);
    if (forms.has('HARD')) {
      bytes += indexBytes * (agents + tasks) + idBytes;
    }
    if (forms.has('PLAN')) bytes += 4 * agents * tasks;
    if (forms.has('TOP_K')) bytes += 8 * agents * topK;
    if (forms.has('PLAN') || forms.has('TOP_K')) bytes += 4 * agents;
    bytes += warmStartBytes(problem, idBytes);
  }
  if (consensus !== null && responses !== null) {
    const groups = consensus.groups === null ? 1 : largest(consensus.groups) + 1;
    bytes += 4 * groups * (responses.columns + 2) + (8 + indexBytes) * agents;
  }
  return bytes;
}

/** Tasks, prices, potentials, centroid and ids; a longer one is not sent. */
function warmStartBytes({ agentCount, taskCount, responses }: Problem, idBytes: number): number {
  const arrays = 4 * (agentCount + 2 * taskCount + (responses?.columns ?? 0));
  return Math.min(warmStartOverheadBytes + arrays + idBytes, longestWarmStartBytes);
}

/** @throws CoordinatorError SIZE_LIMIT where a whole plan is asked for beyond the largest bucket. */
export function checkPlanSize(problem: Problem): void {
  if (!isLarge(problem) || problem.assignment?.forms.has('PLAN') !== true) return;
  const largest = sizeLadder[sizeLadder.length - 1]!;
  throw CoordinatorError.field(
    'SIZE_LIMIT',
    'assignment.forms',
    `at most ${largest} agents and tasks for PLAN`,
    `N ${problem.agentCount}, M ${problem.taskCount}; ask for HARD or TOP_K`,
  );
}

/** @throws CoordinatorError ANSWER_TOO_LARGE where the answer might exceed `maxMessageBytes`. */
export function checkAnswerSize(problem: Problem, maxMessageBytes: number): void {
  const bytes = answerBytes(problem);
  if (bytes <= maxMessageBytes) return;
  const field = problem.assignment?.forms.has('PLAN') === true ? 'assignment.forms' : 'operators';
  throw CoordinatorError.field(
    'ANSWER_TOO_LARGE',
    field,
    `an answer of at most ${maxMessageBytes} bytes`,
    `a request whose answer takes about ${bytes} (N ${problem.agentCount}, M ${problem.taskCount})`,
  );
}

function textBytes(ids: readonly string[] | null): number {
  let bytes = 0;
  for (const id of ids ?? []) bytes += textOverheadBytes + Buffer.byteLength(id);
  return bytes;
}

function largest(values: Uint32Array): number {
  let result = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i]! > result) result = values[i]!;
  }
  return result;
}
