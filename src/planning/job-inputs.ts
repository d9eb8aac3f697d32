/** A problem's share of a batch: every input that its program's signature names, unpadded. */
import type { Job, JobTensor } from '../batching/job.js';
import type { Parameters } from '../engine/engine.js';
import { hasTaskAxis, noBudget, specKey, type ProgramSpec } from '../operators/signature.js';
import type { Policy } from '../policies/policy.js';
import type { AssignmentProblem, Matrix, Problem } from '../problem.js';
import { addConsensusInputs } from './consensus-inputs.js';
import { columnMass, countActive, slackOf } from './marginals.js';
import { keepsPrevious } from './spec.js';
import { warmPotential } from './warm-potential.js';

/** The standard deviation of a computed utility is taken over about this many pairs. */
const mostSpreadPairs = 1_000_000;

/** What a problem becomes. */
export interface PlannedJob extends Job {
  /** Whether its inputs hold anything of the problem's warm start. */
  readonly warmStartUsed: boolean;
}

/** The job that runs `spec` (made by `specOf` from the same problem). Borrows the problem's arrays; copies none of them. */
export function jobOf(problem: Problem, spec: ProgramSpec): PlannedJob {
  const inputs = new Map<string, JobTensor>();
  const { agents, assignment, agentActive, agentCount } = problem;
  const activeAgents = asFloats(agentActive);
  inputs.set('agent_mask', vector(activeAgents));
  if (agents !== null) {
    // A distance compares the first e columns of the states; everything else reads whole rows.
    const columns =
      spec.utility?.source === 'distance' && problem.tasks !== null ? problem.tasks.columns : agents.columns;
    inputs.set('agents', {
      rows: agentCount,
      columns,
      data: agents.data,
      rowMask: agentActive,
      rowStride: agents.columns,
    });
  }
  if (problem.projection !== null) {
    const { resourceMax, budget } = problem.projection;
    inputs.set('resource_max', vector(resourceMax));
    inputs.set('budget', vector(budget ?? new Float32Array(resourceMax.length).fill(noBudget)));
  }
  if (spec.utility !== null) {
    if (problem.tasks !== null) inputs.set('tasks', { ...matrix(problem.tasks), rowMask: problem.taskActive });
    if (problem.utility !== null) inputs.set('utility', { ...matrix(problem.utility), rowMask: agentActive });
  }
  let warmStartUsed = false;
  if (spec.soft !== null && assignment !== null) {
    addSoftInputs(inputs, problem, assignment, spec, activeAgents);
    const start = warmPotential(problem, assignment, spec.soft.form);
    inputs.set('initial_column_potential', vector(start ?? constants(problem.taskCount, 0)));
    warmStartUsed = start !== null;
  }
  if (spec.consensus !== null && problem.consensus !== null && problem.responses !== null) {
    const { start } = problem.consensus;
    const lastCentroid = start === 'MEDOID' ? (problem.warmStart?.centroid ?? null) : null;
    const shared = spec.consensus.source === 'agents';
    addConsensusInputs(inputs, problem.responses, agentActive, problem.consensus, shared, lastCentroid);
    warmStartUsed ||= lastCentroid !== null;
  }
  return {
    spec,
    key: specKey(spec),
    parameters: parametersOf(problem.policy),
    agentCount,
    taskCount: hasTaskAxis(spec) ? problem.taskCount : 0,
    inputs,
    warmStartUsed,
  };
}

const parametersByPolicy = new WeakMap<Policy, Parameters>();

/** The weights that programs of this policy bind. */
export function parametersOf(policy: Policy): Parameters {
  let parameters = parametersByPolicy.get(policy);
  if (parameters === undefined) {
    const named = new Map<'projection_weight' | 'projection_bias' | 'bilinear', Float32Array>();
    if (policy.projection !== null) {
      named.set('projection_weight', policy.projection.weight.data);
      named.set('projection_bias', policy.projection.bias);
    }
    if (policy.utility?.kind === 'bilinear') named.set('bilinear', policy.utility.weight.data);
    parameters = named;
    parametersByPolicy.set(policy, parameters);
  }
  return parameters;
}

function addSoftInputs(
  inputs: Map<string, JobTensor>,
  problem: Problem,
  assignment: AssignmentProblem,
  spec: ProgramSpec,
  activeAgents: Float32Array,
): void {
  const { agentCount, taskCount } = problem;
  if (spec.soft?.bias === true) {
    const data = biasWithBonus(problem, assignment);
    inputs.set('bias', { rows: agentCount, columns: taskCount, data, rowMask: problem.agentActive });
  }
  inputs.set('task_mask', vector(asFloats(problem.taskActive)));
  if (spec.utility?.source === 'distance') inputs.set('spread_rows', vector(spreadRows(problem)));
  inputs.set('temperature', vector(Float32Array.of(assignment.temperature)));
  inputs.set('row_mass', vector(activeAgents));
  inputs.set('column_mass', vector(columnMass(problem, assignment)));
  if (spec.soft?.slack === true) {
    const slack = slackOf(problem, assignment);
    inputs.set('idle', vector(Float32Array.of(slack.idle)));
    inputs.set('unserved', vector(Float32Array.of(slack.unserved)));
  }
}

/** [N,M] what is added to the utility of each pair: bias, and the keep bonus at the previous task. */
function biasWithBonus(problem: Problem, assignment: AssignmentProblem): Float32Array {
  const { bias, previous, keepBonus } = assignment;
  if (!keepsPrevious(assignment) || previous === null) return bias ?? new Float32Array(0);
  const { agentCount, taskCount } = problem;
  const sum = bias === null ? new Float32Array(agentCount * taskCount) : bias.slice();
  for (let i = 0; i < agentCount; i++) {
    const task = previous[i]!;
    if (task >= 0) sum[i * taskCount + task]! += keepBonus;
  }
  return sum;
}

/** [N] 1 for the rows that enter the standard deviation: all, or every s-th active one where active pairs are beyond 10^6. */
function spreadRows({ agentActive, taskActive }: Problem): Float32Array {
  const pairs = countActive(agentActive) * countActive(taskActive);
  const step = Math.max(Math.ceil(pairs / mostSpreadPairs), 1);
  const rows = new Float32Array(agentActive.length);
  for (let i = 0, rank = 0; i < rows.length; i++) {
    if (agentActive[i] === 1 && rank++ % step === 0) rows[i] = 1;
  }
  return rows;
}

function asFloats(active: Uint8Array): Float32Array {
  return active.includes(0) ? new Float32Array(active) : constants(active.length, 1);
}

/** Inputs that many calls have alike are kept, one for each length, up to this length. */
const longestKept = 4096;
const kept = { 0: new Map<number, Float32Array>(), 1: new Map<number, Float32Array>() } as const;

/** `value` so many times. Shared: not to be written to. */
function constants(length: number, value: 0 | 1): Float32Array {
  let found = kept[value].get(length);
  if (found === undefined) {
    found = new Float32Array(length).fill(value);
    if (length <= longestKept) kept[value].set(length, found);
  }
  return found;
}

function vector(data: Float32Array): JobTensor {
  return { rows: 1, columns: data.length, data };
}

function matrix({ rows, columns, data }: Matrix): JobTensor {
  return { rows, columns, data };
}
