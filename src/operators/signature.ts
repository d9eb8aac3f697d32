/**
 * What a program takes and gives: the contract between `batching/` (which packs), `operators/pipeline.ts` (which
 * computes) and the engines. Shapes are symbolic: B slots of a batch, N agents and M tasks of the bucket.
 */
import type { ConsensusStart, SinkhornForm } from '../problem.js';

/** Everything that decides a program apart from its bucket. Comes from one request alone, never from its neighbours. Plain data. */
export interface ProgramSpec {
  /** Fingerprint of the policy whose weights are bound as parameters; '' where no weights are used. */
  readonly parameters: string;
  readonly projection: { readonly width: number; readonly kinds: number } | null;
  /** Where U comes from; null where no output needs it. Distance widths are padded (zeros change nothing), bilinear ones exact. */
  readonly utility:
    | { readonly source: 'given' }
    | { readonly source: 'distance'; readonly width: number }
    | { readonly source: 'bilinear'; readonly agentWidth: number; readonly taskWidth: number }
    | null;
  /** Whether the computed raw U is an output (for the hard solvers). */
  readonly utilityOut: boolean;
  readonly soft: SoftSpec | null;
  readonly consensus: ConsensusSpec | null;
}

export interface SoftSpec {
  /** `scaling` only where range(U)/temperature is proven small and no pair of an active agent and task is forbidden. */
  readonly form: SinkhornForm;
  readonly iterations: number;
  /** Whether there is a `bias` input [N,M]. */
  readonly bias: boolean;
  /** Whether the problem is extended by a slack row and column (capacities that do not add up, idle utility). */
  readonly slack: boolean;
  readonly plan: boolean;
  /** 0: no top-k output. */
  readonly topK: number;
  /** Whether both duals are outputs (for the certified bound); the columns' always are. */
  readonly potentials: boolean;
}

export interface ConsensusSpec {
  /** `agents`: the agents input serves as responses (same columns), so it is sent once. */
  readonly source: 'agents' | 'responses';
  /** Padded width of the responses (zeros change nothing). */
  readonly width: number;
  readonly iterations: number;
  readonly start: ConsensusStart;
}

/** A compiled size. `tasks` is 0 where the program has no task axis. */
export interface Bucket {
  readonly batch: number;
  readonly agents: number;
  readonly tasks: number;
}

export type Axis = 'B' | 'N' | 'M' | number;
export type TensorDType = 'float32' | 'int32';
export type TensorData = Float32Array | Int32Array;

export interface TensorSignature {
  readonly name: string;
  /** The first axis is always 'B'. */
  readonly axes: readonly Axis[];
  readonly dtype: TensorDType;
  /** Inputs only: what unused slots, rows and columns hold. */
  readonly pad: number;
}

/** A weight that stays with the engine; bound when the program is loaded. */
export interface ParameterSignature {
  readonly name: 'projection_weight' | 'projection_bias' | 'bilinear';
  readonly shape: readonly number[];
}

export interface Signature {
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
  readonly parameters: readonly ParameterSignature[];
}

/** Number of medoid candidates (coordination service's constant; the oracle uses the same). */
export const medoidCandidates = 16;

/** A budget entry that caps nothing. */
export const noBudget = Infinity;

/** A slack utility that forbids its side (idle or unserved): the least float32, which the program reads as minus infinity. */
export const forbiddenUtility = -3.4028234663852886e38;

/**
 * Starts are read within these, in units of the exponents. Scaling: as far as its exponents themselves may reach. Log: float32 still
 * tells a plan's entries apart by a thousandth.
 */
export const farthestStart: Readonly<Record<SinkhornForm, number>> = { scaling: 40, log: 1e4 };

/**
 * Names, shapes and padding of a program's inputs and outputs, in the order in which they are passed.
 *
 * Inputs
 * - `agents` [B,N,w] states, rows of inactive agents zero. w: projection or bilinear width (exact), or padded e for distance
 * - `tasks` [B,M,w'] ; `utility` [B,N,M] given, -Infinity = forbidden
 * - `bias` [B,N,M] bias + keep bonus, raw unit, -Infinity = forbidden
 * - `agent_mask` [B,N], `task_mask` [B,M] 0 or 1
 * - `spread_rows` [B,N] 1 for the agents whose pairs enter the standard deviation (distance, soft only): all, or every
 *   s-th active row where the active pairs P are beyond 10^6, s = ceil(P/10^6)
 * - `initial_column_potential` [B,M] where the iterations start, in units of utility; 0: a cold start
 * - `temperature` [B,1]; `row_mass` [B,N], `column_mass` [B,M] target marginals (0 where inactive)
 * - `idle`, `unserved` [B,1] slack utilities (raw unit; <= `forbiddenUtility` = that slack does not exist)
 * - `resource_max`, `budget` [B,k]
 * - `responses` [B,N,w]; `candidates` [B,16,w] rows of the medoid candidates (repeats allowed)
 * - `median_ranks` [B,2] ranks (from 0, among active agents) of the two middle values
 * - `consensus_constants` [B,4]: sigma_factor(r)^2, chi2_quantile(r, 0), chi2_quantile(r, 3.0902), fixed sigma^2 (0 = adaptive); r = true width
 *
 * Outputs
 * - `resources` [B,N,k]; `utility_out` [B,N,M] computed U, raw, without bias
 * - `plan` [B,N,M]; `top_k_tasks`, `top_k_mass` [B,N,K]; `idle_mass` [B,N]; `row_error`, `column_error` [B,1]
 * - `row_potential` [B,N], `column_potential` [B,M]: f and g in units of utility (times temperature and spread), 0 where dead;
 *   with slack counted from the slack column's g0
 * - `centroid` [B,w], `weights`, `kernel`, `flags` [B,N], `scale`, `effective_count`, `last_step` [B,1]
 */
export function programSignature(spec: ProgramSpec): Signature {
  const inputs: TensorSignature[] = [];
  const outputs: TensorSignature[] = [];
  const parameters: ParameterSignature[] = [];
  const input = (name: string, axes: readonly Axis[], pad = 0, dtype: TensorDType = 'float32') =>
    inputs.push({ name, axes, dtype, pad });
  const output = (name: string, axes: readonly Axis[], dtype: TensorDType = 'float32') =>
    outputs.push({ name, axes, dtype, pad: 0 });
  const { projection, utility, soft, consensus } = spec;

  const agentWidth = agentsInputWidth(spec);
  if (agentWidth !== null) input('agents', ['B', 'N', agentWidth]);
  input('agent_mask', ['B', 'N']);
  if (projection !== null) {
    input('resource_max', ['B', projection.kinds]);
    input('budget', ['B', projection.kinds], noBudget);
    parameters.push({ name: 'projection_weight', shape: [projection.width, projection.kinds] });
    parameters.push({ name: 'projection_bias', shape: [projection.kinds] });
    output('resources', ['B', 'N', projection.kinds]);
  }
  if (utility?.source === 'distance') input('tasks', ['B', 'M', utility.width]);
  if (utility?.source === 'bilinear') {
    input('tasks', ['B', 'M', utility.taskWidth]);
    parameters.push({ name: 'bilinear', shape: [utility.agentWidth, utility.taskWidth] });
  }
  if (utility?.source === 'given') input('utility', ['B', 'N', 'M']);
  if (spec.utilityOut) output('utility_out', ['B', 'N', 'M']);
  if (soft !== null) {
    if (soft.bias) input('bias', ['B', 'N', 'M']);
    input('task_mask', ['B', 'M']);
    if (utility?.source === 'distance') input('spread_rows', ['B', 'N']);
    input('temperature', ['B', 1], 1);
    input('initial_column_potential', ['B', 'M']);
    input('row_mass', ['B', 'N']);
    input('column_mass', ['B', 'M']);
    if (soft.slack) {
      input('idle', ['B', 1]);
      input('unserved', ['B', 1]);
    }
    if (soft.plan) output('plan', ['B', 'N', 'M']);
    if (soft.topK > 0) {
      output('top_k_tasks', ['B', 'N', soft.topK], 'int32');
      output('top_k_mass', ['B', 'N', soft.topK]);
    }
    if (soft.slack) output('idle_mass', ['B', 'N']);
    output('row_error', ['B', 1]);
    output('column_error', ['B', 1]);
    if (soft.potentials) output('row_potential', ['B', 'N']);
    output('column_potential', ['B', 'M']);
  }
  if (consensus !== null) {
    if (consensus.source === 'responses') input('responses', ['B', 'N', consensus.width]);
    if (consensus.start === 'MEDOID') input('candidates', ['B', medoidCandidates, consensus.width]);
    input('median_ranks', ['B', 2], 0, 'int32');
    input('consensus_constants', ['B', 4], 1);
    output('centroid', ['B', consensus.width]);
    output('weights', ['B', 'N']);
    output('kernel', ['B', 'N']);
    output('flags', ['B', 'N']);
    output('scale', ['B', 1]);
    output('effective_count', ['B', 1]);
    output('last_step', ['B', 1]);
  }
  return { inputs, outputs, parameters };
}

/** Width of the `agents` input, or null where the program has none. */
export function agentsInputWidth(spec: ProgramSpec): number | null {
  if (spec.projection !== null) return spec.projection.width;
  if (spec.utility?.source === 'bilinear') return spec.utility.agentWidth;
  if (spec.utility?.source === 'distance') return spec.utility.width;
  return spec.consensus?.source === 'agents' ? spec.consensus.width : null;
}

/** Whether the program has a task axis; without one its buckets have `tasks` 0. */
export function hasTaskAxis(spec: ProgramSpec): boolean {
  return spec.utility !== null;
}

/** Concrete shape of a tensor in a bucket. */
export function shapeIn(tensor: TensorSignature, bucket: Bucket): number[] {
  return tensor.axes.map((axis) =>
    axis === 'B' ? bucket.batch : axis === 'N' ? bucket.agents : axis === 'M' ? bucket.tasks : axis,
  );
}

/** Equal keys: the same program for equal buckets. A JSON array, written out: it is made for every call. Field order is fixed, so the text is canonical. */
export function specKey(spec: ProgramSpec): string {
  const { parameters, projection: p, utility: u, utilityOut, soft: s, consensus: c } = spec;
  const projection = p === null ? 'null' : `[${p.width},${p.kinds}]`;
  const utility =
    u === null
      ? 'null'
      : u.source === 'given'
        ? '["given"]'
        : u.source === 'distance'
          ? `["distance",${u.width}]`
          : `["bilinear",${u.agentWidth},${u.taskWidth}]`;
  const soft =
    s === null ? 'null' : `["${s.form}",${s.iterations},${s.bias},${s.slack},${s.plan},${s.topK},${s.potentials}]`;
  const consensus = c === null ? 'null' : `["${c.source}",${c.width},${c.iterations},"${c.start}"]`;
  return `[${JSON.stringify(parameters)},${projection},${utility},${utilityOut},${soft},${consensus}]`;
}

/** As `execution.bucket` says it: `b8 n128 m128`. */
export function bucketName(bucket: Bucket): string {
  return `b${bucket.batch} n${bucket.agents} m${bucket.tasks}`;
}
