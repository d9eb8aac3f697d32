/**
 * Which program a request needs. Everything here comes from the request (and its policy) alone, never from the
 * server's load, so that equal requests always run the same arithmetic. The request includes its warm start: what the tick before
 * needed decides how many Sinkhorn iterations a warm one runs (`warm-iterations.ts`). A cold one runs them all.
 */
import { paddedWidth } from '../batching/buckets.js';
import type { ConsensusSpec, ProgramSpec, SoftSpec } from '../operators/signature.js';
import type { Policy } from '../policies/policy.js';
import type { AssignmentProblem, Problem, SinkhornForm } from '../problem.js';
import { iterationCount } from '../warm-iterations.js';
import { provesScalingSafe } from './utility-range.js';
import { slackOf } from './marginals.js';
import { warmPotential } from './warm-potential.js';

/** What the request leaves of its time for the exact solver, or null where nothing bounds it. */
export interface TimeBudget {
  readonly exactBudgetMs: number | null;
}

/**
 * The program that answers everything but grouped consensus (see `groups.ts`), or null where the engine has nothing to
 * do: hard answers alone need no program where the utility is given, or a distance, which the solvers compute themselves.
 */
export function specOf(problem: Problem, budget: TimeBudget): ProgramSpec | null {
  const { assignment } = problem;
  const soft = assignment === null ? null : softSpecOf(problem, assignment, budget);
  const utilityOut =
    assignment !== null && assignment.forms.has('HARD') && problem.utility === null && isBilinear(problem.policy);
  const utility = soft !== null || utilityOut ? utilitySpecOf(problem) : null;
  const projection =
    problem.projection === null || problem.policy.projection === null
      ? null
      : { width: problem.policy.projection.weight.rows, kinds: problem.policy.projection.weight.columns };
  const consensus = consensusSpecOf(problem, projection?.width ?? null, utility);
  if (projection === null && utility === null && consensus === null) return null;
  const usesWeights = projection !== null || utility?.source === 'bilinear';
  return {
    parameters: usesWeights ? problem.policy.fingerprint : '',
    projection,
    utility,
    utilityOut,
    soft,
    consensus,
  };
}

/** The programs of a policy's default operators and forms, for typical requests: what the warm set is made of. */
export function defaultSpecs(policy: Policy): ProgramSpec[] {
  const { forms, iterations, start } = policy.defaults;
  const wantsSoft = forms.includes('PLAN') || forms.includes('TOP_K');
  const bilinear = policy.utility?.kind === 'bilinear' ? policy.utility.weight : null;
  const stateWidth = policy.projection?.weight.rows ?? bilinear?.rows ?? planarStateWidth;
  const soft: SoftSpec = {
    form: bilinear === null ? 'log' : 'scaling',
    iterations,
    bias: false,
    slack: false,
    plan: forms.includes('PLAN'),
    topK: forms.includes('TOP_K') ? defaultTopK : 0,
    potentials: false,
  };
  const utilityOut = isBilinear(policy) && forms.includes('HARD');
  const utility: ProgramSpec['utility'] =
    policy.utility === null || !(wantsSoft || utilityOut)
      ? null
      : bilinear === null
        ? { source: 'distance', width: paddedWidth(stateWidth) }
        : { source: 'bilinear', agentWidth: bilinear.rows, taskWidth: bilinear.columns };
  const responseWidth = paddedWidth(stateWidth);
  const inputWidth = policy.projection?.weight.rows ?? bilinear?.rows ?? responseWidth;
  return [
    {
      parameters: policy.projection !== null || bilinear !== null ? policy.fingerprint : '',
      projection:
        policy.projection === null
          ? null
          : { width: policy.projection.weight.rows, kinds: policy.projection.weight.columns },
      utility,
      utilityOut,
      soft: utility !== null && wantsSoft ? soft : null,
      consensus: {
        source: responseWidth === inputWidth ? 'agents' : 'responses',
        width: responseWidth,
        iterations: defaultConsensusIterations,
        start,
      },
    },
  ];
}

export const defaultTopK = 8;
export const defaultConsensusIterations = 10;
/** Positions in the plane or in space, where the policy does not fix a width. */
const planarStateWidth = 4;

function softSpecOf(problem: Problem, assignment: AssignmentProblem, budget: TimeBudget): SoftSpec | null {
  const plan = assignment.forms.has('PLAN');
  const topK = assignment.forms.has('TOP_K') ? assignment.topK : 0;
  const isAsked = plan || topK > 0;
  const potentials = needsDuals(problem, assignment, isAsked, budget);
  if (!isAsked && !potentials) return null;
  const form = provesScalingSafe(problem, assignment) ? 'scaling' : 'log';
  return {
    form,
    iterations: iterationsOf(problem, assignment, form),
    bias: assignment.bias !== null || keepsPrevious(assignment),
    slack: slackOf(problem, assignment).exists,
    plan,
    topK,
    potentials,
  };
}

/** The same program with every iteration that the request asks for; `spec` itself where it has them. */
export function withAllIterations(spec: ProgramSpec, { assignment }: Problem): ProgramSpec {
  if (spec.soft === null || assignment === null || spec.soft.iterations === assignment.iterations) return spec;
  return { ...spec, soft: { ...spec.soft, iterations: assignment.iterations } };
}

function iterationsOf(problem: Problem, assignment: AssignmentProblem, form: SinkhornForm): number {
  const { warmStart } = problem;
  if (warmStart === null || warmPotential(problem, assignment, form) === null) return assignment.iterations;
  return iterationCount(assignment.iterations, warmStart);
}

/** Whether the keep bonus changes any utility. */
export function keepsPrevious(assignment: AssignmentProblem): boolean {
  return assignment.previous !== null && assignment.keepBonus !== 0;
}

/** The exact solver's slowest measured inputs (500 agents near one corner), milliseconds per n^2 m with n <= m. */
const slowestExactMsPerUnit = 3e-7;
/** Above this many pairs Sinkhorn costs more than its duals are worth; the bound then starts from the utilities alone. */
const mostPairsForDuals = 2048 * 2048;

/**
 * Duals certify greedy answers. Where the exact solver may not fit its time, AUTO starts from them if Sinkhorn runs anyway: alone it takes a CPU as
 * long as they save, and that time is missing for the assignment.
 */
function needsDuals(
  problem: Problem,
  assignment: AssignmentProblem,
  runsSinkhorn: boolean,
  budget: TimeBudget,
): boolean {
  if (!assignment.forms.has('HARD')) return false;
  if (problem.agentCount * problem.taskCount > mostPairsForDuals) return false;
  if (assignment.solver === 'GREEDY') return true;
  if (!runsSinkhorn || assignment.solver === 'EXACT' || budget.exactBudgetMs === null) return false;
  const n = Math.min(problem.agentCount, problem.taskCount);
  const m = Math.max(problem.agentCount, problem.taskCount);
  return n * n * m * slowestExactMsPerUnit > budget.exactBudgetMs;
}

/** Otherwise what is computed from agents and tasks is their distance, which hard solvers compute themselves, whatever else a program does. */
function isBilinear({ utility }: Policy): boolean {
  return utility?.kind === 'bilinear';
}

function utilitySpecOf(problem: Problem): ProgramSpec['utility'] {
  if (problem.utility !== null) return { source: 'given' };
  if (problem.tasks === null) return null;
  const { utility } = problem.policy;
  if (utility?.kind === 'bilinear') {
    return { source: 'bilinear', agentWidth: utility.weight.rows, taskWidth: utility.weight.columns };
  }
  return { source: 'distance', width: paddedWidth(problem.tasks.columns) };
}

function consensusSpecOf(
  problem: Problem,
  projectionWidth: number | null,
  utility: ProgramSpec['utility'],
): ConsensusSpec | null {
  const { consensus, responses } = problem;
  if (consensus === null || responses === null || consensus.groups !== null) return null;
  const width = paddedWidth(responses.columns);
  const { iterations, start } = consensus;
  // The agents input can serve as responses where its columns are exactly the responses' (padding aside).
  const inputWidth =
    projectionWidth ??
    (utility?.source === 'bilinear' ? utility.agentWidth : utility?.source === 'distance' ? utility.width : width);
  const agentColumns = utility?.source === 'distance' ? problem.tasks?.columns : problem.agents?.columns;
  const shared = responses === problem.agents && inputWidth === width && agentColumns === responses.columns;
  return { source: shared ? 'agents' : 'responses', width, iterations, start };
}
