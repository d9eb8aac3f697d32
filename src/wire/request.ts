/** A CoordinateRequest message as a validated Problem. */
import { CoordinatorError } from '../errors.js';
import type { Policy, PolicySource } from '../policies/policy.js';
import type {
  ConsensusProblem,
  ConsensusStart,
  Matrix,
  Operator,
  Priority,
  Problem,
  ProjectionProblem,
} from '../problem.js';
import { checkAnswerSize, checkPlanSize } from './answer-size.js';
import { decodeAssignmentOptions, largestIterationCount } from './assignment-options.js';
import { amounts, countUpTo, enumSet, enumValue, identifiers, indices, positiveNumber, shortText } from './fields.js';
import { checkPairUtilities, checkTaskStates, isRowBroken, measured } from './finite.js';
import type {
  ConsensusOptionsMessage,
  CoordinateRequestMessage,
  ProjectionOptionsMessage,
  TensorMessage,
} from './messages.js';
import { decodeTickState, warmStartFor } from '../warm-start.js';
import { type Dimension, decodeBooleans, decodeFloats, isGiven } from './tensor.js';

export interface RequestLimits {
  /** Most agents and tasks; the largest width of a bucket. */
  readonly maxAgents: number;
  readonly maxTasks: number;
  readonly maxWidth: number;
  /** `largestIterationCount` where left out. */
  readonly maxIterations?: number;
  /** Most elements of one tensor. */
  readonly maxTensorElements: number;
  /** Largest serialised answer. */
  readonly maxMessageBytes: number;
}

export interface RequestContext {
  readonly policies: PolicySource;
  readonly limits: RequestLimits;
}

export const longestRequestIdBytes = 1024;
export const defaultConsensusIterations = 10;

const operatorNames: readonly Operator[] = ['PROJECTION', 'ASSIGNMENT', 'CONSENSUS'];
const priorityNames: readonly Priority[] = ['NORMAL', 'LOW', 'HIGH'];
const startNames: readonly ConsensusStart[] = ['MEDOID', 'MEAN'];

/**
 * Validates a request and applies all defaults. Matrices of the problem borrow the message's memory where they can.
 * What is masked counts as absent, so the numbers of masked agents and tasks are not looked at; the options of an
 * operator that does not run are not looked at either. `seed` and `supersede` have no effect here. A
 * `warm_start` that is damaged, of another version or foreign to the request is as if absent.
 *
 * @throws CoordinatorError of any code with status INVALID_ARGUMENT, OUT_OF_RANGE, NOT_FOUND (the policy) or
 *   FAILED_PRECONDITION (weights that the policy lacks), naming the field. Work is bounded by the message's own size.
 */
export function decodeRequest(message: CoordinateRequestMessage, { policies, limits }: RequestContext): Problem {
  const { maxIterations = largestIterationCount } = limits;
  const requestId = shortText('request_id', message.requestId, longestRequestIdBytes);
  const priority = enumValue('priority', message.priority, priorityNames);
  const policy = policies.get(message.policy === '' ? policies.defaultName : message.policy);
  const given = decodeTensors(message, limits);
  const { agentCount, taskCount, agents, responses, agentActive, taskActive } = given;
  const agentIds = identifiers('agent_ids', message.agentIds, agentCount);
  const taskIds = identifiers('task_ids', message.taskIds, taskCount);
  const rejectedAgents = rejectBrokenAgents(agents, responses, agentActive);
  const tasks = given.tasks === null ? null : checkTaskStates('tasks', given.tasks, taskActive);
  const utility = given.utility === null ? null : checkedUtility(given.utility, agentActive, taskActive);

  const operators = chooseOperators(message, policy, { agents, tasks, utility, responses });
  const runsAssignment = operators.has('ASSIGNMENT');
  if (runsAssignment && utility === null) checkUtilityWidths(policy, agents!, tasks!);
  const problem: Problem = {
    requestId,
    policy,
    agentCount,
    taskCount,
    agents,
    tasks: runsAssignment ? tasks : null,
    utility: runsAssignment ? utility : null,
    responses: responses ?? agents,
    agentIds,
    taskIds,
    agentActive,
    taskActive,
    rejectedAgents,
    priority,
    forbidFallback: message.forbidFallback,
    outputValues: message.outputValues,
    projection: operators.has('PROJECTION') ? decodeProjection(message.projection, policy, agents!) : null,
    assignment: runsAssignment
      ? decodeAssignmentOptions(message.assignment, {
          agentActive,
          taskActive,
          utility,
          defaults: policy.defaults,
          maxTensorElements: limits.maxTensorElements,
          maxIterations,
        })
      : null,
    consensus: operators.has('CONSENSUS')
      ? decodeConsensus(message.consensus, policy, agentCount, maxIterations)
      : null,
    warmStart: null,
  };
  checkPlanSize(problem);
  checkAnswerSize(problem, limits.maxMessageBytes);
  const bytes = message.assignment?.warmStart ?? noBytes;
  return bytes.length === 0 ? problem : warmed(problem, bytes);
}

const noBytes: Uint8Array = new Uint8Array(0);

function warmed(problem: Problem, bytes: Uint8Array): Problem {
  const state = problem.assignment === null ? null : decodeTickState(bytes);
  const warmStart = state === null ? null : warmStartFor(state, problem);
  return warmStart === null ? problem : { ...problem, warmStart };
}

interface GivenTensors {
  readonly agentCount: number;
  /** 0: neither tasks nor utility. */
  readonly taskCount: number;
  readonly agents: Matrix | null;
  readonly tasks: Matrix | null;
  readonly utility: Matrix | null;
  readonly responses: Matrix | null;
  /** The masks, all 1 where not given. Owned: rejected agents are cleared in it later. */
  readonly agentActive: Uint8Array;
  readonly taskActive: Uint8Array;
}

/** The request's tensors, whose N and M agree; what they hold is not looked at. */
function decodeTensors(message: CoordinateRequestMessage, limits: RequestLimits): GivenTensors {
  const maxElements = limits.maxTensorElements;
  const width = (name: string): Dimension => ({ name, max: limits.maxWidth });
  const matrix = (field: string, tensor: TensorMessage | null, rows: Dimension, columns: Dimension): Matrix | null => {
    if (!isGiven(tensor)) return null;
    const { shape, data } = decodeFloats(field, tensor, { shape: [rows, columns], maxElements });
    return { rows: shape[0]!, columns: shape[1]!, data };
  };
  if (isGiven(message.tasks) && isGiven(message.utility)) {
    throw CoordinatorError.field('REQUEST_INVALID', 'tasks', '`tasks` or `utility`', 'both');
  }
  const freeAgents: Dimension = { name: 'N', max: limits.maxAgents };
  const freeTasks: Dimension = { name: 'M', max: limits.maxTasks };
  const states = (field: string, tensor: TensorMessage | null, rows: Dimension, columns: Dimension): Matrix | null => {
    const found = matrix(field, tensor, rows, columns);
    return found === null ? null : measured(found);
  };
  const agents = states('agents', message.agents, freeAgents, width('d'));
  const utility = matrix('utility', message.utility, agents?.rows ?? freeAgents, freeTasks);
  const responses = states('responses', message.responses, agents?.rows ?? utility?.rows ?? freeAgents, width('r'));
  const tasks = matrix('tasks', message.tasks, freeTasks, width('e'));
  const agentCount = agents?.rows ?? utility?.rows ?? responses?.rows;
  if (agentCount === undefined) {
    throw CoordinatorError.field('REQUEST_INVALID', 'agents', '`agents`, `utility` or `responses`', 'none of them');
  }
  const taskCount = tasks?.rows ?? utility?.columns ?? 0;
  if (taskCount === 0 && isGiven(message.taskMask)) {
    throw CoordinatorError.field('REQUEST_INVALID', 'task_mask', '`tasks` or `utility` beside it', 'neither');
  }
  return {
    agentCount,
    taskCount,
    agents,
    tasks,
    utility,
    responses,
    agentActive: decodeMask('agent_mask', message.agentMask, agentCount),
    taskActive: decodeMask('task_mask', message.taskMask, taskCount),
  };
}

function decodeMask(field: string, tensor: TensorMessage | null, length: number): Uint8Array {
  const active = new Uint8Array(length);
  if (!isGiven(tensor)) return active.fill(1);
  const mask = decodeBooleans(field, tensor, { shape: [length] });
  for (let i = 0; i < length; i++) active[i] = mask[i] === 0 ? 0 : 1;
  return active;
}

/** Clears active agents whose state or response is not a usable number; returns their indices, ascending. */
function rejectBrokenAgents(agents: Matrix | null, responses: Matrix | null, agentActive: Uint8Array): number[] {
  const rejected: number[] = [];
  for (let i = 0; i < agentActive.length; i++) {
    if (agentActive[i] === 0) continue;
    if ((agents !== null && isRowBroken(agents, i)) || (responses !== null && isRowBroken(responses, i))) {
      agentActive[i] = 0;
      rejected.push(i);
    }
  }
  return rejected;
}

function checkedUtility(utility: Matrix, agentActive: Uint8Array, taskActive: Uint8Array): Matrix {
  const data = checkPairUtilities('utility', utility.data, agentActive, taskActive);
  return data === utility.data ? utility : { ...utility, data };
}

type Inputs = Pick<GivenTensors, 'agents' | 'tasks' | 'utility' | 'responses'>;

/** The operators asked for, which inputs and policy must allow, or all that they allow. Never empty. */
function chooseOperators(message: CoordinateRequestMessage, policy: Policy, inputs: Inputs): ReadonlySet<Operator> {
  const asked = enumSet('operators', message.operators, operatorNames);
  if (asked === null) {
    return new Set(operatorNames.filter((operator) => obstacle(operator, policy, inputs) === null));
  }
  for (const operator of asked) {
    const errorOf = obstacle(operator, policy, inputs);
    if (errorOf !== null) throw errorOf();
  }
  return asked;
}

/** Why an operator cannot run, or null. A missing input comes before missing weights. Errors cost much beside decoding: most are never made. */
function obstacle(operator: Operator, policy: Policy, inputs: Inputs): (() => CoordinatorError) | null {
  const { agents, tasks, utility, responses } = inputs;
  switch (operator) {
    case 'PROJECTION':
      if (agents === null) return missingInput('agents', operator);
      return policy.projection === null ? missingWeights(policy, operator, 'projection.weight') : null;
    case 'ASSIGNMENT':
      if (utility !== null) return null;
      if (tasks === null) return missingInput('tasks', operator, ' or `utility`');
      if (agents === null) return missingInput('agents', operator);
      return policy.utility === null ? missingWeights(policy, operator, 'assignment.bilinear') : null;
    case 'CONSENSUS':
      return agents === null && responses === null ? missingInput('responses', operator, ' or `agents`') : null;
  }
}

function missingInput(field: string, operator: Operator, alternative = ''): () => CoordinatorError {
  return () => CoordinatorError.field('REQUEST_INVALID', field, `\`${field}\`${alternative} for ${operator}`, 'none');
}

function missingWeights(policy: Policy, operator: Operator, weights: string): () => CoordinatorError {
  return () => {
    const message = `policy \`${policy.name}\` has no ${weights}, which ${operator} needs`;
    return new CoordinatorError('WEIGHTS_MISSING', message, {
      violations: [{ field: 'policy', description: message }],
    });
  };
}

/** Padding must not change the answer, so widths that meet weights are exact, and distances are taken over e of d columns. */
function checkUtilityWidths(policy: Policy, agents: Matrix, tasks: Matrix): void {
  if (policy.utility?.kind === 'bilinear') {
    const { weight } = policy.utility;
    checkWidth('agents', agents, weight.rows, policy);
    checkWidth('tasks', tasks, weight.columns, policy);
  } else if (tasks.columns > agents.columns) {
    const expected = `a width of at most ${agents.columns}, that of \`agents\``;
    throw CoordinatorError.field('TENSOR_SHAPE', 'tasks', expected, String(tasks.columns));
  }
}

function checkWidth(field: string, matrix: Matrix, width: number, policy: Policy): void {
  if (matrix.columns === width) return;
  const expected = `a width of ${width}, that of policy \`${policy.name}\``;
  throw CoordinatorError.field('TENSOR_SHAPE', field, expected, String(matrix.columns));
}

function decodeProjection(options: ProjectionOptionsMessage | null, policy: Policy, agents: Matrix): ProjectionProblem {
  const weights = policy.projection!;
  checkWidth('agents', agents, weights.weight.rows, policy);
  const kinds = weights.weight.columns;
  const resourceMax = options?.resourceMax ?? [];
  const budget = options?.budget ?? [];
  return {
    resourceMax:
      resourceMax.length === 0 ? weights.resourceMax : amounts('projection.resource_max', resourceMax, kinds),
    budget: budget.length === 0 ? null : amounts('projection.budget', budget, kinds),
  };
}

function decodeConsensus(
  options: ConsensusOptionsMessage | null,
  policy: Policy,
  agentCount: number,
  maxIterations: number,
): ConsensusProblem {
  const { sigma, start } = policy.defaults;
  if (options === null) return { sigma, start, iterations: defaultConsensusIterations, groups: null };
  const { iterations, groups } = options;
  return {
    sigma: options.sigma === undefined ? sigma : positiveNumber('consensus.sigma', options.sigma),
    start:
      options.start === 'CONSENSUS_START_UNSPECIFIED' ? start : enumValue('consensus.start', options.start, startNames),
    iterations:
      iterations === 0 ? defaultConsensusIterations : countUpTo('consensus.iterations', iterations, maxIterations),
    groups:
      groups.length === 0 ? null : new Uint32Array(indices('consensus.groups', groups, agentCount, 0, agentCount - 1)),
  };
}
