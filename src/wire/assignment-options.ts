/** AssignmentOptions as an AssignmentProblem. */
import { CoordinatorError } from '../errors.js';
import type { PolicyDefaults } from '../policies/policy.js';
import type { AssignmentForm, AssignmentProblem, Matrix } from '../problem.js';
import { countUpTo, enumSet, enumValue, finiteNumber, indices, positiveNumber } from './fields.js';
import { checkPairUtilities } from './finite.js';
import type { AssignmentOptionsMessage, SolverName } from './messages.js';
import { decodeBooleans, decodeFloats, isGiven } from './tensor.js';

export const defaultTopK = 8;
export const largestIterationCount = 1000;

const formNames: readonly AssignmentForm[] = ['HARD', 'TOP_K', 'PLAN'];
const solverNames: readonly SolverName[] = ['AUTO', 'EXACT', 'AUCTION', 'GREEDY'];

/** What the options are checked against. */
export interface AssignmentScope {
  /** [N], [M]: neither masked nor rejected; not masked. */
  readonly agentActive: Uint8Array;
  readonly taskActive: Uint8Array;
  /** [N,M] where the caller gave it. */
  readonly utility: Matrix | null;
  readonly defaults: PolicyDefaults;
  readonly maxTensorElements: number;
  readonly maxIterations: number;
}

const noOptions: AssignmentOptionsMessage = {
  forms: [],
  temperature: 0,
  iterations: 0,
  topK: 0,
  bias: null,
  forbidden: null,
  capacities: [],
  previous: [],
  keepBonus: 0,
  locks: [],
  solver: 'AUTO',
  solveBudgetUs: 0,
  warmStart: new Uint8Array(0),
};

/** Validates and applies defaults; a null message is an empty one. Throws CoordinatorErrors that name `assignment.*`. */
export function decodeAssignmentOptions(
  message: AssignmentOptionsMessage | null,
  scope: AssignmentScope,
): AssignmentProblem {
  const options = message ?? noOptions;
  const { agentActive, taskActive, defaults } = scope;
  const agentCount = agentActive.length;
  const taskCount = taskActive.length;
  const { capacities, previous, temperature, iterations, idleUtility } = options;
  if (capacities.length > 0) indices('assignment.capacities', capacities, taskCount, 0, 0xffffffff);
  if (previous.length > 0) indices('assignment.previous', previous, agentCount, -1, taskCount - 1);
  const bias = decodeBias(options, scope);
  return {
    forms: enumSet('assignment.forms', options.forms, formNames) ?? new Set(defaults.forms),
    temperature: temperature === 0 ? defaults.temperature : positiveNumber('assignment.temperature', temperature),
    iterations:
      iterations === 0 ? defaults.iterations : countUpTo('assignment.iterations', iterations, scope.maxIterations),
    topK: Math.min(options.topK === 0 ? defaultTopK : options.topK, taskCount),
    bias,
    capacities: capacities.length === 0 ? null : new Uint32Array(capacities),
    idleUtility: idleUtility === undefined ? null : finiteNumber('assignment.idle_utility', idleUtility),
    previous: previous.length === 0 ? null : new Int32Array(previous),
    keepBonus: finiteNumber('assignment.keep_bonus', options.keepBonus),
    locks: options.locks.length === 0 ? null : decodeLocks(options, scope, bias),
    solver: enumValue('assignment.solver', options.solver, solverNames),
    solveBudgetMs: options.solveBudgetUs === 0 ? null : options.solveBudgetUs / 1000,
    maxChange: options.maxChange === undefined ? null : decodeMaxChange(options.maxChange),
  };
}

const maxChangeField = 'assignment.max_change';

function decodeMaxChange(share: number): number {
  // Also false for NaN.
  if (!(share >= 0 && share <= 1))
    throw CoordinatorError.field('REQUEST_INVALID', maxChangeField, 'a share from 0 to 1', String(share));
  return share;
}

/** Of a call on its own; a stream knows what was before. Throws REQUEST_INVALID where `max_change` has nothing to be counted from. */
export function assertChangeIsKnown(assignment: AssignmentProblem | null): void {
  if (assignment === null || assignment.maxChange === null || assignment.previous !== null) return;
  throw CoordinatorError.field('REQUEST_INVALID', maxChangeField, 'assignment.previous beside it', 'none');
}

/** `bias` with `forbidden` folded in as -Infinity, [N,M]; null where neither is given. */
function decodeBias(options: AssignmentOptionsMessage, scope: AssignmentScope): Float32Array | null {
  const { agentActive, taskActive, maxTensorElements } = scope;
  const expectation = { shape: [agentActive.length, taskActive.length], maxElements: maxTensorElements };
  let bias: Float32Array | null = null;
  if (isGiven(options.bias)) {
    const { data } = decodeFloats('assignment.bias', options.bias, expectation);
    bias = checkPairUtilities('assignment.bias', data, agentActive, taskActive);
  }
  if (!isGiven(options.forbidden)) return bias;
  const forbidden = decodeBooleans('assignment.forbidden', options.forbidden, expectation);
  // The bias may be a view of the message, which is not ours to write to.
  const folded = bias === null ? new Float32Array(forbidden.length) : bias.slice();
  for (let i = 0; i < forbidden.length; i++) {
    if (forbidden[i] !== 0) folded[i] = -Infinity;
  }
  return folded;
}

/** Locks [N] that can all be kept at once. Those of inactive agents are within range and otherwise not looked at. */
function decodeLocks(options: AssignmentOptionsMessage, scope: AssignmentScope, bias: Float32Array | null): Int32Array {
  const { agentActive, taskActive, utility } = scope;
  const taskCount = taskActive.length;
  const locks = new Int32Array(indices('assignment.locks', options.locks, agentActive.length, -2, taskCount - 1));
  const locked = new Uint32Array(taskCount);
  for (let i = 0; i < locks.length; i++) {
    const task = locks[i]!;
    if (task < 0 || agentActive[i] === 0) continue;
    const pair = i * taskCount + task;
    if (taskActive[task] === 0) throw contradictoryLock(i, 'a task that is not masked', `${task} (masked)`);
    if (utility?.data[pair] === -Infinity || bias?.[pair] === -Infinity) {
      throw contradictoryLock(i, 'a pair that is not forbidden', `${task} (forbidden)`);
    }
    const capacity = options.capacities[task] ?? 1;
    locked[task] = locked[task]! + 1;
    if (locked[task] > capacity) {
      throw contradictoryLock(
        i,
        `at most ${capacity} agents locked to task ${task}, its capacity`,
        String(locked[task]),
      );
    }
  }
  return locks;
}

function contradictoryLock(agent: number, expected: string, received: string): CoordinatorError {
  return CoordinatorError.field('REQUEST_INVALID', `assignment.locks[${agent}]`, expected, received);
}
