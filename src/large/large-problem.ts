/** A large request as its worker gets it. */
import type { PairValues, SparseProblem } from '../assignment/sparse-problem.js';
import { CoordinatorError } from '../errors.js';
import { demandsOf } from '../planning/hard-problem.js';
import { columnMass, slackOf } from '../planning/marginals.js';
import type { AssignmentProblem, Matrix, Problem } from '../problem.js';
import type { LargeProblem } from './large-messages.js';

const noNumbers = new Float32Array(0);

/** Borrows the problem's arrays. */
export function largeProblemOf(problem: Problem): Omit<LargeProblem, 'timeLeftMs'> {
  const { policy, assignment, consensus, projection } = problem;
  const weights = policy.projection;
  const bilinear = policy.utility?.kind === 'bilinear' && problem.utility === null ? policy.utility.weight : null;
  const wantsTop = assignment?.forms.has('TOP_K') === true;
  return {
    agentActive: problem.agentActive,
    rejectedAgents: problem.rejectedAgents,
    states: projection === null ? null : bare(problem.agents),
    projection:
      projection === null || weights === null
        ? null
        : { weight: bare(weights.weight)!, bias: weights.bias, ...projection },
    responses: consensus === null ? null : bare(problem.responses),
    consensus,
    assignment: assignment === null ? null : sparseOf(problem, assignment),
    bilinear:
      assignment === null || bilinear === null ? null : { agents: problem.agents!.data, weight: bare(bilinear)! },
    soft:
      assignment === null || !wantsTop
        ? null
        : {
            temperature: assignment.temperature,
            iterations: assignment.iterations,
            topK: assignment.topK,
            columnMass: columnMass(problem, assignment),
            slack: slackOf(problem, assignment),
            isScaled: problem.utility === null && bilinear === null,
          },
    isHard: assignment?.forms.has('HARD') === true,
  };
}

function sparseOf(problem: Problem, assignment: AssignmentProblem): SparseProblem {
  return {
    ...demandsOf(problem, assignment, assignment.solveBudgetMs),
    values: valuesOf(problem),
    taskPrices: problem.warmStart?.taskPrices ?? null,
  };
}

function valuesOf({ utility, agents, tasks, policy }: Problem): PairValues {
  if (utility !== null) return { kind: 'given', utility: utility.data };
  if (agents === null || tasks === null) throw new CoordinatorError('INTERNAL', 'an assignment of nothing');
  if (policy.utility?.kind === 'bilinear') {
    return { kind: 'product', agents: noNumbers, tasks: tasks.data, width: tasks.columns };
  }
  return { kind: 'distance', agents: agents.data, stride: agents.columns, tasks: tasks.data, width: tasks.columns };
}

/** Without what was measured of it. */
function bare(matrix: Matrix | null): Matrix | null {
  return matrix === null ? null : { rows: matrix.rows, columns: matrix.columns, data: matrix.data };
}
